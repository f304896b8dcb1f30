//! Sides of the split.

/// The side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Training split.
    Train,
    /// Held-out split: measured on, never trained on.
    Heldout,
}

impl Split {
    /// The shard's file in the domain's folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Split::Train => "train.safetensors",
            Split::Heldout => "heldout.safetensors",
        }
    }
}
