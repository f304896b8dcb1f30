//! The leak ledger: how much of the held-out text of any datasets stands in the training text of another.

use std::sync::Arc;

use rayon::prelude::*;

use crate::preparation::overlap::{HeldoutGrams, OverlapScan};
use crate::{DataError, Dataset, Overlap, Spelling, Split, TokenShard};

/// Held-out domains that are looked for at once, a bit each.
const AT_ONCE: usize = 32;
/// Documents that are spelled at once: enough for all cores.
const CHUNK: usize = 4096;

/// Looks for the held-out text of each `heldout` domain in the training text of the domain `train`, as `prepare` does
/// within one dataset: whole documents, and sequences of 13 words. A pair within one dataset is read from its manifest.
///
/// # Errors
/// A domain that a dataset does not have; a shard or tokenizer that can't be read.
pub fn measure_overlaps(
    heldout: &[(&Dataset, &str)],
    train: (&Dataset, &str),
) -> Result<Vec<Overlap>, DataError> {
    let mut found = Vec::new();
    let mut unknown: Vec<(&Dataset, &str)> = Vec::new();
    for &(dataset, name) in heldout {
        match known(dataset, name, train) {
            Some(overlap) => found.push(overlap.clone()),
            None => unknown.push((dataset, name)),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    let shard = train.0.shard(train.1, Split::Train)?;
    let spelling = train.0.spelling()?;
    for domains in unknown.chunks(AT_ONCE) {
        let mut grams = HeldoutGrams::new(domains.len());
        let texts = domains
            .iter()
            .map(|(dataset, name)| Ok((dataset.shard(name, Split::Heldout)?, dataset.spelling()?)))
            .collect::<Result<Vec<(Arc<TokenShard>, Spelling)>, DataError>>()?;
        for (number, (shard, spelling)) in texts.iter().enumerate() {
            for index in 0..shard.documents() {
                grams.count_text(number, &spelling.text(&shard.document(index)));
            }
        }
        for (number, (shard, spelling)) in texts.iter().enumerate() {
            for index in 0..shard.documents() {
                grams.fill_text(number, &spelling.text(&shard.document(index)));
            }
        }
        let scan = OverlapScan::new(&grams);
        let starts = (0..shard.documents()).step_by(CHUNK);
        for start in starts {
            let end = (start + CHUNK).min(shard.documents());
            (start..end)
                .into_par_iter()
                .for_each(|index| scan.look(0, &spelling.text(&shard.document(index))));
        }
        let names: Vec<String> = domains.iter().map(|(_, name)| (*name).to_owned()).collect();
        found.extend(scan.against(train.1, &names));
    }
    found.sort_by_key(|pair| heldout.iter().position(|(_, name)| *name == pair.heldout));
    Ok(found)
}

/// Returns the manifest's counts if both sides are of one dataset.
fn known<'a>(dataset: &'a Dataset, heldout: &str, train: (&Dataset, &str)) -> Option<&'a Overlap> {
    let same = dataset.fingerprint() == train.0.fingerprint();
    let mut overlaps = dataset.manifest().overlaps.iter().filter(|_| same);
    overlaps.find(|pair| pair.train == train.1 && pair.heldout == heldout)
}
