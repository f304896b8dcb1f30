//! Result of the first pass of `prepare` for one domain: its documents in temporary files, by split.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use crate::preparation::sides::Sides;
use crate::preparation::spool::Spool;
use crate::{DataError, DomainManifest, Grouping, Split};

/// Domain after the first pass of `prepare`: its documents in temporary files, by split.
pub(crate) struct Collected {
    pub(crate) train: Spool,
    pub(crate) heldout: Spool,
    pub(crate) manifest: DomainManifest,
    /// Split to save in `sides.json`, so that the next `prepare` repeats it; `None` if the hash alone decides the
    /// split.
    pub(crate) sides: Option<Sides>,
    /// Kind of the domain's groups.
    pub(crate) grouping: Grouping,
    /// Value of the domain's `group_field` key; `None` if it is not set.
    pub(crate) field: Option<String>,
    /// Held-out groups to join because they hold near-duplicates of each other; maps each group to the group that
    /// replaces it.
    pub(crate) joined: HashMap<u64, u64>,
    /// Numbers of the other domains that keep documents of which this domain had copies.
    pub(crate) kept_in: BTreeSet<usize>,
}

impl Collected {
    /// Creates a domain without documents, with temporary files in `folder`.
    ///
    /// # Errors
    /// Fails if `folder` can't be written.
    pub(crate) fn create(folder: &Path, grouping: Grouping) -> Result<Self, DataError> {
        Ok(Self {
            train: Spool::create(folder)?,
            heldout: Spool::create(folder)?,
            manifest: DomainManifest::default(),
            sides: None,
            field: grouping.field.clone(),
            grouping,
            joined: HashMap::new(),
            kept_in: BTreeSet::new(),
        })
    }

    /// Returns the size in bytes of the text in both splits together.
    pub(crate) fn bytes(&self) -> u64 {
        self.train.bytes + self.heldout.bytes
    }

    pub(super) fn spool(&mut self, split: Split) -> &mut Spool {
        match split {
            Split::Train => &mut self.train,
            Split::Heldout => &mut self.heldout,
        }
    }
}
