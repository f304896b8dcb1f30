//! What a checkpoint makes of both halves of every domain, kept beside it so that it is scored once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use polymath_data::{Half, TokenShard};
use polymath_eval::frontier::{HalfScores, Scored};
use polymath_eval::{DocumentScore, DomainScores, WindowOptions, score_shard};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use crate::FinetuneError;

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of all that decides the scores.
    key: String,
    development: BTreeMap<String, Vec<DocumentScore>>,
    test: BTreeMap<String, Vec<DocumentScore>>,
}

/// Scores what `load` gives on both halves of the domains, or reads what `file` keeps of the same weights, data and
/// settings, which `key` stands for. A file that can't be read or is of something else is made anew.
///
/// # Errors
/// What loading, scoring and the disk say.
pub(crate) fn score(
    file: &Path,
    key: &str,
    load: impl FnOnce() -> Result<Transformer, FinetuneError>,
    domains: &[(String, Arc<TokenShard>)],
    windows: WindowOptions,
) -> Result<Scored, FinetuneError> {
    if let Some(scored) = std::fs::read(file).ok().and_then(|text| read(&text, key)) {
        return Ok(scored);
    }
    let model = load()?;
    let half = |half: Half| -> Result<HalfScores, FinetuneError> {
        let windows = WindowOptions {
            half: Some(half),
            ..windows
        };
        domains
            .iter()
            .map(|(name, shard)| {
                Ok((
                    name.clone(),
                    score_shard(&model, shard, windows, &mut |_, _| ())?,
                ))
            })
            .collect()
    };
    let documents = |half: &HalfScores| {
        half.iter()
            .map(|(name, scores)| (name.clone(), scores.documents.clone()))
            .collect()
    };
    let kept = Kept {
        key: key.to_owned(),
        development: documents(&half(Half::Development)?),
        test: documents(&half(Half::Test)?),
    };
    let text = serde_json::to_string(&kept).expect("scores are numbers");
    std::fs::write(file, &text).map_err(|source| FinetuneError::File {
        path: file.to_path_buf(),
        source,
    })?;
    // Read back, so that what is compared is the same to the last bit the next time.
    Ok(read(text.as_bytes(), key).expect("what was just written"))
}

/// The scores in a file's text, if they are those of `key`.
fn read(text: &[u8], key: &str) -> Option<Scored> {
    let kept: Kept = serde_json::from_slice(text).ok()?;
    (kept.key == key).then(|| Scored {
        development: named(kept.development),
        test: named(kept.test),
    })
}

fn named(documents: BTreeMap<String, Vec<DocumentScore>>) -> HalfScores {
    documents
        .into_iter()
        .map(|(name, documents)| {
            let scores = DomainScores {
                documents,
                ..DomainScores::default()
            };
            (name, scores)
        })
        .collect()
}

/// Everything that decides the scores of the model that `weights` stands for.
pub(crate) fn key(
    weights: &str,
    domains: &[(String, Arc<TokenShard>)],
    windows: WindowOptions,
) -> String {
    let data: Vec<String> = domains
        .iter()
        .map(|(name, shard)| format!("{name} {}", shard.stored().path().display()))
        .collect();
    format!("1 {weights} {windows:?} {data:?}")
}

/// What stands for the model in `folder`: its weights, or its base's and the adapter.
pub(crate) fn digest(folder: &Path, base: &str) -> Result<String, FinetuneError> {
    if polymath_model::is_adapter(folder) {
        let adapter = polymath_train::sha256_of(&folder.join("adapter_model.safetensors"))?;
        return Ok(format!("{base}{adapter}"));
    }
    Ok(polymath_model::sha256_of_weights(folder)?)
}
