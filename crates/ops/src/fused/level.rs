//! Which vector instructions this machine has.

use std::sync::OnceLock;

/// The instruction sets that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512F, on x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA, on x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every machine has.
    Portable,
}

/// The best level of this machine, or the portable one where the environment variable `POLYMATH_PORTABLE` is `1`.
/// Found once.
#[inline]
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

/// Whether the machine has the bf16 dot product beside AVX-512, and may use it.
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

fn detect() -> Level {
    if std::env::var_os("POLYMATH_PORTABLE").is_some_and(|value| value == "1") {
        return Level::Portable;
    }
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Defines functions that are compiled once for each level, and choose among the copies when called. The bodies are
/// plain loops over lanes, which the compiler turns into the vectors of the level; `FMA` says whether a fused
/// multiply-add is an instruction there.
macro_rules! vectorised {
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

                match $crate::fused::level::level() {
                    // SAFETY: the level was found on this machine.
                    $crate::fused::level::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: the level was found on this machine.
                    $crate::fused::level::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::fused::level::Level::Portable => {}
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    )*};
}
pub(crate) use vectorised;
