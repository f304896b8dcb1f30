//! Vector instruction sets of this machine, and loops compiled for each.

use std::sync::OnceLock;

/// Instruction sets that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512F, on x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA, on x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Instructions that every machine has.
    Portable,
}

/// Returns the best instruction set of this machine, or the portable one if the environment variable
/// `POLYMATH_PORTABLE` is `1`. Detected once.
#[inline]
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

/// Returns true if the machine has the bf16 dot product of AVX-512 and AVX-512 is enabled.
#[inline]
pub(crate) fn has_bf16_dot() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Returns true if the machine's bf16 dot product does more than its f32 multiply-add in the same time. On Intel's
/// processors with AMX (recognized by AVX-512 FP16, which a virtual machine shows also where it hides AMX) it does half
/// as much: 170 GFLOP/s against 340 on two cores of Emerald Rapids.
#[inline]
pub(crate) fn has_fast_bf16_dot() -> bool {
    static FAST: OnceLock<bool> = OnceLock::new();
    *FAST.get_or_init(|| has_bf16_dot() && !has_slow_bf16_dot())
}

#[cfg(target_arch = "x86_64")]
fn has_slow_bf16_dot() -> bool {
    is_intel() && is_x86_feature_detected!("avx512fp16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_slow_bf16_dot() -> bool {
    false
}

/// Returns true if the processor says that Intel made it.
#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    // The name lies in these registers, in this order.
    [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .concat()
        == b"GenuineIntel"
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")
}

/// Detects the instruction set. In tests, `POLYMATH_TEST_AVX2` hides AVX-512, so that the AVX2 kernels run.
fn detect() -> Level {
    if std::env::var_os("POLYMATH_PORTABLE").is_some_and(|value| value == "1") {
        return Level::Portable;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let without_avx512 = cfg!(test) && std::env::var_os("POLYMATH_TEST_AVX2").is_some();
        if has_avx512() && !without_avx512 {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Defines functions that are compiled once for each instruction set and choose their copy when called. The bodies
/// are plain loops over lanes, which the compiler vectorizes. The constant `FMA` is true if the instruction set has a
/// fused multiply-add.
macro_rules! vectorized {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<const FMA: bool>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($argument: $type),*) $(-> $result)? { body::<true>($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? { body::<true>($($argument),*) }

                match $crate::fused::simd::level::level() {
                    // SAFETY: the machine has the instruction set.
                    $crate::fused::simd::level::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: the machine has the instruction set.
                    $crate::fused::simd::level::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::fused::simd::level::Level::Portable => {}
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    )*};
}
pub(crate) use vectorized;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skipped::skipped;

    /// Checks that the maker of the processor is the one that the system names.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn the_maker_of_the_processor_is_read() {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        assert_eq!(is_intel(), processor.contains("GenuineIntel"));
    }

    /// Checks that the best instruction set is chosen, or the one that an environment variable sets. Reports kernels
    /// that can't run on this processor as skipped.
    #[test]
    fn kernels_that_cannot_run_are_reported() {
        let set = |name: &str| std::env::var_os(name).is_some();
        #[cfg(target_arch = "x86_64")]
        {
            let expected = match (set("POLYMATH_PORTABLE"), set("POLYMATH_TEST_AVX2")) {
                (true, _) => Level::Portable,
                (false, false) if has_avx512() => Level::Avx512,
                _ if is_x86_feature_detected!("avx2") => Level::Avx2,
                _ => Level::Portable,
            };
            assert_eq!(level(), expected);
            for (needs, is_there) in [
                ("AVX-512, for its kernels", has_avx512()),
                ("AVX2, for its kernels", is_x86_feature_detected!("avx2")),
                (
                    "AVX-512 BF16, for its dot product",
                    is_x86_feature_detected!("avx512bf16"),
                ),
                (
                    "AMX, for its tiles, which are emulated",
                    crate::fused::gemm::amx::is_there(),
                ),
            ] {
                if !is_there {
                    skipped(needs);
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            assert_eq!(level(), Level::Portable);
            let _ = set;
            skipped("x86-64, for the kernels of AVX2, AVX-512 and AMX");
        }
    }
}
