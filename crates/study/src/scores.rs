//! Scores of a checkpoint on the dev and test splits of every domain, kept beside it so that it is scored once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::{
    DocumentScore, DomainScores, ScoresByDomain, SplitScores, WindowOptions, score_shard,
};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::kept::kept;

/// Both splits as they are kept.
#[derive(Serialize, Deserialize)]
struct Halves {
    development: BTreeMap<String, Kept>,
    test: BTreeMap<String, Kept>,
}

/// A domain's scores as they are kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    documents: Vec<DocumentScore>,
    groups: Vec<u64>,
}

/// Scores what `load` gives on both splits of the domains, or reads what `file` keeps of the same weights, data and
/// settings, which `key` stands for.
///
/// # Errors
/// What loading, scoring and the disk say.
pub fn score(
    file: &Path,
    key: &str,
    load: impl FnOnce() -> Result<Transformer, StudyError>,
    domains: &[(String, Arc<TokenShard>)],
    windows: WindowOptions,
) -> Result<SplitScores, StudyError> {
    let halves = kept(file, key, || {
        let model = load()?;
        let of = |split: HeldoutSplit| {
            let windows = WindowOptions {
                split: Some(split),
                ..windows
            };
            domains
                .iter()
                .map(|(name, shard)| {
                    let scores = score_shard(&model, shard, windows, &mut |_, _| ())?;
                    let kept = Kept {
                        documents: scores.documents,
                        groups: scores.groups,
                    };
                    Ok((name.clone(), kept))
                })
                .collect::<Result<_, StudyError>>()
        };
        Ok(Halves {
            development: of(HeldoutSplit::Dev)?,
            test: of(HeldoutSplit::Test)?,
        })
    })?;
    Ok(SplitScores {
        dev: named(halves.development, domains),
        test: named(halves.test, domains),
    })
}

fn named(kept: BTreeMap<String, Kept>, domains: &[(String, Arc<TokenShard>)]) -> ScoresByDomain {
    let grouping = |name: &String| {
        let (_, shard) = domains.iter().find(|(domain, _)| domain == name)?;
        shard.has_groups().then(|| shard.grouping())
    };
    kept.into_iter()
        .map(|(name, kept)| {
            let scores = DomainScores {
                documents: kept.documents,
                groups: kept.groups,
                grouping: grouping(&name),
                ..DomainScores::default()
            };
            (name, scores)
        })
        .collect()
}

/// Everything that decides the scores of the model that `weights` stands for.
pub fn key(weights: &str, domains: &[(String, Arc<TokenShard>)], windows: WindowOptions) -> String {
    let data: Vec<String> = domains
        .iter()
        .map(|(name, shard)| {
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

/// What stands for the model in `folder`: its weights, or its base's and the adapter.
pub fn digest(folder: &Path, base: &str) -> Result<String, StudyError> {
    if polymath_model::is_adapter(folder) {
        let adapter = polymath_train::sha256_of(&folder.join("adapter_model.safetensors"))?;
        return Ok(format!("{base}{adapter}"));
    }
    Ok(polymath_model::sha256_of_weights(folder)?)
}
