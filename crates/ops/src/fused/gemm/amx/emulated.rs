//! Emulation of AMX tiles, for tests on a machine without them.
//!
//! Panics if a tile is used in another shape than it was configured for, which the processor would refuse or silently
//! cut off.

use std::cell::RefCell;

use super::tiles::{Configuration, PLACE, SIDE, is_there};

#[derive(Clone, Copy, Default)]
struct Tile {
    rows: usize,
    columns: usize,
    places: [[f32; SIDE]; SIDE],
}

thread_local! {
    static TILES: RefCell<[Tile; 8]> = RefCell::default();
}

pub(super) fn is_needed() -> bool {
    !is_there()
}

pub(super) fn configure(configuration: &Configuration) {
    TILES.with_borrow_mut(|tiles| {
        for (number, tile) in tiles.iter_mut().enumerate() {
            *tile = Tile {
                rows: configuration.rows[number].into(),
                columns: usize::from(configuration.row_bytes[number]) / PLACE,
                ..Tile::default()
            };
        }
    });
}

pub(super) fn release() {
    TILES.take();
}

/// Calls `work` with a tile. Panics if the tile is not configured.
fn with_tile<R>(number: usize, work: impl FnOnce(&mut Tile) -> R) -> R {
    TILES.with_borrow_mut(|tiles| {
        assert!(tiles[number].rows > 0, "tile {number} is not configured");
        work(&mut tiles[number])
    })
}

pub(super) fn clear(number: usize) {
    with_tile(number, |tile| tile.places = Default::default());
}

/// Loads a tile from memory.
///
/// # Safety
/// From `from` on, the rows of the tile can be read, `stride` bytes apart.
pub(super) unsafe fn load(number: usize, from: *const f32, stride: usize) {
    with_tile(number, |tile| {
        tile.places = Default::default();
        let columns = tile.columns;
        for (row, places) in tile.places.iter_mut().take(tile.rows).enumerate() {
            let from = from.wrapping_byte_add(row * stride);
            for (column, place) in places.iter_mut().take(columns).enumerate() {
                // SAFETY: promised by the caller.
                *place = unsafe { from.add(column).read_unaligned() };
            }
        }
    });
}

/// Stores a tile to memory.
///
/// # Safety
/// From `to` on, the rows of the tile can be written, `stride` bytes apart.
pub(super) unsafe fn store(number: usize, to: *mut f32, stride: usize) {
    with_tile(number, |tile| {
        for (row, places) in tile.places.iter().take(tile.rows).enumerate() {
            let to = to.wrapping_byte_add(row * stride);
            for (column, place) in places.iter().take(tile.columns).enumerate() {
                // SAFETY: promised by the caller.
                unsafe { to.add(column).write_unaligned(*place) };
            }
        }
    });
}

/// Emulates `tdpbf16ps`: C += A·B on bf16 pairs. The even and the odd steps of k are summed separately, and both sums
/// are added to C. Products are exact in f32; subnormal numbers count as 0.
pub(super) fn multiply(c: usize, [a, b]: [usize; 2]) {
    let [a, b] = [a, b].map(|number| with_tile(number, |tile| *tile));
    with_tile(c, |c| {
        assert_eq!((c.rows, c.columns), (a.rows, b.columns));
        assert_eq!(a.columns, b.rows);
        for row in 0..c.rows {
            for column in 0..c.columns {
                let mut sums = [0.0; 2];
                for step in 0..a.columns {
                    let (a, b) = (halves(a.places[row][step]), halves(b.places[step][column]));
                    for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
                        *sum = without_subnormal(*sum + a * b);
                    }
                }
                let sum = c.places[row][column] + without_subnormal(sums[0] + sums[1]);
                c.places[row][column] = without_subnormal(sum);
            }
        }
    });
}

/// Returns the two bf16 numbers of a pair as f32: the even step of k and the odd one.
fn halves(place: f32) -> [f32; 2] {
    let bits = place.to_bits();
    [bits << 16, bits & 0xffff_0000].map(|bits| without_subnormal(f32::from_bits(bits)))
}

fn without_subnormal(number: f32) -> f32 {
    match number.is_subnormal() {
        true => 0f32.copysign(number),
        false => number,
    }
}
