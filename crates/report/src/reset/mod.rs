//! Reset of single layers to the base's weights: which layers cause the forgetting, and which to reset.

mod markdown;
mod page;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::paired_change;
use polymath_eval::{DomainScores, Endpoints, ScoresByDomain};

/// Schema version of `reset.json`.
const SCHEMA: u32 = 3;
const RESAMPLES: usize = 1000;

/// Effect of resetting one block of the tuned model, on the dev split.
#[derive(Debug, Clone, Serialize)]
pub struct Block {
    /// Name of the block.
    pub name: String,
    /// Change of every domain relative to the tuned model.
    pub changes: BTreeMap<String, Figure>,
    /// Mean decrease over the retained domains, in bits per byte.
    pub regained: f64,
    /// Increase of the niche, in bits per byte.
    pub lost: f64,
}

/// Scores of two models on the same documents.
#[derive(Debug, Clone, Copy)]
pub struct BeforeAfter<'a> {
    /// Scores before a change of the weights.
    pub before: &'a ScoresByDomain,
    /// Scores after the change of the weights.
    pub after: &'a ScoresByDomain,
}

impl Block {
    /// Compares the scores of the tuned model (before) with those of the same model with the block reset (after).
    ///
    /// # Errors
    /// Fails if the scores are of different documents.
    pub fn new(name: &str, niche: &str, scores: BeforeAfter) -> Result<Self, ReportError> {
        let mut changes = BTreeMap::new();
        for (domain, before) in scores.before {
            let found = paired_change(before, &scores.after[domain], RESAMPLES, 0)?;
            changes.insert(
                domain.clone(),
                Figure {
                    value: found.value,
                    interval: found.interval,
                },
            );
        }
        let retained: Vec<f64> = changes
            .iter()
            .filter(|(domain, _)| *domain != niche)
            .map(|(_, change)| change.value)
            .collect();
        Ok(Self {
            name: name.to_owned(),
            regained: -retained.iter().sum::<f64>() / retained.len().max(1) as f64,
            lost: changes.get(niche).map_or(0.0, |change| change.value),
            changes,
        })
    }

    /// Returns the recovered bits for each bit lost on the niche: 0 without recovery, infinite if the niche loses
    /// nothing.
    pub fn rate(&self) -> f64 {
        match (self.regained, self.lost) {
            (regained, _) if regained <= 0.0 => 0.0,
            (_, lost) if lost <= 0.0 => f64::INFINITY,
            (regained, lost) => regained / lost,
        }
    }
}

/// Sorts blocks by descending [`Block::rate`], and those with equal rates by the recovered bits.
pub fn by_rate(blocks: &mut [Block]) {
    blocks.sort_by(|a, b| {
        let rates = b.rate().total_cmp(&a.rate());
        rates.then(b.regained.total_cmp(&a.regained))
    });
}

/// Tuned model with its first blocks reset.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Number of blocks that are reset, the first ones in the order of [`by_rate`].
    pub reset: usize,
    /// Gain and forgetting on the dev split.
    pub dev: GainAndForgetting,
    /// Gain and forgetting on the test split.
    pub test: GainAndForgetting,
}

/// Gain and forgetting of a model relative to the base, in bits per byte.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GainAndForgetting {
    /// Decrease of the niche.
    pub gain: f64,
    /// Mean increase of the retained domains.
    pub forgetting: f64,
    /// Increase of each retained domain.
    pub increases: BTreeMap<String, f64>,
}

impl GainAndForgetting {
    /// Compares the scores of the base (before) with those of a model (after).
    pub fn new(niche: &str, scores: BeforeAfter) -> Self {
        let bits = |scores: &DomainScores| scores.bits_per_byte();
        let changes = scores.before.iter();
        let changes = changes.map(|(domain, before)| {
            let change = bits(&scores.after[domain]) - bits(before);
            (domain.clone(), change)
        });
        let mut increases: BTreeMap<String, f64> = changes.collect();
        // 0 − x, since −x would turn 0 into −0.
        let gain = 0.0 - increases.remove(niche).unwrap_or(0.0);
        Self {
            gain,
            forgetting: increases.values().sum::<f64>() / increases.len().max(1) as f64,
            increases,
        }
    }
}

/// Returns the index of the step with the largest gain whose forgetting is within the limit; if there is none, of the
/// step that forgets least.
fn choose(steps: &[Step], limit: f64) -> usize {
    let by = |of: fn(&Step) -> f64| {
        move |a: &usize, b: &usize| of(&steps[*a]).total_cmp(&of(&steps[*b]))
    };
    let inside = (0..steps.len()).filter(|step| steps[*step].dev.forgetting <= limit);
    let best = inside.max_by(by(|step| step.dev.gain));
    best.or_else(|| (0..steps.len()).min_by(by(|step| step.dev.forgetting)))
        .unwrap_or(0)
}

/// Result of a reset.
#[derive(Debug, Clone, Serialize)]
pub struct Reset {
    /// Schema version of the file.
    pub schema: u32,
    /// Path of the base checkpoint.
    pub base: String,
    /// Path of the tuned checkpoint.
    pub tuned: String,
    /// Niche of the tuned model.
    pub niche: String,
    /// Maximum mean increase of the retained domains on the dev split, in bits per byte.
    pub limit: f64,
    /// Blocks in the order of [`by_rate`].
    pub blocks: Vec<Block>,
    /// Cumulative steps: no block reset, then the first block, the first two, and so on.
    pub steps: Vec<Step>,
    /// Index of the chosen step.
    pub chosen: usize,
    /// True if the chosen step is within the limit on the dev split.
    pub within_limit: bool,
}

/// Models of a reset, and the rule that chooses a step.
#[derive(Debug, Clone, Copy)]
pub struct ResetSetting<'a> {
    /// Folders of the models.
    pub models: Endpoints<'a>,
    /// Niche of the tuned model.
    pub niche: &'a str,
    /// Maximum mean increase of the retained domains on the dev split, in bits per byte.
    pub limit: f64,
}

impl Reset {
    /// Creates the result from ordered blocks and the cumulative steps along them, and chooses a step.
    pub fn new(setting: ResetSetting, blocks: Vec<Block>, steps: Vec<Step>) -> Self {
        let ResetSetting {
            models,
            niche,
            limit,
        } = setting;
        let chosen = choose(&steps, limit);
        Self {
            schema: SCHEMA,
            base: models.base.display().to_string(),
            tuned: models.tuned.display().to_string(),
            niche: niche.to_owned(),
            limit,
            within_limit: steps[chosen].dev.forgetting <= limit,
            chosen,
            blocks,
            steps,
        }
    }

    /// Returns true if the chosen model is the base: every block is reset.
    pub fn is_base(&self) -> bool {
        self.steps[self.chosen].reset == self.blocks.len()
    }

    /// Renders the result for a terminal: a sentence, and tables of single blocks and cumulative resets.
    pub fn table(&self) -> String {
        markdown::table(self)
    }

    /// Renders the result in Markdown.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `reset.html`, `reset.md` and `reset.json` into `folder`.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "reset",
            self,
            crate::page::ReadableForms {
                html: page::render(self)?,
                markdown: self.markdown(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, regained: f64, lost: f64) -> Block {
        Block {
            name: name.into(),
            changes: BTreeMap::new(),
            regained,
            lost,
        }
    }

    /// Returns a step with the given gain and mean forgetting of two retained domains, one of which loses nothing.
    fn step(reset: usize, dev: (f64, f64), test: (f64, f64)) -> Step {
        let of = |(gain, forgetting)| GainAndForgetting {
            gain,
            forgetting,
            increases: [("art", 0.0), ("code", 2.0 * forgetting)]
                .map(|(domain, change)| (domain.to_owned(), change))
                .into(),
        };
        Step {
            reset,
            dev: of(dev),
            test: of(test),
        }
    }

    /// Checks that a block without cost on the niche is ranked first, and one without recovery last.
    #[test]
    fn blocks_are_ranked_by_recovery_per_cost() {
        let mut blocks = [
            block("useless", -0.1, 0.1),
            block("fair", 0.2, 0.1),
            block("free", 0.05, -0.01),
            block("dear", 0.2, 0.4),
        ];
        by_rate(&mut blocks);
        let order: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
        assert_eq!(order, ["free", "fair", "dear", "useless"]);
    }

    /// Checks that the sentence says which model to take, and warns of a choice that is beyond its limit on the test
    /// split, as the tables do.
    #[test]
    fn a_choice_beyond_its_limit_is_said() {
        let of = |test: f64, limit: f64| {
            let steps = vec![
                step(0, (1.0, 0.5), (1.0, 0.5)),
                step(1, (0.8, 0.1), (0.8, test)),
            ];
            let blocks = vec![block("layer 000", 0.4, 0.2), block("layer 001", 0.1, 0.4)];
            let setting = ResetSetting {
                models: Endpoints {
                    base: "base".as_ref(),
                    tuned: "tuned".as_ref(),
                },
                niche: "law",
                limit,
            };
            Reset::new(setting, blocks, steps)
        };
        let said = |reset: &Reset| {
            [
                reset.table(),
                reset.markdown(),
                page::render(reset).unwrap(),
            ]
        };
        for text in said(&of(0.1, 0.1)) {
            assert!(
                text.contains("Take the model with layer 000 reset: it gains +0.800"),
                "{text}"
            );
            assert!(
                text.contains("test split (code most, by +0.200, which alone is beyond the limit)"),
                "{text}"
            );
            assert!(!text.contains("beyond it"), "{text}");
        }
        for text in said(&of(0.2, 0.1)) {
            assert!(
                text.contains("but is beyond it on the test split"),
                "{text}"
            );
            assert!(text.contains("beyond the limit on test"), "{text}");
        }
        for text in said(&of(0.1, 0.01)) {
            assert!(
                text.contains("No step keeps the mean forgetting within 0.01"),
                "{text}"
            );
        }
        // With every block reset, the model is the base; with none, it is compared with nothing.
        let mut base = of(0.0, 0.2);
        assert!(!base.is_base());
        base.steps.push(step(2, (0.0, 0.0), (0.0, 0.0)));
        base.chosen = 2;
        assert!(base.is_base());
        assert!(
            base.table()
                .contains("Take the base, since every block is reset: it gains")
        );
        assert!(base.table().contains("where the tuned model gains +1.000"));
        base.chosen = 0;
        assert!(!base.table().contains("where the tuned model"));
        assert!(
            of(0.1, 0.1)
                .table()
                .contains("  blocks reset  gain, dev  forgetting, dev")
        );
    }

    /// Checks that the step with the largest gain within the limit is chosen, or else the step with the least
    /// forgetting.
    #[test]
    fn steps_are_chosen_within_the_limit() {
        let places = [(1.0, 0.5), (0.8, 0.1), (0.9, 0.1), (0.1, 0.0)];
        let steps = places.map(|dev| step(0, dev, (0.0, 0.0)));
        assert_eq!(choose(&steps, 0.1), 2);
        assert_eq!(choose(&steps, 0.05), 3);
        assert_eq!(choose(&steps[..2], 0.05), 1);
    }
}
