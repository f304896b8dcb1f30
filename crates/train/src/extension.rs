//! Extension of a run: more steps than it was started with.

use serde::{Deserialize, Serialize};

/// Point at which a run was extended: from there on it has more steps than planned at its start. `--resume` writes it
/// into the run's `run.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Number of finished steps when the run was extended.
    pub after: u64,
    /// Total number of steps that the run had before the extension.
    pub steps: u64,
}
