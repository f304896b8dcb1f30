//! Distillation ([LwF; Li & Hoiem 2016](https://arxiv.org/abs/1606.09282)): on the replayed rows of a batch, T²·KL(base
//! ‖ tuned) is added to the loss, with a temperature T.

use std::collections::HashMap;

use polymath_data::{Batch, IGNORED};
use polymath_model::{Comparison, ModelError, Teacher, TopK, Transformer};
use serde::{Deserialize, Serialize};

use crate::FinetuneError;

/// The `[retention.distill]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Weight of the divergence at a replayed token, relative to a token's loss.
    pub strength: f64,
    /// Temperature T, which softens both distributions.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// Moment at which the base's predictions are computed: with each batch, or once for a fixed pool of rows.
    #[serde(default)]
    pub cache: DistillCache,
    /// Number of most likely tokens that are stored at each position, with `cache = "top-k"`; default: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Number of tokens in the pool that replayed rows come from, with `cache = "top-k"`; default: 100 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_tokens: Option<u64>,
}

/// Choice of when the base's predictions are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DistillCache {
    /// During training, with each batch. Nothing is stored, and the whole vocabulary is compared.
    #[default]
    #[serde(rename = "live")]
    Live,
    /// Once before training, for a fixed pool of rows. Stores the most likely tokens at each position, and the total
    /// probability of all other tokens.
    #[serde(rename = "top-k")]
    TopK,
}

fn default_temperature() -> f64 {
    2.0
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            strength: 1.0,
            temperature: default_temperature(),
            cache: DistillCache::Live,
            top_k: None,
            pool_tokens: None,
        }
    }
}

impl DistillConfig {
    /// Checks every value of the table. `replays` is true if the run replays rows, on which distillation depends;
    /// `vocabulary` is the number of tokens in the vocabulary, the maximum of `top_k`.
    pub(crate) fn validate(&self, replays: bool, vocabulary: usize) -> Result<(), FinetuneError> {
        let refuse = |message: String| Err(FinetuneError::Config(message));
        super::positive("retention.distill.strength", self.strength)?;
        super::positive("retention.distill.temperature", self.temperature)?;
        if !replays {
            return refuse(
                "`retention.distill` compares with the base on replayed rows, and there are none: set \
                 `retention.replay` to a share such as `0.05`, or to `\"self\"` where the data are gone"
                    .into(),
            );
        }
        let cached = self.cache == DistillCache::TopK;
        for (key, given) in [
            ("top_k", self.top_k.is_some()),
            ("pool_tokens", self.pool_tokens.is_some()),
        ] {
            if given && !cached {
                return refuse(format!(
                    "`retention.distill.{key}` is of the cache, but `retention.distill.cache` is `live`: remove it, or \
                     set `cache = \"top-k\"`"
                ));
            }
        }
        if cached && !(1..=vocabulary).contains(&self.top_k()) {
            return refuse(format!(
                "`retention.distill.top_k` = `{}`: expected 1 to the vocabulary's {vocabulary}",
                self.top_k()
            ));
        }
        if self.pool_tokens == Some(0) {
            return refuse("`retention.distill.pool_tokens` = `0`: expected at least 1".into());
        }
        Ok(())
    }

    pub(crate) fn top_k(&self) -> usize {
        self.top_k.unwrap_or(32)
    }

    /// Returns the number of rows in the pool, the fixed set of rows from which replay draws if the base's predictions
    /// are cached. Returns `None` if they are not.
    pub(crate) fn pool_rows(&self, sequence_length: usize) -> Option<u64> {
        let tokens = self.pool_tokens.unwrap_or(100_000);
        let rows = tokens.div_ceil(sequence_length as u64);
        (self.cache == DistillCache::TopK).then_some(rows)
    }
}

/// Source of the base's predictions on replayed rows: the distillation teacher.
pub enum Base {
    /// The base itself, which predicts each batch.
    Live(Box<Transformer>),
    /// Predictions that were stored for every row of the pool (the fixed set of rows that are replayed).
    Pool(Pool),
}

/// Stored predictions of the base for the pool, the fixed set of rows from which replay draws: the most likely tokens
/// at each position, with their probabilities.
pub struct Pool {
    /// For each row of the pool: the index of its first position in `listed`.
    pub places: HashMap<RowKey, usize>,
    /// Most likely tokens at every position of the pool, row after row.
    pub listed: TopK,
}

/// Key by which a replayed row finds its stored predictions: the row's input IDs and its document starts.
pub type RowKey = (Vec<u32>, Vec<u32>);

/// Distillation from the base on the replayed rows of each batch.
pub struct Distillation {
    /// Weight of the KL divergence at a token, relative to the token's loss.
    pub strength: f64,
    /// Temperature T that both models' logits are divided by.
    pub temperature: f64,
    /// Source of the base's predictions.
    pub base: Base,
}

impl Distillation {
    /// Returns the teacher's side of the distillation for a batch: the scored positions of its replayed rows and the
    /// base's predictions there. Returns `None` if the batch has no replayed rows.
    ///
    /// # Errors
    /// Fails if the base fails or a row is not in the pool.
    pub fn comparison(&self, batch: &Batch) -> Result<Option<Comparison>, ModelError> {
        let rows: Vec<usize> = (0..batch.rows)
            .filter(|row| batch.is_replayed(*row))
            .collect();
        let length = batch.sequence_length();
        let scored = |row: usize| {
            (row * length..(row + 1) * length).filter(|at| batch.targets[*at] != IGNORED)
        };
        let positions: Vec<u32> = rows
            .iter()
            .flat_map(|row| scored(*row))
            .map(|at| at as u32)
            .collect();
        if positions.is_empty() {
            return Ok(None);
        }
        let teacher = match &self.base {
            Base::Live(base) => {
                // Position i of the k-th replayed row has the index k·length + i.
                let kept: Vec<u32> = rows
                    .iter()
                    .enumerate()
                    .flat_map(|(kept, row)| {
                        scored(*row).map(move |at| (at - row * length + kept * length) as u32)
                    })
                    .collect();
                base.teach(&select(batch, &rows), &kept)?
            }
            Base::Pool(pool) => Teacher::TopK(pool.at(batch, &rows, &positions)?),
        };
        Ok(Some(Comparison {
            positions,
            teacher,
            temperature: self.temperature,
        }))
    }
}

impl Pool {
    /// Returns the base's stored predictions at `positions` of the batch. All positions lie in the batch's rows `rows`.
    fn at(&self, batch: &Batch, rows: &[usize], positions: &[u32]) -> Result<TopK, ModelError> {
        let length = batch.sequence_length();
        let begins: HashMap<usize, usize> = rows
            .iter()
            .map(|row| {
                let place = self.places.get(&row_key(batch, *row));
                place.map(|place| (*row, *place)).ok_or_else(|| {
                    ModelError::Input("a replayed row is not in the pool of the cache".into())
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let k = self.listed.k;
        let (mut ids, mut probabilities, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for position in positions {
            let position = *position as usize;
            let at = begins[&(position / length)] + position % length;
            ids.extend_from_slice(&self.listed.ids[at * k..(at + 1) * k]);
            probabilities.extend_from_slice(&self.listed.probabilities[at * k..(at + 1) * k]);
            rest.push(self.listed.rest[at]);
        }
        Ok(TopK {
            k,
            ids: ids.into(),
            probabilities: probabilities.into(),
            rest: rest.into(),
        })
    }
}

/// Returns the key by which the row `row` of a batch finds its stored predictions.
pub fn row_key(batch: &Batch, row: usize) -> RowKey {
    let range = row * batch.sequence_length()..(row + 1) * batch.sequence_length();
    (
        batch.input_ids[range.clone()].to_vec(),
        batch.document_starts[range].to_vec(),
    )
}

/// Returns a batch that consists of the given rows of `batch`.
fn select(batch: &Batch, rows: &[usize]) -> Batch {
    let pick = |values: &[u32]| -> Vec<u32> {
        let length = batch.sequence_length();
        rows.iter()
            .flat_map(|row| &values[row * length..(row + 1) * length])
            .copied()
            .collect()
    };
    Batch {
        input_ids: pick(&batch.input_ids),
        targets: pick(&batch.targets),
        document_starts: pick(&batch.document_starts),
        rows: rows.len(),
        domains: rows.iter().map(|row| batch.domains[*row]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let config: DistillConfig = toml::from_str(&format!("strength = 1.0\n{text}")).unwrap();
        config.validate(true, 40).map_err(|error| error.to_string())
    }

    /// Checks that each bound is the last value that is accepted, that keys of the cache are refused without it, and
    /// that distillation needs replayed rows.
    #[test]
    fn bounds_are_inclusive() {
        let cache = "cache = \"top-k\"\n";
        for text in ["", "temperature = 1e-300"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in ["", "top_k = 1", "top_k = 40", "pool_tokens = 1"] {
            assert_eq!(check(&format!("{cache}{text}")), Ok(()), "{text}");
        }
        for (text, key) in [
            ("temperature = 0.0", "retention.distill.temperature"),
            ("top_k = 5", "retention.distill.top_k"),
            ("pool_tokens = 5", "retention.distill.pool_tokens"),
            ("cache = \"top-k\"\ntop_k = 0", "retention.distill.top_k"),
            ("cache = \"top-k\"\ntop_k = 41", "retention.distill.top_k"),
            (
                "cache = \"top-k\"\npool_tokens = 0",
                "retention.distill.pool_tokens",
            ),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.contains(&format!("`{key}`")), "{text}: {said}");
        }
        let config = DistillConfig::default();
        assert!(
            config
                .validate(false, 40)
                .unwrap_err()
                .to_string()
                .contains("`retention.distill`")
        );
        let none = DistillConfig {
            strength: 0.0,
            ..config
        };
        assert!(none.validate(true, 40).is_err());
    }

    /// Checks the defaults, and that the rows of the pool cover its tokens: 1,000 tokens are 63 rows of 16.
    #[test]
    fn a_pool_has_rows_for_its_tokens() {
        let config = |text: &str| -> DistillConfig {
            toml::from_str(&format!("strength = 1.0\n{text}")).unwrap()
        };
        let plain = config("");
        assert_eq!(plain, DistillConfig::default());
        assert_eq!((plain.temperature, plain.top_k()), (2.0, 32));
        assert_eq!(plain.pool_rows(16), None);
        let cached = "cache = \"top-k\"\npool_tokens =";
        assert_eq!(config(&format!("{cached} 1000")).pool_rows(16), Some(63));
        assert_eq!(config(&format!("{cached} 1008")).pool_rows(16), Some(63));
        assert_eq!(config("cache = \"top-k\"").pool_rows(250), Some(400));
    }

    /// Returns a batch of three rows of two tokens, of different domains and documents.
    fn batch() -> Batch {
        Batch {
            input_ids: vec![1, 2, 3, 4, 5, 6],
            targets: vec![2, 3, 4, 5, 6, 7],
            document_starts: vec![0, 0, 0, 1, 0, 0],
            rows: 3,
            domains: vec![0, 1, 2],
        }
    }

    /// Checks that rows are selected whole and in the given order.
    #[test]
    fn rows_are_selected_in_order() {
        let found = select(&batch(), &[2, 0]);
        assert_eq!((found.rows, found.domains), (2, vec![2, 0]));
        assert_eq!(found.input_ids, [5, 6, 1, 2]);
        assert_eq!(found.targets, [6, 7, 2, 3]);
        assert_eq!(found.document_starts, [0, 0, 0, 0]);
        assert_eq!(row_key(&batch(), 1), (vec![3, 4], vec![0, 1]));
    }

    /// Checks that each position finds the predictions of its own row in the pool, which has the rows in another
    /// order, and that a row that is not there is refused.
    #[test]
    fn positions_find_their_predictions() {
        let all = batch();
        let pool = Pool {
            places: HashMap::from([(row_key(&all, 2), 0), (row_key(&all, 1), 2)]),
            listed: TopK {
                k: 3,
                ids: (0..12).collect::<Vec<u32>>().into(),
                probabilities: (0..12)
                    .map(|at| at as f32 / 100.0)
                    .collect::<Vec<f32>>()
                    .into(),
                rest: vec![0.5, 0.6, 0.7, 0.8].into(),
            },
        };
        // The first position of row 2 is the pool's first, the second one of row 1 its last.
        let found = pool.at(&all, &[1, 2], &[4, 3]).unwrap();
        assert_eq!(found.k, 3);
        assert_eq!(found.ids[..], [0, 1, 2, 9, 10, 11]);
        assert_eq!(found.probabilities[..], [0.0, 0.01, 0.02, 0.09, 0.1, 0.11]);
        assert_eq!(found.rest[..], [0.5, 0.8]);
        assert!(pool.at(&all, &[0], &[0]).is_err());
    }
}
