//! Survey of a domain by group: read once from its spools, before its sides are decided.

use std::collections::{BTreeMap, BTreeSet};

use crate::DataError;
use crate::preparation::collected::Collected;
use crate::preparation::spool::{Spool, length};

/// Groups that are listed at most, those of the lowest hashes: the quota takes no others.
const LISTED: usize = if cfg!(test) { 64 } else { 4096 };

/// The documents of one group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Content {
    /// Bytes of their text.
    pub(crate) bytes: u64,
    /// Number of documents.
    pub(crate) documents: u64,
}

/// Contents of a domain.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The groups of lowest hash, and all that are watched.
    pub(crate) contents: BTreeMap<u64, Content>,
    /// Groups of a greater hash are not listed.
    listed_to: u64,
    /// All groups; where not all are listed, about as many.
    pub(crate) groups: u64,
    /// All documents.
    pub(crate) documents: u64,
    /// Bytes of all documents.
    pub(crate) bytes: u64,
}

impl Survey {
    /// Reads both sides; groups that are `watched` are listed whatever their hash.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn of(
        domain: &Collected,
        watched: &dyn Fn(&u64) -> bool,
    ) -> Result<Self, DataError> {
        let mut survey = Self {
            listed_to: u64::MAX,
            ..Self::default()
        };
        let mut besides: BTreeMap<u64, Content> = BTreeMap::new();
        for spool in [&domain.train, &domain.heldout] {
            let mut counted = false;
            spool.read_entries(&mut |entry| {
                let hash = entry.tag.side;
                counted &= entry.continues;
                if entry.dropped {
                    return Ok(());
                }
                let bytes = length(&entry.parts);
                let documents = u64::from(!counted);
                survey.bytes += bytes;
                survey.documents += documents;
                counted = true;
                let contents = match watched(&hash) {
                    true => &mut besides,
                    false if hash > survey.listed_to => return Ok(()),
                    false => &mut survey.contents,
                };
                let content = contents.entry(hash).or_default();
                content.bytes += bytes;
                content.documents += documents;
                if survey.contents.len() > LISTED
                    && let Some((hash, _)) = survey.contents.pop_last()
                {
                    survey.listed_to = hash - 1;
                }
                Ok(())
            })?;
        }
        survey.groups = match survey.listed_to {
            u64::MAX => survey.contents.len() as u64,
            // So many hashes are below this one; they are spread evenly.
            to => (survey.contents.len() as f64 / (to as f64 / u64::MAX as f64)) as u64,
        };
        survey.groups += besides.len() as u64;
        survey.contents.extend(besides);
        Ok(survey)
    }

    /// Returns true if the group is listed, or would be if it existed.
    pub(crate) fn lists(&self, hash: u64) -> bool {
        hash <= self.listed_to || self.contents.contains_key(&hash)
    }
}

/// Counts the groups of a spool, up to `most`.
///
/// # Errors
/// The disk's.
pub(crate) fn groups_of(spool: &Spool, most: usize) -> Result<u64, DataError> {
    let mut found = BTreeSet::new();
    spool.read_kept(&mut |entry| {
        found.insert(entry.tag.side);
        Ok(found.len() < most)
    })?;
    Ok(found.len() as u64)
}
