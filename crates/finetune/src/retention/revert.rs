//! Blocks of a tuned model put back to the base's weights, without training.

use std::path::Path;

use polymath_data::HeldoutSplit;
use polymath_eval::revert::{Block, Revert, Step, by_rate, place};

use super::{Interpolation, Rule, Shares};
use crate::FinetuneError;

impl Interpolation<'_> {
    /// Puts each block back on its own, then all of them one after the other, the one that regains most for each bit of
    /// the niche first; `say` is told each block and each step. With it, the shares of the step that is chosen.
    ///
    /// # Errors
    /// What scoring says.
    pub fn revert(
        &self,
        rule: &Rule,
        (base, tuned): (&Path, &Path),
        say: &mut dyn FnMut(&str),
    ) -> Result<(Revert, Shares), FinetuneError> {
        let niche = rule.niche.as_str();
        let before = |half| self.scores(&self.alike(0.0), half);
        let (before_development, before_test) =
            (before(HeldoutSplit::Dev)?, before(HeldoutSplit::Test)?);
        let whole = self.alike(1.0);
        let after = self.scores(&whole, HeldoutSplit::Dev)?;
        let mut blocks = Vec::new();
        for name in whole.keys() {
            let mut shares = whole.clone();
            shares.insert(name.clone(), 0.0);
            let scores = self.scores(&shares, HeldoutSplit::Dev)?;
            let block = Block::new(name, niche, (&after, &scores))?;
            say(&format!(
                "{name} put back: old domains regain {:+.4}, {niche} loses {:+.4}",
                block.regained, block.lost
            ));
            blocks.push(block);
        }
        by_rate(&mut blocks);
        let mut shares = whole;
        let mut steps = Vec::new();
        let mut all_shares = Vec::new();
        for put_back in 0..=blocks.len() {
            if let Some(last) = put_back.checked_sub(1) {
                shares.insert(blocks[last].name.clone(), 0.0);
            }
            let development = self.scores(&shares, HeldoutSplit::Dev)?;
            let test = self.scores(&shares, HeldoutSplit::Test)?;
            let step = Step {
                put_back,
                development: place(niche, (&before_development, &development)),
                test: place(niche, (&before_test, &test)),
            };
            say(&format!(
                "{put_back} blocks put back: gain {:+.4}, mean forgetting {:+.4}",
                step.development.0, step.development.1
            ));
            steps.push(step);
            all_shares.push(shares.clone());
        }
        let found = Revert::new((base, tuned), (niche, rule.limit), (blocks, steps));
        let chosen = all_shares.swap_remove(found.chosen);
        Ok((found, chosen))
    }
}
