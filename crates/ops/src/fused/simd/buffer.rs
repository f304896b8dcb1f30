//! Scratch memory that calls reuse, and memory that parallel tasks share.

use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Cache line of 16 floats, the unit of alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read through a pointer to floats")] [f32; 16]);

/// Reusable, cache-aligned buffer of floats.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// Returns `length` floats with arbitrary content.
    pub fn take(&mut self, length: usize) -> &mut [f32] {
        let lines = length.div_ceil(16);
        if self.0.len() < lines {
            // Free the old memory first, and take no more than is needed: nothing is copied.
            self.0 = Vec::new();
            self.0 = vec![Line([0.0; 16]); lines];
        }
        // SAFETY: a line is 16 floats without padding, and the vector holds at least `length` floats.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), length) }
    }
}

thread_local! {
    static BUFFERS: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a buffer of this thread, whose content is arbitrary. A nested call gets another buffer; calls
/// nest when a thread that waits for a task runs another one meanwhile.
pub(crate) fn with_buffer<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(buffer.take(length));
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}

/// Splits a slice into consecutive parts of the given lengths.
pub(crate) fn split<const N: usize>(
    mut floats: &mut [f32],
    lengths: [usize; N],
) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (part, rest) = std::mem::take(&mut floats).split_at_mut(length);
        floats = rest;
        part
    })
}

/// Memory that parallel tasks share; each writes its own range.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T = f32> {
    pointer: *mut T,
    length: usize,
}

// SAFETY: every access goes through `slice`, `zeroed` or `pointer`, whose callers keep the ranges of tasks apart.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: every access goes through `slice`, `zeroed` or `pointer`, whose callers keep the ranges of tasks apart.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub fn new(values: &mut [T]) -> Self {
        Self {
            pointer: values.as_mut_ptr(),
            length: values.len(),
        }
    }

    /// Wraps uninitialized memory.
    fn unwritten(cells: &mut [MaybeUninit<T>]) -> Self {
        Self {
            pointer: cells.as_mut_ptr().cast(),
            length: cells.len(),
        }
    }

    pub fn pointer(self) -> *mut T {
        self.pointer
    }

    pub fn len(self) -> usize {
        self.length
    }

    /// Returns the range `start..start + length`. Panics if it exceeds the memory.
    pub fn part(self, start: usize, length: usize) -> Self {
        assert!(start <= self.length && length <= self.length - start);
        Self {
            pointer: self.pointer.wrapping_add(start),
            length,
        }
    }

    /// Borrows the range `start..start + length`.
    ///
    /// # Safety
    /// The memory outlives the slice and is not accessed in another way meanwhile. The range is initialized, and no
    /// other task holds an overlapping range.
    pub unsafe fn slice<'a>(self, start: usize, length: usize) -> &'a mut [T] {
        let part = self.part(start, length);
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(part.pointer, length) }
    }

    /// Copies `from` to the range that begins at `start`, which may be uninitialized.
    ///
    /// # Safety
    /// Same contract as [`Shared::zeroed`].
    pub unsafe fn write(self, start: usize, from: &[T]) {
        let part = self.part(start, from.len());
        // SAFETY: promised by the caller; the written range overlaps nothing that is borrowed.
        unsafe {
            part.pointer
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
    }
}

/// Number that is 0 where all its bits are zero.
///
/// # Safety
/// All bits zero is a value of the type.
pub(crate) unsafe trait Zero: Copy {}

// SAFETY: all bits zero is 0.
unsafe impl Zero for f32 {}
// SAFETY: all bits zero is 0.
unsafe impl Zero for half::bf16 {}

impl<T: Zero> Shared<T> {
    /// Fills a range, which may be uninitialized, with zeros and borrows it. It is then in the L1 cache for the
    /// writes that follow.
    ///
    /// # Safety
    /// The memory outlives the slice and is not accessed in another way meanwhile. No other task holds an overlapping
    /// range.
    pub unsafe fn zeroed<'a>(self, start: usize, length: usize) -> &'a mut [T] {
        let part = self.part(start, length);
        // SAFETY: promised by the caller; all bits zero is 0.
        unsafe {
            part.pointer.write_bytes(0, length);
            std::slice::from_raw_parts_mut(part.pointer, length)
        }
    }
}

/// Returns a vector of `length` numbers that `fill` writes in full. The memory is uninitialized when `fill` is called:
/// it must be written with [`Shared::write`], [`Shared::zeroed`] or through the pointer before a slice of it is made.
///
/// # Safety
/// `fill` writes every element, and reads none before it is written.
pub(crate) unsafe fn filled<T: Copy>(length: usize, fill: impl FnOnce(Shared<T>)) -> Vec<T> {
    let mut values = Vec::<T>::with_capacity(length);
    fill(Shared::unwritten(
        &mut values.spare_capacity_mut()[..length],
    ));
    // SAFETY: the capacity is at least `length`, and the caller promises that every element is written.
    unsafe { values.set_len(length) };
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks all ways of writing to a new vector whose memory was used before.
    #[test]
    fn new_vectors_are_written_in_parts() {
        drop(vec![7f32; 64]);
        let fill = |new: Shared| {
            assert_eq!(new.len(), 10);
            // SAFETY: the parts do not overlap, and each is written before it is read.
            unsafe {
                new.write(0, &[1.0, 2.0]);
                new.zeroed(2, 3)[1] = 5.0;
                for at in 5..10 {
                    new.pointer().add(at).write(at as f32);
                }
                new.part(8, 2).slice(1, 1)[0] += 0.5;
            }
        };
        // SAFETY: `fill` writes all ten.
        let floats = unsafe { filled(10, fill) };
        assert_eq!(floats, [1.0, 2.0, 0.0, 5.0, 0.0, 5.0, 6.0, 7.0, 8.0, 9.5]);
        // SAFETY: there is nothing to write.
        assert!(unsafe { filled::<f32>(0, |_| {}) }.is_empty());
    }

    /// Checks that `part` panics if the range exceeds the memory.
    #[test]
    #[should_panic(expected = "assertion failed")]
    fn ranges_beyond_the_memory_panic() {
        let mut floats = [0.0; 4];
        Shared::new(&mut floats).part(3, 2);
    }
}
