//! Rule of the split by hash.

/// Rule that decides the sides of a domain.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) seed: u64,
    pub(crate) share: f64,
    /// Least number of held-out groups, if the config gives one.
    pub(crate) least_groups: u64,
}

impl Rule {
    /// Returns true if a document of this hash is held out.
    pub(crate) fn holds_out(self, hash: u64) -> bool {
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
        unit < self.share
    }
}
