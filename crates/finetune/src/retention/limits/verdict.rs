//! Verdict on a run's forgetting limits: compares the run's best checkpoint with the base on the test split of the
//! held-out documents.

use std::fmt;
use std::path::{Path, PathBuf};

use polymath_base::counted;
use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::statistics::{
    Against, FEWEST_EFFECTIVE, LEVEL, LimitVerdict, PairedBootstrap, Side, holm,
};
use polymath_eval::{DomainScores, WindowOptions, score_shard};
use polymath_model::Transformer;
use serde::{Deserialize, Serialize};

use super::ModelOnDomains;
use super::{LimitsConfig, limit_of};
use crate::FinetuneError;
use crate::durable;
use crate::retention::self_replay::DOMAIN;
use polymath_eval::Shares;

const RESAMPLES: usize = 4000;
/// Significance level α of a two-sided confidence interval of which each side is a one-sided test at 5 %.
pub(super) const TWO_SIDED: f64 = 2.0 * LEVEL;
/// Name of the file in a run's folder that holds the verdict on the limits. A run without this file is yet to be
/// judged.
pub(super) const FILE: &str = "limits.json";

/// Change of one domain on the test split, with the verdict on its limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DomainVerdict {
    /// Name of the domain.
    pub domain: String,
    /// Bits per byte of the tuned model minus those of the base.
    pub change: f64,
    /// 95 % confidence interval of the change; `None` below five groups of documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Number of groups of documents. The documents of a group, such as the parts of one book, are not independent and
    /// count as one observation.
    pub groups: usize,
    /// Effective number of groups: the number of equally large groups with normally distributed changes that would give
    /// the same information.
    pub effective_groups: f64,
    /// Limit and verdict; `None` for the niche and for a domain without a limit.
    #[serde(flatten)]
    pub limited: Option<LimitedDomain>,
}

/// Forgetting limit of a domain, and the verdict whether it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LimitedDomain {
    /// Maximum increase of the domain, in bits per byte.
    pub limit: f64,
    /// Verdict: kept if the one-sided 95 % upper bound is within the limit and there are 15 effective groups, or if the
    /// domain has improved; broken if the lower bound is beyond the limit.
    pub verdict: LimitVerdict,
    /// Confidence bound of the change that is compared with the limit: the one-sided 95 % upper bound if the change is
    /// within the limit, else the lower bound, corrected for the number of limits that are passed. `None` below five
    /// groups of documents, and in verdicts of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// For an undecided limit: approximate number of similar groups that would decide it if the change stayed the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_groups: Option<usize>,
}

/// Model that a verdict is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// Checkpoint that was scored: the run's `best`, or `closest` if no model was within the limits.
    pub checkpoint: PathBuf,
    /// True if an evaluation during training found the model within all limits, by the upper bound of each domain.
    pub inside_on_the_way: bool,
    /// True if the limits were applied to text that the base generated, because the run has no dataset of retained
    /// domains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_generated_text: bool,
    /// Share of the weight change in each layer, if the model is a mix of the base and the last checkpoint; `None` for
    /// a checkpoint of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Shares>,
}

/// Verdict on all forgetting limits of a run, stored as `limits.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitsVerdict {
    /// Model that the verdict is about.
    #[serde(flatten)]
    pub judged: Judged,
    /// Verdicts on the domains; the first one is the niche.
    pub domains: Vec<DomainVerdict>,
}

impl LimitsVerdict {
    /// Returns the verdict on all limits together. Kept: each limit is kept, and the model was within the limits on
    /// the dev split. Broken: one limit is broken, or no model was within the limits. Each limit is tested at 5 %,
    /// which suffices for "all kept": if one limit is really broken, its own test would have to fail
    /// (intersection-union test).
    pub fn verdict(&self) -> LimitVerdict {
        let is = |verdict| move |domain: &LimitedDomain| domain.verdict == verdict;
        let mut limited = self.domains.iter().filter_map(|domain| domain.limited);
        if !self.is_inside()
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

    /// Returns true if the judged model was within all limits on the dev split.
    pub fn is_inside(&self) -> bool {
        self.judged.inside_on_the_way || self.judged.mixed.is_some()
    }

    /// Scores the base and the tuned model on the test split of the domains, each with its own tokenizer, and judges
    /// the limits. The first domain is the niche. `windows` are the scoring windows of the dev split, so that documents
    /// of the test split are chosen by the same rule.
    pub(crate) fn measure(
        base: ModelOnDomains,
        tuned: ModelOnDomains,
        limits: &LimitsConfig,
        judged: Judged,
        windows: WindowOptions,
    ) -> Result<Self, FinetuneError> {
        let windows = WindowOptions {
            split: Some(HeldoutSplit::Test),
            ..windows
        };
        let score = |model: &Transformer, shard: &TokenShard| {
            score_shard(model, shard, windows, &mut |_, _| ())
        };
        let mut scored = Vec::new();
        for (number, (watched, read)) in tuned.domains.iter().zip(base.domains).enumerate() {
            scored.push(ScoredDomain {
                domain: watched.name.clone(),
                limit: limit_of(limits, &watched.name).filter(|_| number > 0),
                base: score(base.model, &read.shard)?,
                tuned: score(tuned.model, &watched.shard)?,
            });
        }
        Self::of(judged, &scored)
    }

    /// Judges the limits by the scores of both models on the test split.
    pub(super) fn of(judged: Judged, scored: &[ScoredDomain]) -> Result<Self, FinetuneError> {
        let mut domains = Vec::new();
        let mut tested: Vec<(usize, f64, Against)> = Vec::new();
        let (mut deciding, mut bootstraps) = (Vec::new(), Vec::new());
        for (at, scores) in scored.iter().enumerate() {
            let bootstrap = PairedBootstrap::new(&scores.base, &scores.tuned, RESAMPLES, 0)?;
            let change = bootstrap.change();
            let against = scores
                .limit
                .and_then(|limit| Some((at, limit, bootstrap.against(limit)?)));
            tested.extend(against);
            deciding.push(
                scores
                    .limit
                    .and_then(|limit| bootstrap.deciding_groups(limit, TWO_SIDED)),
            );
            domains.push(DomainVerdict {
                domain: scores.domain.clone(),
                change: change.value,
                interval: change.interval,
                groups: change.groups,
                effective_groups: change.effective_groups,
                limited: scores.limit.map(|limit| LimitedDomain {
                    limit,
                    verdict: LimitVerdict::Undecided,
                    bound: None,
                    deciding_groups: None,
                }),
            });
            bootstraps.push(bootstrap);
        }
        // A single false "broken" would fail the run, so these tests are corrected for their number. "All kept" needs
        // no correction.
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
            let verdict = match judged.verdict(TWO_SIDED) {
                // As in the report: a domain that is shown to have improved has lost nothing, with few groups too.
                LimitVerdict::Undecided if has_improved(&bootstraps[at]) => LimitVerdict::Kept,
                verdict => verdict,
            };
            // A p-value is below its corrected level exactly if the corrected p-value is below the level.
            let side = if against.above {
                Side::Lower
            } else {
                Side::Upper
            };
            let level = TWO_SIDED * against.p_value / judged.p_value;
            let undecided = verdict == LimitVerdict::Undecided;
            domains[at].limited = Some(LimitedDomain {
                limit,
                verdict,
                bound: bootstraps[at].bound(side, level),
                deciding_groups: deciding[at].filter(|_| undecided),
            });
        }
        Ok(Self { judged, domains })
    }

    /// Reads the verdict from a run's folder. Returns `None` if there is no verdict, if it can't be read, or if it was
    /// made by an earlier version's rule; the run is then judged again.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        let text = polymath_base::read(run.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the verdict to `limits.json` in the run's folder.
    pub(crate) fn write(&self, run: &Path) -> Result<(), FinetuneError> {
        let mut value = serde_json::to_value(self).expect("a verdict is numbers and names");
        let verdict = self.verdict();
        value["verdict"] = serde_json::to_value(verdict).expect("a verdict is a word");
        value["kept"] = (verdict == LimitVerdict::Kept).into();
        durable::write(&run.join(FILE), &format!("{value:#}\n"))
    }
}

/// Scores of one domain by the base and by the tuned model.
pub(super) struct ScoredDomain {
    pub domain: String,
    pub limit: Option<f64>,
    pub base: DomainScores,
    pub tuned: DomainScores,
}

/// Returns true if the domain improved significantly: its change is below 0 by the two-sided test for a gain, which is
/// stricter than the test of a limit if there are few groups.
fn has_improved(bootstrap: &PairedBootstrap) -> bool {
    let against = bootstrap.against_none();
    against.is_some_and(|against| !against.above && against.p_value < TWO_SIDED)
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
        self.table(formatter)?;
        if let Some(shares) = &self.judged.mixed {
            let beyond = shares.values().any(|share| *share > 1.0);
            let shares = mixture(shares);
            writeln!(
                formatter,
                "`best` is a mix, chosen on the dev split: the base's weights plus {shares} of their change in the run{}",
                match beyond {
                    true => " (above 100 %, further in the direction of training)",
                    false => "",
                }
            )?;
        }
        if self.judged.on_generated_text {
            writeln!(
                formatter,
                "the limits apply to text that the base generated (`{DOMAIN}`); no other text was measured, and it may lose \
                 more"
            )?;
        }
        formatter.write_str(&self.conclusion())
    }
}

impl LimitsVerdict {
    /// Writes a line for each domain: its change, the bound that decides, its limit, its groups and its verdict.
    fn table(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            formatter,
            "limits, on the test split of the held-out documents (bits per byte, {})",
            self.judged.checkpoint.display()
        )?;
        writeln!(
            formatter,
            "  {:20} {:>8}  {:>17}  {:>7}  {:>6}  {:>9}",
            "domain", "change", "deciding bound", "limit", "groups", "effective"
        )?;
        for domain in &self.domains {
            let (limit, word) = match &domain.limited {
                None => (String::new(), ""),
                Some(limited) => (limited.limit.to_string(), word(limited.verdict)),
            };
            let bound = domain.limited.map_or(String::new(), |limited| {
                let side = if domain.change > limited.limit {
                    "at least"
                } else {
                    "at most"
                };
                limited.bound.map_or("too few groups".into(), |bound| {
                    format!("{side} {bound:+.4}")
                })
            });
            writeln!(
                formatter,
                "  {:20} {:>+8.4}  {bound:>17}  {limit:>7}  {:>6}  {:>9.1}  {word}",
                domain.domain, domain.change, domain.groups, domain.effective_groups
            )?;
        }
        Ok(())
    }

    /// Returns the last sentence: whether all limits are kept, or which ones are broken or undecided.
    fn conclusion(&self) -> String {
        let broken = self.named(LimitVerdict::Broken);
        let undecided = self.named(LimitVerdict::Undecided);
        match (self.is_inside(), &broken[..], &undecided[..]) {
            (true, "", "") => {
                "all limits kept: each upper bound is within its limit (one-sided, 95 %)".into()
            }
            (true, "", undecided) => {
                let of_more = match self.judged.on_generated_text {
                    true => "Generate more text with a greater `retention.replay.tokens`",
                    false => "Hold out more, raise `evaluation.max_tokens`",
                };
                format!(
                    "undecided: within the limits on the dev split, but the test split does not show it for {undecided}. {of_more}, \
                     or train with a smaller limit"
                )
            }
            (true, broken, _) => format!(
                "within the limits on the dev split, but significantly above the limit on the test split: {broken}"
            ),
            (false, "", _) => {
                "no model was within the limits by its upper bounds on the dev split; the closest one is not significantly \
                 above a limit on the test split, which may be chance"
                    .into()
            }
            (false, broken, _) => format!(
                "no model was within the limits; the closest one is significantly above the limit on the test split: {broken}"
            ),
        }
    }

    /// Formats a list of the domains that have this verdict: with the excess for a broken limit, and with the number of
    /// groups that would decide an undecided one.
    fn named(&self, verdict: LimitVerdict) -> String {
        let said = |domain: &DomainVerdict| {
            let limited = domain
                .limited
                .filter(|limited| limited.verdict == verdict)?;
            let name = &domain.domain;
            if verdict != LimitVerdict::Undecided {
                return Some(format!("{name} by {:.4}", domain.change - limited.limit));
            }
            let mut facts = vec![format!(
                "{} of documents",
                counted(domain.groups as u64, "group")
            )];
            if domain.change <= limited.limit && domain.effective_groups < FEWEST_EFFECTIVE {
                let (found, needed) = (domain.effective_groups, FEWEST_EFFECTIVE);
                facts.push(format!(
                    "{found:.1} of them effective, and “kept” takes {needed}"
                ));
            }
            if let Some(groups) = limited.deciding_groups {
                facts.push(format!("about {groups} would decide"));
            }
            Some(format!("{name} ({})", facts.join(", ")))
        };
        let names: Vec<String> = self.domains.iter().filter_map(said).collect();
        names.join(", ")
    }
}

/// Formats the shares of the weight change of a mixed model: one number (`43.8 %`) if all layers have the same share,
/// else the smallest and the largest.
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

#[cfg(test)]
mod tests;
