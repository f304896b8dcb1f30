//! Measurement of leaks: the share of one dataset's held-out text that is in the training text of another.

use std::sync::Arc;

use rayon::prelude::*;

use crate::preparation::overlap::{HeldoutGrams, OverlapScan};
use crate::{DataError, DatasetDomain, Overlap, Split, TokenBytes, TokenShard};

/// Maximum number of held-out domains per pass: each needs one bit of a 32-bit mask.
const AT_ONCE: usize = 32;
/// Documents per batch: enough to keep all cores busy.
const CHUNK: usize = 4096;

/// Measures how much of the held-out text of each `heldout` domain is in the training text of the domain `train`, by
/// the same method as `prepare` within one dataset: whole documents, and sequences of 13 words. For a pair within one
/// dataset, it returns the counts in the manifest.
///
/// # Errors
/// Fails if a dataset does not have a named domain, or if a shard or tokenizer can't be read.
pub fn measure_overlaps(
    heldout: &[DatasetDomain],
    train: DatasetDomain,
) -> Result<Vec<Overlap>, DataError> {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for &domain in heldout {
        match known(domain, train) {
            Some(overlap) => found.push(overlap.clone()),
            None => unknown.push(domain),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    let shard = train.dataset.shard(train.name, Split::Train)?;
    let token_bytes = train.dataset.token_bytes()?;
    for domains in unknown.chunks(AT_ONCE) {
        let mut grams = HeldoutGrams::new(domains.len());
        let texts = domains
            .iter()
            .map(|DatasetDomain { dataset, name }| {
                Ok((dataset.shard(name, Split::Heldout)?, dataset.token_bytes()?))
            })
            .collect::<Result<Vec<(Arc<TokenShard>, TokenBytes)>, DataError>>()?;
        for (number, (shard, token_bytes)) in texts.iter().enumerate() {
            for index in 0..shard.documents() {
                grams.count_text(number, &token_bytes.text(&shard.document(index)));
            }
        }
        for (number, (shard, token_bytes)) in texts.iter().enumerate() {
            for index in 0..shard.documents() {
                grams.fill_text(number, &token_bytes.text(&shard.document(index)));
            }
        }
        let scan = OverlapScan::new(&grams);
        let starts = (0..shard.documents()).step_by(CHUNK);
        for start in starts {
            let end = (start + CHUNK).min(shard.documents());
            (start..end)
                .into_par_iter()
                .for_each(|index| scan.look(0, &token_bytes.text(&shard.document(index))));
        }
        let names: Vec<String> = domains
            .iter()
            .map(|domain| domain.name.to_owned())
            .collect();
        found.extend(scan.against(train.name, &names));
    }
    found.sort_by_key(|pair| {
        heldout
            .iter()
            .position(|domain| domain.name == pair.heldout)
    });
    Ok(found)
}

/// Returns the manifest's counts if both domains belong to the same dataset.
fn known<'a>(heldout: DatasetDomain<'a>, train: DatasetDomain) -> Option<&'a Overlap> {
    let same = heldout.dataset.fingerprint() == train.dataset.fingerprint();
    let overlaps = &heldout.dataset.manifest().overlaps;
    let mut overlaps = overlaps.iter().filter(|_| same);
    overlaps.find(|pair| pair.train == train.name && pair.heldout == heldout.name)
}
