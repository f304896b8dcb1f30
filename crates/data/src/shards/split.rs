//! The training and held-out splits.

/// One of the two splits of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Training split.
    Train,
    /// Held-out split: scored, never trained on.
    Heldout,
}

impl Split {
    /// Returns the name of the shard's file in the domain's folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Split::Train => "train.safetensors",
            Split::Heldout => "heldout.safetensors",
        }
    }
}
