//! The last word on a run's limits: its best checkpoint against the base, on the test half of the held-out documents.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::statistics::{Change, paired_change};
use polymath_eval::{WindowOptions, score_shard};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use super::{LimitsConfig, limit_of};
use crate::FinetuneError;
use crate::kept::write_whole;
use crate::retention::Shares;

const RESAMPLES: usize = 2000;
/// In the run's folder; a run that has it is judged.
pub(super) const FILE: &str = "limits.json";

/// One domain on the test half.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DomainVerdict {
    /// The domain.
    pub domain: String,
    /// tuned − base, in bits per byte.
    pub change: f64,
    /// Its 95 % interval; null below five groups of documents.
    pub interval: Option<[f64; 2]>,
    /// How much it may rise; none for the niche.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl DomainVerdict {
    /// Whether it rose by no more than its limit.
    pub fn is_kept(&self) -> bool {
        self.limit.is_none_or(|limit| self.change <= limit)
    }
}

/// What is judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// The checkpoint that was measured: the run's `best`, or `closest` where nothing was inside.
    pub checkpoint: PathBuf,
    /// Whether an evaluation on the way was inside, each domain with what its rise may be on other documents.
    pub inside_on_the_way: bool,
    /// Where the checkpoint lies on the way from the base through the run's end: the share of the run's change in each block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Shares>,
}

/// What became of the limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitsVerdict {
    /// What it is of.
    #[serde(flatten)]
    pub judged: Judged,
    /// The niche first, then the old domains.
    pub domains: Vec<DomainVerdict>,
}

impl LimitsVerdict {
    /// Whether the limits were kept: inside on the development half, and on the test half too.
    pub fn is_kept(&self) -> bool {
        self.was_inside() && self.domains.iter().all(DomainVerdict::is_kept)
    }

    /// Whether it was inside on the development half.
    fn was_inside(&self) -> bool {
        self.judged.inside_on_the_way || self.judged.mixed.is_some()
    }

    /// Scores both models on the test half of what each reads of the watched domains, the niche first.
    pub(crate) fn measure(
        (base, read): (&Transformer, &[(String, Arc<TokenShard>)]),
        (tuned, watched): (&Transformer, &[(String, Arc<TokenShard>)]),
        limits: &LimitsConfig,
        judged: Judged,
        context: usize,
    ) -> Result<Self, FinetuneError> {
        let windows = WindowOptions {
            context: Some(context),
            split: Some(HeldoutSplit::Test),
            ..WindowOptions::default()
        };
        let mut domains = Vec::new();
        let score = |model, shard| score_shard(model, shard, windows, &mut |_, _| ());
        for (number, ((name, shard), (_, read))) in watched.iter().zip(read).enumerate() {
            let Change {
                value, interval, ..
            } = paired_change(&score(base, read)?, &score(tuned, shard)?, RESAMPLES, 0)?;
            domains.push(DomainVerdict {
                domain: name.clone(),
                change: value,
                interval,
                limit: limit_of(limits, name).filter(|_| number > 0),
            });
        }
        Ok(Self { judged, domains })
    }

    /// The verdict in a run's folder; none where there is none, or one that can't be read, which is measured again.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        let text = polymath_files::read(run.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes `limits.json` into the run's folder.
    pub(crate) fn write(&self, run: &Path) -> Result<(), FinetuneError> {
        let mut value = serde_json::to_value(self).expect("a verdict is numbers and names");
        value["kept"] = self.is_kept().into();
        write_whole(&run.join(FILE), &format!("{value:#}\n"))
    }
}

impl fmt::Display for LimitsVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            formatter,
            "limits, on the test half of the held-out documents (bits per byte, {})",
            self.judged.checkpoint.display()
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
            let interval = domain.interval.map_or("–".into(), |[low, high]| {
                format!("[{low:+.4}, {high:+.4}]")
            });
            writeln!(
                formatter,
                "  {:20} {:>+8.4}  {interval:>18}  {limit:>7}  {word}",
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
        if let Some(shares) = &self.judged.mixed {
            let shares = mixture(shares);
            writeln!(
                formatter,
                "`best` is the base and, of what the run changed, {shares}"
            )?;
        }
        match (self.was_inside(), &broken[..]) {
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

/// `43.8 %`, or the least and the most of any block.
fn mixture(shares: &Shares) -> String {
    let by_share = |a: &(&String, &f64), b: &(&String, &f64)| a.1.total_cmp(b.1);
    let ends = (
        shares.iter().min_by(by_share),
        shares.iter().max_by(by_share),
    );
    let (Some((least_in, least)), Some((most_in, most))) = ends else {
        return "nothing".into();
    };
    if least == most {
        return format!("{:.1} %", most * 100.0);
    }
    format!(
        "from {:.1} % ({least_in}) to {:.1} % ({most_in})",
        least * 100.0,
        most * 100.0
    )
}
