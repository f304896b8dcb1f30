//! Reset of single layers of a tuned model to the base's weights, without training.

use polymath_data::HeldoutSplit;
use polymath_report::reset::{
    BeforeAfter, Block, GainAndForgetting, Reset, ResetSetting, Step, by_rate,
};

use crate::Setup;
use crate::StudyError;
use crate::interpolate::BetweenOptions;
use crate::interpolate::Rule;
use crate::interpolate::between::Between;
use polymath_eval::{Endpoints, Interpolation, Shares};

/// Files that mark a folder as the result of a reset: the current name and that of earlier versions.
const OWN: [&str; 2] = ["reset.json", "revert.json"];

/// Resets those layers of a tuned checkpoint that remove the most forgetting for each bit lost on the niche. Writes
/// the chosen model and the scores.
///
/// # Errors
/// Fails if the checkpoints, the data or the output folder do not fit, or if scoring or writing fails.
pub fn reset(options: &BetweenOptions, setup: &Setup) -> Result<Reset, StudyError> {
    let between = Between::open(options, &OWN)?;
    let models = between.models(setup)?;
    let folders = Endpoints {
        base: &between.base,
        tuned: &between.tuned,
    };
    let say = &mut |text: &str| setup.progress.say(text);
    let (found, shares) = search(&models, &between.rule, folders, say)?;
    let how = format!("{} blocks reset", found.steps[found.chosen].reset);
    between.write_model(&models, &shares, &how)?;
    found.write(between.output.path())?;
    drop(models);
    between.output.finish()?;
    Ok(found)
}

/// Scores the model with each block reset alone. Then resets the blocks cumulatively, ordered by the forgetting that
/// each removes per bit lost on the niche. `say` is called with a line for each block and step. Returns the result,
/// and the shares of the tuned weights at the chosen step.
///
/// # Errors
/// Fails if scoring fails.
fn search(
    models: &Interpolation,
    rule: &Rule,
    folders: Endpoints,
    say: &mut dyn FnMut(&str),
) -> Result<(Reset, Shares), StudyError> {
    let niche = rule.niche.as_str();
    let before = |split| models.scores(&models.alike(0.0), split);
    let (before_dev, before_test) = (before(HeldoutSplit::Dev)?, before(HeldoutSplit::Test)?);
    let whole = models.alike(1.0);
    let after = models.scores(&whole, HeldoutSplit::Dev)?;
    let mut blocks = Vec::new();
    for name in whole.keys() {
        let mut shares = whole.clone();
        shares.insert(name.clone(), 0.0);
        let scores = models.scores(&shares, HeldoutSplit::Dev)?;
        let both = BeforeAfter {
            before: &after,
            after: &scores,
        };
        let block = Block::new(name, niche, both)?;
        say(&format!(
            "{name} reset: retained domains recover {:+.4}, cost on {niche} {:+.4}",
            block.regained, block.lost
        ));
        blocks.push(block);
    }
    by_rate(&mut blocks);
    let mut shares = whole;
    let mut steps = Vec::new();
    let mut all_shares = Vec::new();
    for reset in 0..=blocks.len() {
        if let Some(last) = reset.checked_sub(1) {
            shares.insert(blocks[last].name.clone(), 0.0);
        }
        let dev = models.scores(&shares, HeldoutSplit::Dev)?;
        let test = models.scores(&shares, HeldoutSplit::Test)?;
        let against = |before, after| GainAndForgetting::new(niche, BeforeAfter { before, after });
        let step = Step {
            reset,
            dev: against(&before_dev, &dev),
            test: against(&before_test, &test),
        };
        say(&format!(
            "{reset} blocks reset: gain {:+.4}, mean forgetting {:+.4}",
            step.dev.gain, step.dev.forgetting
        ));
        steps.push(step);
        all_shares.push(shares.clone());
    }
    let setting = ResetSetting {
        models: folders,
        niche,
        limit: rule.limit,
    };
    let found = Reset::new(setting, blocks, steps);
    let chosen = all_shares.swap_remove(found.chosen);
    Ok((found, chosen))
}
