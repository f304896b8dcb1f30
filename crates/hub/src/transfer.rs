//! Progress of transfers, and the callback that watches it.

use std::sync::OnceLock;

/// Direction of a transfer: download or upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Download from the hub.
    Download,
    /// Upload to the hub.
    Upload,
}

/// Progress of a download or an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Direction of the transfer.
    pub direction: Direction,
    /// Number of bytes transferred so far.
    pub bytes: u64,
    /// Total number of bytes of the transfer.
    pub total_bytes: u64,
}

type Watcher = Box<dyn Fn(Transfer) + Send + Sync>;

static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Registers `watcher` to be called with the progress of every transfer of this process. Only the first registered
/// watcher is used.
pub fn watch_transfers(watcher: impl Fn(Transfer) + Send + Sync + 'static) {
    let _kept_the_first = WATCHER.set(Box::new(watcher));
}

/// Calls the registered watcher of transfers, if there is one.
#[cfg(feature = "client")]
pub(crate) fn tell(direction: Direction, bytes: u64, total_bytes: u64) {
    if let Some(watcher) = WATCHER.get() {
        watcher(Transfer {
            direction,
            bytes: bytes.min(total_bytes),
            total_bytes,
        });
    }
}
