//! Scratch memory that lives on between calls.

use std::cell::RefCell;

/// A cache line of floats: the unit of alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read through a pointer to floats")] [f32; 16]);

/// A reusable, cache-aligned buffer of floats.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// `length` floats that hold anything.
    pub fn take(&mut self, length: usize) -> &mut [f32] {
        let lines = length.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a line is 16 floats without padding, and the vector holds at least `length` of them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), length) }
    }
}

thread_local! {
    static BUFFERS: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Lends a buffer of this thread to `work`. A call within the call gets another one, as happens when a thread that
/// waits for others takes up their work.
pub(crate) fn with_buffer<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(buffer.take(length));
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}

/// Parts of a slice, one after the other.
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

/// A pointer that tasks share, each writing where no other does.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: every use goes through `slice` or `pointer`, whose callers keep the parts of different tasks apart.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(floats: &mut [f32]) -> Self {
        Self(floats.as_mut_ptr())
    }

    pub fn pointer(self) -> *mut f32 {
        self.0
    }

    /// # Safety
    /// The range lies within the slice this was made from, that slice is not used meanwhile, and no other task holds
    /// an overlapping range.
    pub unsafe fn slice<'a>(self, start: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

/// A vector of `length` floats that `fill` writes in full.
///
/// # Safety
/// `fill` writes every element before it reads it.
pub(crate) unsafe fn filled(length: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut floats = Vec::<f32>::with_capacity(length);
    // SAFETY: the capacity is `length`; f32 has no invalid bits and no drop, and the caller promises that nothing is
    // read before it is written.
    unsafe {
        fill(std::slice::from_raw_parts_mut(floats.as_mut_ptr(), length));
        floats.set_len(length);
    }
    floats
}
