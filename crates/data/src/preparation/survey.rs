//! Survey of a domain: number and size of its groups, computed before its split is final.

use std::collections::{BTreeMap, BTreeSet};

use crate::DataError;
use crate::preparation::collected::Collected;
use crate::preparation::spool::{Spool, length};

/// Maximum number of groups whose sizes are listed: those with the lowest hashes, since the quota takes these first.
const LISTED: usize = if cfg!(test) { 64 } else { 4096 };

/// Size of one group, in documents and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Content {
    /// Size of the group's text in bytes.
    pub(crate) bytes: u64,
    /// Number of documents in the group.
    pub(crate) documents: u64,
}

/// Size of a domain and of the groups that may be held out, computed before the split is final.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Sizes of the listed groups by split hash: the groups with the lowest hashes, and those that the caller asked to
    /// watch.
    pub(crate) contents: BTreeMap<u64, Content>,
    /// Highest split hash up to which all groups are listed; `None` if all groups of the domain are.
    listed_to: Option<u64>,
    /// Number of groups in the domain; an estimate if not all are listed.
    pub(crate) groups: u64,
    /// Number of documents in the domain.
    pub(crate) documents: u64,
    /// Size of the domain's text in bytes.
    pub(crate) bytes: u64,
}

impl Survey {
    /// Surveys the training and held-out documents of a domain. Lists the groups with the lowest hashes, and every
    /// group for which `watched` returns true.
    ///
    /// # Errors
    /// Fails if a temporary file can't be read.
    pub(crate) fn of(
        domain: &Collected,
        watched: &dyn Fn(&u64) -> bool,
    ) -> Result<Self, DataError> {
        let mut survey = Self::default();
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
                    false if survey.listed_to.is_some_and(|to| hash > to) => return Ok(()),
                    false => &mut survey.contents,
                };
                let content = contents.entry(hash).or_default();
                content.bytes += bytes;
                content.documents += documents;
                if survey.contents.len() > LISTED
                    && let Some((hash, _)) = survey.contents.pop_last()
                {
                    survey.listed_to = Some(hash - 1);
                }
                Ok(())
            })?;
        }
        survey.groups = match survey.listed_to {
            None => survey.contents.len() as u64,
            // Hashes are uniform, so the number of listed hashes below `to` gives the total.
            Some(to) => (survey.contents.len() as f64 / (to as f64 / u64::MAX as f64)) as u64,
        };
        survey.groups += besides.len() as u64;
        survey.contents.extend(besides);
        Ok(survey)
    }

    /// Returns true if a group with this split hash is listed, or would be if the domain had it.
    pub(crate) fn lists(&self, hash: u64) -> bool {
        self.listed_to.is_none_or(|to| hash <= to) || self.contents.contains_key(&hash)
    }
}

/// Counts the groups of a spool's documents, up to `most`.
///
/// # Errors
/// Fails if the temporary file can't be read.
pub(crate) fn groups_of(spool: &Spool, most: usize) -> Result<u64, DataError> {
    let mut found = BTreeSet::new();
    spool.read_kept(&mut |entry| {
        found.insert(entry.tag.side);
        Ok(found.len() < most)
    })?;
    Ok(found.len() as u64)
}
