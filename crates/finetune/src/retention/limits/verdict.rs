//! The last word on a run's limits: its best checkpoint against the base, on the test half of the held-out documents.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{Half, TokenShard};
use polymath_eval::statistics::{Change, paired_change};
use polymath_eval::{WindowOptions, score_shard};
use polymath_model::Transformer;
use serde::Serialize;

use super::{LimitsConfig, limit_of};
use crate::FinetuneError;

const RESAMPLES: usize = 2000;

/// One domain on the test half.
#[derive(Debug, Clone, Serialize)]
pub struct DomainVerdict {
    /// The domain.
    pub domain: String,
    /// tuned − base, in bits per byte.
    pub change: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// How much it may rise; none for the niche.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl DomainVerdict {
    /// Whether it rose by no more than its limit.
    pub fn is_kept(&self) -> bool {
        self.limit.is_none_or(|limit| self.change <= limit)
    }
}

/// What became of the limits.
#[derive(Debug, Clone, Serialize)]
pub struct LimitsVerdict {
    /// The checkpoint that was measured: the run's `best`, or `closest` where nothing was inside on the way.
    pub checkpoint: PathBuf,
    /// Whether an evaluation on the way was inside, each domain with the upper end of its interval.
    pub inside_on_the_way: bool,
    /// Where the checkpoint is a mixture with the base: the share of the run's last weights in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed: Option<f64>,
    /// The niche first, then the old domains.
    pub domains: Vec<DomainVerdict>,
}

impl LimitsVerdict {
    /// Whether the limits were kept: inside on the development half, and on the test half too.
    pub fn is_kept(&self) -> bool {
        (self.inside_on_the_way || self.mixed.is_some())
            && self.domains.iter().all(DomainVerdict::is_kept)
    }

    /// Scores both models on the test half of what each reads of the watched domains, the niche first.
    pub(crate) fn measure(
        (base, read): (&Transformer, &[(String, Arc<TokenShard>)]),
        (tuned, watched): (&Transformer, &[(String, Arc<TokenShard>)]),
        limits: &LimitsConfig,
        (checkpoint, (inside_on_the_way, mixed), context): (&Path, (bool, Option<f64>), usize),
    ) -> Result<Self, FinetuneError> {
        let windows = WindowOptions {
            context: Some(context),
            half: Some(Half::Test),
            ..WindowOptions::default()
        };
        let mut domains = Vec::new();
        let score = |model, shard| score_shard(model, shard, windows, &mut |_, _| ());
        for (number, ((name, shard), (_, read))) in watched.iter().zip(read).enumerate() {
            let Change {
                value, low, high, ..
            } = paired_change(&score(base, read)?, &score(tuned, shard)?, RESAMPLES, 0)?;
            domains.push(DomainVerdict {
                domain: name.clone(),
                change: value,
                interval: [low, high],
                limit: limit_of(limits, name).filter(|_| number > 0),
            });
        }
        Ok(Self {
            checkpoint: checkpoint.to_path_buf(),
            inside_on_the_way,
            mixed,
            domains,
        })
    }

    /// Writes `limits.json` into the run's folder.
    pub(crate) fn write(&self, run: &Path) -> Result<(), FinetuneError> {
        let path = run.join("limits.json");
        let mut value = serde_json::to_value(self).expect("a verdict is numbers and names");
        value["kept"] = self.is_kept().into();
        std::fs::write(&path, format!("{value:#}\n"))
            .map_err(|source| FinetuneError::File { path, source })
    }
}

impl fmt::Display for LimitsVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            formatter,
            "limits, on the test half of the held-out documents (bits per byte, {})",
            self.checkpoint.display()
        )?;
        writeln!(
            formatter,
            "  {:20} {:>8}  {:^18}  {:>7}",
            "domain", "change", "95 % interval", "limit"
        )?;
        for domain in &self.domains {
            let (limit, word) = match domain.limit {
                None => (String::new(), ""),
                Some(limit) => (
                    limit.to_string(),
                    if domain.is_kept() { "kept" } else { "broken" },
                ),
            };
            let [low, high] = domain.interval;
            writeln!(
                formatter,
                "  {:20} {:>+8.4}  [{low:+.4}, {high:+.4}]  {limit:>7}  {word}",
                domain.domain, domain.change
            )?;
        }
        let broken: Vec<String> = self
            .domains
            .iter()
            .filter(|domain| !domain.is_kept())
            .map(|domain| {
                let limit = domain.limit.unwrap_or_default();
                format!("{} by {:.4}", domain.domain, domain.change - limit)
            })
            .collect();
        if let Some(share) = self.mixed {
            writeln!(
                formatter,
                "`best` has {:.1} % of the run's last weights and the rest of the base's: more was outside",
                share * 100.0
            )?;
        }
        let inside = self.inside_on_the_way || self.mixed.is_some();
        match (inside, &broken[..]) {
            (true, []) => write!(formatter, "all limits kept"),
            (true, broken) => write!(
                formatter,
                "inside on the development half, but past the limit here: {}",
                broken.join(", ")
            ),
            (false, []) => write!(
                formatter,
                "nothing was inside with its interval; the closest is within the limits here, which may be chance"
            ),
            (false, broken) => write!(
                formatter,
                "nothing was inside; the closest is past the limit here: {}",
                broken.join(", ")
            ),
        }
    }
}
