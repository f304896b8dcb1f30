//! The verdict on a run's limits: its best checkpoint against the base, on the test split of the held-out documents.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::statistics::{Against, LEVEL, LimitVerdict, PairedBootstrap, holm};
use polymath_eval::{DomainScores, WindowOptions, score_shard};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use super::{LimitsConfig, limit_of};
use crate::FinetuneError;
use crate::durable;
use polymath_eval::Shares;

const RESAMPLES: usize = 4000;
/// Each arm of the test is one-sided at 5 %, which is two-sided at twice that.
pub(super) const TWO_SIDED: f64 = 2.0 * LEVEL;
/// In the run's folder; a run that has it is judged.
pub(super) const FILE: &str = "limits.json";

/// One domain on the test split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DomainVerdict {
    /// The domain.
    pub domain: String,
    /// tuned − base, in bits per byte.
    pub change: f64,
    /// Its 95 % interval; none below five groups of documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Independent groups of documents.
    pub groups: usize,
    /// How many groups of one size and with normally scattered changes would tell as much.
    pub effective_groups: f64,
    /// What it may rise by, and the verdict on that; none of the niche and of a domain without a limit.
    #[serde(flatten)]
    pub limited: Option<LimitedDomain>,
}

/// A limit, and the verdict on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LimitedDomain {
    /// In bits per byte.
    pub limit: f64,
    /// Kept where the one-sided 95 % upper bound is within the limit, broken where the lower one is beyond it.
    pub verdict: LimitVerdict,
    /// Where it is undecided: about how many groups of the same kind would decide, were the change what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_groups: Option<usize>,
}

/// The model that is judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// The checkpoint that was measured: the run's `best`, or `closest` where nothing was inside.
    pub checkpoint: PathBuf,
    /// Whether an evaluation on the way was inside, each domain with its upper bound.
    pub inside_on_the_way: bool,
    /// Where the checkpoint lies on the way from the base through the run's end: the share of the run's change in each block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Shares>,
}

/// The verdict on all limits of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitsVerdict {
    /// The model that is judged.
    #[serde(flatten)]
    pub judged: Judged,
    /// The niche first, then the retained domains.
    pub domains: Vec<DomainVerdict>,
}

impl LimitsVerdict {
    /// The verdict on all limits together: kept where each is, and the model was chosen inside them on the dev split; broken where
    /// one is, or nothing was inside. Each limit is tested at 5 %, which is enough for all of them: where one is broken, that
    /// one's test would have to fail (an intersection-union test).
    pub fn verdict(&self) -> LimitVerdict {
        let is = |verdict| move |domain: &LimitedDomain| domain.verdict == verdict;
        let mut limited = self.domains.iter().filter_map(|domain| domain.limited);
        if !self.was_inside()
            || limited
                .clone()
                .any(|domain| is(LimitVerdict::Broken)(&domain))
        {
            return LimitVerdict::Broken;
        }
        match limited.all(|domain| is(LimitVerdict::Kept)(&domain)) {
            true => LimitVerdict::Kept,
            false => LimitVerdict::Undecided,
        }
    }

    /// Whether it was inside on the dev split.
    fn was_inside(&self) -> bool {
        self.judged.inside_on_the_way || self.judged.mixed.is_some()
    }

    /// Scores both models on the test split of what each reads of the watched domains, the niche first; `windows` are those of the
    /// dev split, so that documents are chosen by the same rule.
    pub(crate) fn measure(
        (base, read): (&Transformer, &[(String, Arc<TokenShard>)]),
        (tuned, watched): (&Transformer, &[(String, Arc<TokenShard>)]),
        limits: &LimitsConfig,
        judged: Judged,
        windows: WindowOptions,
    ) -> Result<Self, FinetuneError> {
        let windows = WindowOptions {
            split: Some(HeldoutSplit::Test),
            ..windows
        };
        let score = |model, shard| score_shard(model, shard, windows, &mut |_, _| ());
        let mut scored = Vec::new();
        for (number, ((name, shard), (_, read))) in watched.iter().zip(read).enumerate() {
            scored.push(Scores {
                domain: name.clone(),
                limit: limit_of(limits, name).filter(|_| number > 0),
                base: score(base, read)?,
                tuned: score(tuned, shard)?,
            });
        }
        Self::of(judged, &scored)
    }

    /// Judges scores of the test split.
    pub(super) fn of(judged: Judged, scored: &[Scores]) -> Result<Self, FinetuneError> {
        let mut domains = Vec::new();
        let mut tested: Vec<(usize, f64, Against)> = Vec::new();
        for (at, scores) in scored.iter().enumerate() {
            let bootstrap = PairedBootstrap::new(&scores.base, &scores.tuned, RESAMPLES, 0)?;
            let change = bootstrap.change();
            let against = scores
                .limit
                .and_then(|limit| Some((at, limit, bootstrap.against(limit)?)));
            tested.extend(against);
            domains.push(DomainVerdict {
                domain: scores.domain.clone(),
                change: change.value,
                interval: change.interval,
                groups: change.groups,
                effective_groups: change.effective_groups,
                limited: scores.limit.map(|limit| LimitedDomain {
                    limit,
                    verdict: LimitVerdict::Undecided,
                    deciding_groups: None,
                }),
            });
        }
        // One false "broken" would condemn the run: these are corrected for one another. That all are kept needs no correction.
        let broken: Vec<f64> = tested
            .iter()
            .filter(|found| found.2.above)
            .map(|found| found.2.p_value)
            .collect();
        let mut corrected = holm(&broken).into_iter();
        for (at, limit, against) in tested {
            let judged = match against.above {
                true => against.corrected(corrected.next().expect("as many as are above")),
                false => against,
            };
            let verdict = judged.verdict(TWO_SIDED);
            let undecided = verdict == LimitVerdict::Undecided;
            domains[at].limited = Some(LimitedDomain {
                limit,
                verdict,
                deciding_groups: against.deciding_groups.filter(|_| undecided),
            });
        }
        Ok(Self { judged, domains })
    }

    /// The verdict in a run's folder; none where there is none, or one that can't be read or is by an earlier rule, which is
    /// measured again.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        let text = polymath_files::read(run.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes `limits.json` into the run's folder.
    pub(crate) fn write(&self, run: &Path) -> Result<(), FinetuneError> {
        let mut value = serde_json::to_value(self).expect("a verdict is numbers and names");
        let verdict = self.verdict();
        value["verdict"] = serde_json::to_value(verdict).expect("a verdict is a word");
        value["kept"] = (verdict == LimitVerdict::Kept).into();
        durable::write(&run.join(FILE), &format!("{value:#}\n"))
    }
}

/// A domain's scores by both models.
pub(super) struct Scores {
    pub domain: String,
    pub limit: Option<f64>,
    pub base: DomainScores,
    pub tuned: DomainScores,
}

fn word(verdict: LimitVerdict) -> &'static str {
    match verdict {
        LimitVerdict::Kept => "kept",
        LimitVerdict::Broken => "broken",
        LimitVerdict::Undecided => "undecided",
    }
}

impl fmt::Display for LimitsVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            formatter,
            "limits, on the test split of the held-out documents (bits per byte, {})",
            self.judged.checkpoint.display()
        )?;
        writeln!(
            formatter,
            "  {:20} {:>8}  {:^18}  {:>6}  {:>7}",
            "domain", "change", "95 % interval", "groups", "limit"
        )?;
        for domain in &self.domains {
            let (limit, word) = match &domain.limited {
                None => (String::new(), ""),
                Some(limited) => (limited.limit.to_string(), word(limited.verdict)),
            };
            let interval = match domain.interval {
                Some([low, high]) => format!("[{low:+.4}, {high:+.4}]"),
                None => "too few groups".into(),
            };
            writeln!(
                formatter,
                "  {:20} {:>+8.4}  {interval:^18}  {:>6}  {limit:>7}  {word}",
                domain.domain, domain.change, domain.groups
            )?;
        }
        if let Some(shares) = &self.judged.mixed {
            let shares = mixture(shares);
            writeln!(
                formatter,
                "`best` is the base and, of what the run changed, {shares}"
            )?;
        }
        let broken = self.named(LimitVerdict::Broken);
        let undecided = self.named(LimitVerdict::Undecided);
        match (self.was_inside(), &broken[..], &undecided[..]) {
            (true, "", "") => write!(
                formatter,
                "all limits kept: each upper bound is within its limit (one-sided, 95 %)"
            ),
            (true, "", undecided) => write!(
                formatter,
                "undecided: inside on the dev split, but the test split does not show it for {undecided}. Hold out more, or raise \
                 `evaluation.max_tokens`; a smaller limit for the run leaves more room"
            ),
            (true, broken, _) => write!(
                formatter,
                "inside on the dev split, but surely past the limit here: {broken}"
            ),
            (false, "", _) => write!(
                formatter,
                "nothing was inside with its upper bound on the dev split; the closest is not surely past a limit here, which may be \
                 chance"
            ),
            (false, broken, _) => write!(
                formatter,
                "nothing was inside; the closest is surely past the limit here: {broken}"
            ),
        }
    }
}

impl LimitsVerdict {
    /// The domains with this verdict: of a broken limit by how much, of an undecided one with what would decide.
    fn named(&self, verdict: LimitVerdict) -> String {
        let said = |domain: &DomainVerdict| {
            let limited = domain
                .limited
                .filter(|limited| limited.verdict == verdict)?;
            let name = &domain.domain;
            Some(match (verdict, limited.deciding_groups) {
                (LimitVerdict::Undecided, Some(groups)) => {
                    format!(
                        "{name} ({} groups of documents, about {groups} would decide)",
                        domain.groups
                    )
                }
                (LimitVerdict::Undecided, None) => {
                    format!("{name} ({} groups of documents)", domain.groups)
                }
                _ => format!("{name} by {:.4}", domain.change - limited.limit),
            })
        };
        let names: Vec<String> = self.domains.iter().filter_map(said).collect();
        names.join(", ")
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
