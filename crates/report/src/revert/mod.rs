//! Where forgetting sits: one block at a time put back to the base's weights, and the best set of blocks to put back.

mod markdown;
mod page;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::paired_change;
use polymath_eval::{DomainScores, ScoresByDomain};

/// Of `revert.json`.
const SCHEMA: u32 = 1;
const RESAMPLES: usize = 1000;

/// What putting one block back does to the tuned model, on the development half.
#[derive(Debug, Clone, Serialize)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Of every domain against the tuned model.
    pub changes: BTreeMap<String, Figure>,
    /// Mean fall of the old domains.
    pub regained: f64,
    /// Rise of the niche.
    pub lost: f64,
}

impl Block {
    /// Of one block, from the scores of the tuned model and of that with the block put back.
    ///
    /// # Errors
    /// Scores of other documents.
    pub fn new(
        name: &str,
        niche: &str,
        (tuned, reverted): (&ScoresByDomain, &ScoresByDomain),
    ) -> Result<Self, ReportError> {
        let mut changes = BTreeMap::new();
        for (domain, before) in tuned {
            let found = paired_change(before, &reverted[domain], RESAMPLES, 0)?;
            changes.insert(
                domain.clone(),
                Figure {
                    value: found.value,
                    interval: found.interval,
                },
            );
        }
        let old: Vec<f64> = changes
            .iter()
            .filter(|(domain, _)| *domain != niche)
            .map(|(_, change)| change.value)
            .collect();
        Ok(Self {
            name: name.to_owned(),
            regained: -old.iter().sum::<f64>() / old.len().max(1) as f64,
            lost: changes.get(niche).map_or(0.0, |change| change.value),
            changes,
        })
    }

    /// Bits regained for each one lost on the niche; without end where nothing is lost.
    pub fn rate(&self) -> f64 {
        match (self.regained, self.lost) {
            (regained, _) if regained <= 0.0 => 0.0,
            (_, lost) if lost <= 0.0 => f64::INFINITY,
            (regained, lost) => regained / lost,
        }
    }
}

/// Blocks from the one whose return regains most for each bit of the niche; of equal rates the one that regains more.
pub fn by_rate(blocks: &mut [Block]) {
    blocks.sort_by(|a, b| {
        let rates = b.rate().total_cmp(&a.rate());
        rates.then(b.regained.total_cmp(&a.regained))
    });
}

/// The tuned model with the first so many blocks put back.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Blocks that are put back.
    pub put_back: usize,
    /// Against the base on the development half: fall of the niche, mean rise of the old domains.
    pub development: (f64, f64),
    /// The same on the test half.
    pub test: (f64, f64),
}

/// Gain on the niche and mean rise of the old domains of a model against the base.
pub fn place(niche: &str, (base, model): (&ScoresByDomain, &ScoresByDomain)) -> (f64, f64) {
    let bits = |scores: &DomainScores| scores.bits_per_byte();
    let (mut gain, mut rises) = (0.0, Vec::new());
    for (domain, before) in base {
        let change = bits(&model[domain]) - bits(before);
        if domain == niche {
            gain = -change;
        } else {
            rises.push(change);
        }
    }
    (gain, rises.iter().sum::<f64>() / rises.len().max(1) as f64)
}

/// The step that gains most with the mean rise inside the limit; where none is inside, the one that forgets least.
pub fn choose(places: &[(f64, f64)], limit: f64) -> usize {
    let inside = (0..places.len()).filter(|step| places[*step].1 <= limit);
    let best = inside.max_by(|a, b| places[*a].0.total_cmp(&places[*b].0));
    best.or_else(|| (0..places.len()).min_by(|a, b| places[*a].1.total_cmp(&places[*b].1)))
        .unwrap_or(0)
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Revert {
    /// Of the file.
    pub schema: u32,
    /// The base's checkpoint.
    pub base: String,
    /// The tuned checkpoint.
    pub tuned: String,
    /// The domain that was tuned for.
    pub niche: String,
    /// The highest mean rise of the old domains on the development half.
    pub limit: f64,
    /// Every block, the one that regains most for each bit of the niche first.
    pub blocks: Vec<Block>,
    /// No block put back, then the first, the first two, and so on.
    pub steps: Vec<Step>,
    /// The step that is offered.
    pub chosen: usize,
    /// Whether it keeps to the limit on the development half.
    pub within_limit: bool,
}

impl Revert {
    /// Of blocks in their order, and the steps along it.
    pub fn new(
        (base, tuned): (&Path, &Path),
        (niche, limit): (&str, f64),
        (blocks, steps): (Vec<Block>, Vec<Step>),
    ) -> Self {
        let places: Vec<(f64, f64)> = steps.iter().map(|step| step.development).collect();
        let chosen = choose(&places, limit);
        Self {
            schema: SCHEMA,
            base: base.display().to_string(),
            tuned: tuned.display().to_string(),
            niche: niche.to_owned(),
            limit,
            within_limit: places[chosen].1 <= limit,
            chosen,
            blocks,
            steps,
        }
    }

    /// As Markdown, which reads well in a terminal too.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `revert.html`, `revert.md` and `revert.json` into `folder`.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "revert",
            self,
            (page::render(self)?, self.markdown()),
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

    /// A block that costs the niche nothing comes first, one that regains nothing last.
    #[test]
    fn blocks_are_ranked_by_what_they_cost() {
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

    /// The most gain inside the limit; where none is inside, the least forgetting.
    #[test]
    fn steps_are_chosen_inside_the_limit() {
        let places = [(1.0, 0.5), (0.8, 0.1), (0.9, 0.1), (0.1, 0.0)];
        assert_eq!(choose(&places, 0.1), 2);
        assert_eq!(choose(&places, 0.05), 3);
        assert_eq!(choose(&places[..2], 0.05), 1);
    }
}
