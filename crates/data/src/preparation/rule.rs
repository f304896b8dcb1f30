//! Rule that splits documents into training and held-out by a hash.

/// Rule that assigns a domain's groups to the training and held-out splits.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) seed: u64,
    pub(crate) share: f64,
    /// Minimum number of held-out groups from the config; 0 if not set.
    pub(crate) least_groups: u64,
}

impl Rule {
    /// Returns true if a group with this hash is held out.
    pub(crate) fn holds_out(self, hash: u64) -> bool {
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
        unit < self.share
    }
}
