//! Extension of a run: more steps than it was started with.

use serde::{Deserialize, Serialize};

/// Point of a run from which on it has more steps than before. `--resume` writes it into the run's `run.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Steps done when the run was extended.
    pub after: u64,
    /// Steps that the run had until then.
    pub steps: u64,
}
