//! Domain after the first pass: its documents on the disk, on their sides of the split.

use std::collections::HashMap;
use std::path::Path;

use crate::preparation::sides::Sides;
use crate::preparation::spool::Spool;
use crate::{DataError, DomainManifest, Grouping, Split};

/// Domain after the first pass.
pub(crate) struct Collected {
    pub(crate) train: Spool,
    pub(crate) heldout: Spool,
    pub(crate) manifest: DomainManifest,
    /// Sides to keep when it is prepared again, if the hash alone does not decide them.
    pub(crate) sides: Option<Sides>,
    /// Meaning of a group.
    pub(crate) grouping: Grouping,
    /// The field that names groups, as the config has it.
    pub(crate) field: Option<String>,
    /// Held-out groups that hold near-duplicates of each other, each with the group that all of them become.
    pub(crate) joined: HashMap<u64, u64>,
}

impl Collected {
    /// A domain without documents, whose spools lie in `folder`.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub(crate) fn create(folder: &Path, grouping: Grouping) -> Result<Self, DataError> {
        Ok(Self {
            train: Spool::create(folder)?,
            heldout: Spool::create(folder)?,
            manifest: DomainManifest::default(),
            sides: None,
            field: grouping.field.clone(),
            grouping,
            joined: HashMap::new(),
        })
    }

    /// Bytes of all its text.
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
