//! Progress of long work.

/// Observer of stages that take time. Calls come from one thread.
pub trait Progress: Sync {
    /// A stage begins; `total_bytes` is how much there is to do, where it is known.
    fn begin(&self, stage: &str, total_bytes: Option<u64>);
    /// Called when `bytes` more are done.
    fn advance(&self, bytes: u64);
    /// The stage is over.
    fn finish(&self, summary: &str);
}

/// Says nothing.
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _stage: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self, _summary: &str) {}
}
