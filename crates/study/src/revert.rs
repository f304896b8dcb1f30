//! Blocks of a tuned model reset to the base's weights, without training.

use std::path::Path;

use polymath_data::HeldoutSplit;
use polymath_report::revert::{Block, Revert, Step, by_rate, place};

use crate::Setup;
use crate::StudyError;
use crate::interpolate::BetweenOptions;
use crate::interpolate::Rule;
use crate::interpolate::between::Between;
use polymath_eval::{Interpolation, Shares};

/// A folder with this file is a reset's own.
const FOUND: &str = "revert.json";

/// Resets blocks of a tuned checkpoint to the base's weights, scores what comes of it, and writes the chosen model and the
/// figures.
///
/// # Errors
/// Ends, data or an output folder that don't fit; what scoring and the disk say.
pub fn revert(options: &BetweenOptions, setup: &Setup) -> Result<Revert, StudyError> {
    let between = Between::open(options, FOUND)?;
    let models = between.models(setup)?;
    let folders = (&*between.base, &*between.tuned);
    let say = &mut |text: &str| setup.progress.say(text);
    let (found, shares) = search(&models, &between.rule, folders, say)?;
    let how = format!("{} blocks put back", found.steps[found.chosen].put_back);
    between.write_model((&models, &shares), &how)?;
    found.write(between.output.path())?;
    drop(models);
    between.output.finish()?;
    Ok(found)
}

/// Puts each block back on its own, then all of them one after the other, the one that regains most for each bit of
/// the niche first; `say` is told each block and each step. With it, the shares of the step that is chosen.
///
/// # Errors
/// What scoring says.
fn search(
    models: &Interpolation,
    rule: &Rule,
    (base, tuned): (&Path, &Path),
    say: &mut dyn FnMut(&str),
) -> Result<(Revert, Shares), StudyError> {
    let niche = rule.niche.as_str();
    let before = |half| models.scores(&models.alike(0.0), half);
    let (before_development, before_test) =
        (before(HeldoutSplit::Dev)?, before(HeldoutSplit::Test)?);
    let whole = models.alike(1.0);
    let after = models.scores(&whole, HeldoutSplit::Dev)?;
    let mut blocks = Vec::new();
    for name in whole.keys() {
        let mut shares = whole.clone();
        shares.insert(name.clone(), 0.0);
        let scores = models.scores(&shares, HeldoutSplit::Dev)?;
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
        let development = models.scores(&shares, HeldoutSplit::Dev)?;
        let test = models.scores(&shares, HeldoutSplit::Test)?;
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
