//! First sentence of the report: the run to use, or the reason why there is none.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::wording::list;
use super::{ForgettingReport, Ranking, RunReport};
use crate::wording::{counted, signed};
use polymath_eval::statistics::{LEVEL, Verdict};

/// Answer to the question which run to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Sentences that name the run to use and the reason, or the reason why there is none.
    pub sentence: String,
    /// Names of the recommended runs, at most one for each niche.
    pub recommended: Vec<String>,
}

impl Answer {
    /// Answers for each niche of the report: of the runs that gained on it and kept every retained domain that was
    /// judged, the one with the most gain. Without a niche there is no gain: it says what the runs kept.
    pub fn of(report: &ForgettingReport) -> Self {
        let mut niches: BTreeMap<&str, Vec<&RunReport>> = BTreeMap::new();
        for run in &report.runs {
            if let Some(niche) = run.niche() {
                niches.entry(&niche.name).or_default().push(run);
            }
        }
        let several = niches.len() > 1;
        let (mut sentences, mut recommended) = (Vec::new(), Vec::new());
        for (niche, runs) in niches {
            let found = Compared {
                runs,
                niche,
                tolerance: report.settings.tolerance,
                ranking: report.ranking.as_ref(),
            };
            let run = found.recommended();
            recommended.extend(run.map(|run| run.name.clone()));
            let sentence = found.sentence(run);
            sentences.push(match several {
                true => format!("On {niche}: {sentence}"),
                false => sentence,
            });
        }
        if sentences.is_empty() && !report.runs.is_empty() {
            sentences.push(without_niche(report));
        }
        Self {
            sentence: sentences.join(" "),
            recommended,
        }
    }
}

/// Returns the sentence for runs of which no niche is known.
fn without_niche(report: &ForgettingReport) -> String {
    let kept: Vec<String> = report
        .runs
        .iter()
        .filter(|run| run.keeps_all())
        .map(|run| run.name.clone())
        .collect();
    let within = format!("within {} bits per byte", report.settings.tolerance);
    let kept = match (&kept[..], report.runs.len()) {
        ([], 1) => format!(
            "{} is not shown to keep all it was judged on {within}.",
            report.runs[0].name
        ),
        ([], _) => format!("No run is shown to keep all it was judged on {within}."),
        ([one], _) => format!("{one} keeps all it was judged on {within}."),
        (several, _) => format!("{} keep all they were judged on {within}.", list(several)),
    };
    format!(
        "{kept} No scored domain is known to be the niche of a run, so no gain is known: name the niche to get a recommendation."
    )
}

/// Runs with the same niche, of which the answer chooses one.
struct Compared<'a> {
    runs: Vec<&'a RunReport>,
    niche: &'a str,
    tolerance: f64,
    /// Comparison of the runs with each other; `None` for one run.
    ranking: Option<&'a Ranking>,
}

impl<'a> Compared<'a> {
    fn recommended(&self) -> Option<&'a RunReport> {
        let runs = self.runs.iter().copied();
        let inside = runs.filter(|run| gained(run) && run.keeps_all());
        inside.max_by(|a, b| gain(a).total_cmp(&gain(b)))
    }

    fn sentence(&self, recommended: Option<&RunReport>) -> String {
        let within = format!("within {} bits per byte", self.tolerance);
        if let Some(run) = recommended {
            let alike = self.alike(run);
            let doubt = match alike.is_empty() {
                true => String::new(),
                false => format!(
                    " No test tells its gain apart from that of {}, which also {} all.",
                    list(&alike),
                    if alike.len() == 1 { "keeps" } else { "keep" }
                ),
            };
            return format!(
                "{} keeps {} {within} and {}: take {}.{doubt}",
                run.name,
                all_of(run.judged().count()),
                self.gain_of(run),
                run.name
            );
        }
        if self.runs.iter().all(|run| run.judged().count() == 0) {
            return self.without_retained();
        }
        let gaining: Vec<&RunReport> = self
            .runs
            .iter()
            .copied()
            .filter(|run| gained(run))
            .collect();
        let Some(nearest) = gaining.iter().copied().min_by(|a, b| nearer(a, b)) else {
            return self.without_gain();
        };
        let names = |verdict| -> Vec<String> {
            let of = nearest.judged().filter(|domain| domain.verdict == verdict);
            of.map(|domain| domain.name.clone()).collect()
        };
        let (forgotten, undecided) = (names(Verdict::Forgotten), names(Verdict::Undecided));
        let all = all_of(nearest.judged().count());
        let opening = match &self.runs[..] {
            [run] => format!("{} is not shown to keep {all} {within}", run.name),
            _ => format!(
                "No run is shown to keep {all} {within}; {} is nearest",
                nearest.name
            ),
        };
        let mut text = format!("{opening}: it {}", self.gain_of(nearest));
        if !forgotten.is_empty() {
            text += &format!(", forgot {}", list(&forgotten));
        }
        if !undecided.is_empty() {
            text += &format!(", and {} undecided", is_or_are(&undecided));
        }
        text += ".";
        if !forgotten.is_empty() {
            text += &match nearest.provenance.has_limits() {
                true => " Its limits allow more than this report: lower them.".to_owned(),
                false => format!(
                    " Fine-tune with forgetting limits of {} to keep them.",
                    self.tolerance
                ),
            };
        } else if !undecided.is_empty() {
            text += " More held-out documents would decide.";
        }
        text
    }

    /// Returns the sentence for runs of which no retained domain was judged: the gain, and that forgetting is unknown.
    fn without_retained(&self) -> String {
        let gaining = self.runs.iter().copied().filter(|run| gained(run));
        let best = gaining.max_by(|a, b| gain(a).total_cmp(&gain(b)));
        let opening = match best {
            Some(run) => format!("{} {}.", run.name, self.gain_of(run)),
            None => self.without_gain(),
        };
        format!(
            "{opening} No retained domain was judged, so this report cannot say what was forgotten: score domains that the base \
             knows."
        )
    }

    /// Returns the sentence for the case that none of the runs gained significantly.
    fn without_gain(&self) -> String {
        let (who, does) = match &self.runs[..] {
            [run] => (run.name.as_str(), "shows no"),
            _ => ("None of the runs", "shows a"),
        };
        let best = self.runs.iter().max_by(|a, b| gain(a).total_cmp(&gain(b)));
        match best.and_then(|run| Some((run, run.niche()?))) {
            Some((run, niche))
                if gain(run) > self.tolerance && niche.verdict == Verdict::Undecided =>
            {
                let most = match self.runs.len() {
                    1 => "gains",
                    _ => "gains most there,",
                };
                format!(
                    "Too little text of {} is held out to choose: {} {most} {} bits per byte, which {} of documents cannot prove. \
                     Hold out more.",
                    self.niche,
                    run.name,
                    signed(gain(run)),
                    counted(niche.groups, "group"),
                )
            }
            Some((_, niche)) if niche.verdict == Verdict::Withheld => format!(
                "The figures on {} are withheld, since its held-out documents are in training text: there is no run to take.",
                self.niche
            ),
            _ => format!("{who} {does} gain on {}: keep the base.", self.niche),
        }
    }

    /// Returns true if the run gains significantly more than each other run.
    fn is_most(&self, run: &RunReport) -> bool {
        self.ranking
            .is_some_and(|ranking| ranking.most_gain.as_ref() == Some(&run.name))
    }

    /// Returns the names of the other runs that gained and kept everything, with a gain that does not significantly
    /// differ from that of `run`.
    fn alike(&self, run: &RunReport) -> Vec<String> {
        let pairs = self.ranking.map_or(&[][..], |ranking| &ranking.pairs);
        let differs = |other: &RunReport| {
            pairs.iter().any(|pair| {
                let names = [&pair.before, &pair.after];
                names.contains(&&run.name)
                    && names.contains(&&other.name)
                    && pair.gain_p_value <= LEVEL
            })
        };
        let others = self.runs.iter().filter(|other| other.name != run.name);
        others
            .filter(|other| gained(other) && other.keeps_all() && !differs(other))
            .map(|other| other.name.clone())
            .collect()
    }

    /// Describes a run's gain: in bits per byte and, if there are several runs, as a share of the largest gain.
    fn gain_of(&self, run: &RunReport) -> String {
        let largest = self.runs.iter().map(|run| gain(run)).fold(0.0, f64::max);
        let own = gain(run);
        match self.runs.len() {
            1 => format!("gains {} bits per byte on {}", signed(own), self.niche),
            _ if own == largest && self.is_most(run) => {
                format!("has the largest gain on {} ({})", self.niche, signed(own))
            }
            _ if own == largest => format!("gains {} bits per byte on {}", signed(own), self.niche),
            _ => format!(
                "has {:.0} % of the largest gain on {} ({} of {})",
                100.0 * own / largest,
                self.niche,
                signed(own),
                signed(largest)
            ),
        }
    }
}

fn gained(run: &RunReport) -> bool {
    run.niche()
        .is_some_and(|niche| niche.verdict == Verdict::Gained)
}

fn gain(run: &RunReport) -> f64 {
    run.summary.niche_gain.map_or(0.0, |gain| gain.value)
}

/// Orders runs by how close they are to keeping everything: by the number of forgotten domains, then of undecided ones,
/// then by the worst change.
fn nearer(a: &RunReport, b: &RunReport) -> Ordering {
    let of = |run: &RunReport, verdict| {
        run.judged()
            .filter(|domain| domain.verdict == verdict)
            .count()
    };
    let worst = |run: &RunReport| {
        run.summary
            .worst_forgetting
            .as_ref()
            .map_or(0.0, |worst| worst.change)
    };
    of(a, Verdict::Forgotten)
        .cmp(&of(b, Verdict::Forgotten))
        .then_with(|| of(a, Verdict::Undecided).cmp(&of(b, Verdict::Undecided)))
        .then_with(|| worst(a).total_cmp(&worst(b)))
}

fn all_of(count: usize) -> String {
    match count {
        1 => "the retained domain".into(),
        2 => "both retained domains".into(),
        count => format!("all {count} retained domains"),
    }
}

fn is_or_are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", list(names))
}
