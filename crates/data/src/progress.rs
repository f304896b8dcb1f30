//! Progress of long operations.

/// Observer of the stages of a long operation. All calls come from one thread.
pub trait PreparationProgress: Sync {
    /// Called when a stage begins. `total_bytes` is the amount of work, if known.
    fn begin(&self, stage: &str, total_bytes: Option<u64>);
    /// Called when `bytes` more bytes have been processed.
    fn advance(&self, bytes: u64);
    /// Called when a stage ends.
    fn finish(&self, summary: &str);
}

/// Progress observer that does nothing.
pub struct NoProgress;

impl PreparationProgress for NoProgress {
    fn begin(&self, _stage: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self, _summary: &str) {}
}
