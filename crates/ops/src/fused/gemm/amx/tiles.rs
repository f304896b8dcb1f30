//! AMX tiles and their instructions.
//!
//! Rust has no stable intrinsics for AMX, so the instructions are inline assembly, and the compiler knows nothing of
//! the tiles. They are configured, used and released within one call, during which the thread runs nothing else.
//!
//! On a machine without tiles, tests emulate them number by number.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

#[cfg(test)]
use super::emulated;
use crate::fused::simd::level::has_bf16_dot;

/// Maximum size of a tile in rows, bf16 pairs and columns.
pub(super) const SIDE: usize = 16;
/// Number of bytes in a bf16 pair.
pub(super) const PLACE: usize = size_of::<f32>();

/// Returns true if the machine has AMX tiles with the bf16 product and the operating system lets this process use
/// them. The environment variable `POLYMATH_AMX=0` disables them. Detected once.
pub(in crate::fused) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let refused = std::env::var_os("POLYMATH_AMX").is_some_and(|value| value == "0");
        !refused && can_pack() && is_in_processor() && is_lent()
    })
}

/// Returns true if the machine has the instructions that pack operands for the tiles.
pub(super) fn can_pack() -> bool {
    has_bf16_dot() && is_x86_feature_detected!("avx512bw")
}

fn is_in_processor() -> bool {
    const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
    // A processor with the bf16 dot product has leaf 7.
    __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16
}

/// Asks the operating system for permission to use the tiles. A thread that has used them carries 8 KiB more state.
#[cfg(target_os = "linux")]
fn is_lent() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers and touches no memory of this process. A system that does not know
    // the request returns an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_lent() -> bool {
    false
}

/// Configuration of the tiles: bytes in a row and number of rows of each, as `ldtilecfg` reads it.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    pub(super) row_bytes: [u16; 16],
    pub(super) rows: [u8; 16],
}

impl Configuration {
    /// Configures tiles 0 to 3 as sums, 4 and 5 for A, and 6 and 7 for B. Tiles without rows or columns must not be
    /// used.
    pub(super) fn of(heights: [usize; 2], depth: usize, widths: [usize; 2]) -> Self {
        let mut configuration = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let mut tile = |number: usize, rows: usize, columns: usize| {
            if rows > 0 && columns > 0 {
                configuration.rows[number] = rows as u8;
                configuration.row_bytes[number] = (columns * PLACE) as u16;
            }
        };
        for (i, height) in heights.into_iter().enumerate() {
            tile(4 + i, height, depth);
            for (j, width) in widths.into_iter().enumerate() {
                tile(2 * i + j, height, width);
            }
        }
        for (j, width) in widths.into_iter().enumerate() {
            tile(6 + j, depth, width);
        }
        configuration
    }

    /// Loads the configuration into the processor.
    ///
    /// # Safety
    /// [`is_there`] is true, and the sizes are at most [`SIDE`].
    pub(super) unsafe fn load(&self) {
        #[cfg(test)]
        if emulated::is_needed() {
            return emulated::configure(self);
        }
        // SAFETY: promised by the caller; the configuration is 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags, readonly))
        };
    }
}

/// Releases the tiles, so that the thread's state is small again.
///
/// # Safety
/// [`is_there`] is true.
pub(super) unsafe fn release() {
    #[cfg(test)]
    if emulated::is_needed() {
        return emulated::release();
    }
    // SAFETY: promised by the caller.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

/// Sets a tile to zeros.
///
/// # Safety
/// The tile is configured.
#[inline(always)]
pub(super) unsafe fn clear<const TILE: usize>() {
    #[cfg(test)]
    if emulated::is_needed() {
        return emulated::clear(TILE);
    }
    // SAFETY: promised by the caller.
    unsafe {
        asm!("tilezero tmm{tile}", tile = const TILE, options(nostack, preserves_flags, nomem))
    };
}

/// Loads a tile from memory.
///
/// # Safety
/// The tile is configured, and its rows can be read from `from` on, `stride` bytes apart.
#[inline(always)]
pub(super) unsafe fn load<const TILE: usize>(from: *const f32, stride: usize) {
    #[cfg(test)]
    if emulated::is_needed() {
        // SAFETY: promised by the caller.
        return unsafe { emulated::load(TILE, from, stride) };
    }
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}]",
            tile = const TILE,
            from = in(reg) from,
            stride = in(reg) stride,
            options(nostack, preserves_flags, readonly)
        );
    }
}

/// Stores a tile to memory.
///
/// # Safety
/// The tile is configured, and its rows can be written from `to` on, `stride` bytes apart.
#[inline(always)]
pub(super) unsafe fn store<const TILE: usize>(to: *mut f32, stride: usize) {
    #[cfg(test)]
    if emulated::is_needed() {
        // SAFETY: promised by the caller.
        return unsafe { emulated::store(TILE, to, stride) };
    }
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}], tmm{tile}",
            tile = const TILE,
            to = in(reg) to,
            stride = in(reg) stride,
            options(nostack, preserves_flags)
        );
    }
}

/// Computes C += A·B on tiles of bf16 pairs.
///
/// # Safety
/// The three tiles are configured with sizes that fit each other.
#[inline(always)]
pub(super) unsafe fn multiply_tiles<const C: usize, const A: usize, const B: usize>() {
    #[cfg(test)]
    if emulated::is_needed() {
        return emulated::multiply(C, [A, B]);
    }
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
            c = const C,
            a = const A,
            b = const B,
            options(nostack, preserves_flags, nomem)
        );
    }
}
