//! Scores of a checkpoint on the dev and test splits of every domain, cached in the run folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::{
    DocumentScore, DomainScores, ScoresByDomain, SplitScores, WindowOptions, score_shard,
};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::cache::cached;

/// Scores of both splits, as stored in the cache file.
#[derive(Serialize, Deserialize)]
struct CachedSplits {
    #[serde(alias = "development")]
    dev: BTreeMap<String, CachedScores>,
    test: BTreeMap<String, CachedScores>,
}

/// Scores of one domain, as stored in the cache file.
#[derive(Serialize, Deserialize)]
struct CachedScores {
    documents: Vec<DocumentScore>,
    groups: Vec<u64>,
}

/// Returns the scores of a model on both splits of the domains: from the cache `file` if its key is `key`, or else by
/// scoring the model that `load` returns.
///
/// # Errors
/// Fails if loading, scoring or writing fails.
pub fn score(
    file: &Path,
    key: &str,
    load: impl FnOnce() -> Result<Transformer, StudyError>,
    domains: &[NamedShard],
    windows: WindowOptions,
) -> Result<SplitScores, StudyError> {
    let splits = cached(file, earlier_name(file).as_deref(), key, || {
        let model = load()?;
        let of = |split: HeldoutSplit| {
            let windows = WindowOptions {
                split: Some(split),
                ..windows
            };
            domains
                .iter()
                .map(|NamedShard { name, shard }| {
                    let scores = score_shard(&model, shard, windows, &mut |_, _| ())?;
                    let cached = CachedScores {
                        documents: scores.documents,
                        groups: scores.groups,
                    };
                    Ok((name.clone(), cached))
                })
                .collect::<Result<_, StudyError>>()
        };
        Ok(CachedSplits {
            dev: of(HeldoutSplit::Dev)?,
            test: of(HeldoutSplit::Test)?,
        })
    })?;
    Ok(SplitScores {
        dev: named(splits.dev, domains),
        test: named(splits.test, domains),
    })
}

/// Returns the path that earlier versions used for this cache file.
fn earlier_name(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    Some(file.with_file_name(name.replace("split-scores", "halves")))
}

fn named(cached: BTreeMap<String, CachedScores>, domains: &[NamedShard]) -> ScoresByDomain {
    let grouping = |name: &String| {
        let NamedShard { shard, .. } = domains.iter().find(|domain| domain.name == *name)?;
        shard.has_groups().then(|| shard.grouping())
    };
    cached
        .into_iter()
        .map(|(name, cached)| {
            let scores = DomainScores {
                documents: cached.documents,
                groups: cached.groups,
                grouping: grouping(&name),
                ..DomainScores::default()
            };
            (name, scores)
        })
        .collect()
}

/// Returns a key that identifies all inputs of the scores: the weights (by the string `weights`), the data and the
/// windows.
pub fn key(weights: &str, domains: &[NamedShard], windows: WindowOptions) -> String {
    let data: Vec<String> = domains
        .iter()
        .map(|NamedShard { name, shard }| {
            let stored = shard.stored();
            let (path, sizes) = (
                stored.path().display(),
                (stored.documents(), stored.tokens()),
            );
            format!("{name} {path} {} {sizes:?}", stored.sha256())
        })
        .collect();
    format!("4 {weights} {windows:?} {data:?}")
}

/// Returns a string that identifies the weights in `folder`: their SHA-256, or for an adapter the string `base`
/// followed by the adapter's SHA-256.
pub fn digest(folder: &Path, base: &str) -> Result<String, StudyError> {
    if polymath_model::is_adapter(folder) {
        let adapter = polymath_train::sha256_of(&folder.join("adapter_model.safetensors"))?;
        return Ok(format!("{base}{adapter}"));
    }
    Ok(polymath_model::sha256_of_weights(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a cache file with the name and keys of an earlier version is used.
    #[test]
    fn earlier_cache_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"key":"k","development":{"a":{"documents":[],"groups":[7]}},"test":{}}"#;
        std::fs::write(folder.path().join("base-halves.json"), text).unwrap();
        let file = folder.path().join("base-split-scores.json");
        let load = || -> Result<Transformer, StudyError> { panic!("scored again") };
        let scores = score(&file, "k", load, &[], WindowOptions::default()).unwrap();
        assert_eq!(scores.dev["a"].groups, [7]);
        assert!(scores.test.is_empty());
    }
}
