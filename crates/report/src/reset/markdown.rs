//! Markdown of a reset.

use super::{Block, Reset};
use crate::untrusted::inline;
use crate::wording::signed;

/// Renders a table of single blocks and a table of cumulative resets.
pub fn render(reset: &Reset) -> String {
    let mut text = format!(
        "# Layers that cause the forgetting of {}\n\nBits per byte on the dev split, with one block at a time reset to the base's \
        weights.\n\n| reset block | retained domains recover | cost on {} | recovered per bit of cost |\n|---|--:|--:|--:|\n",
        inline(&reset.tuned),
        inline(&reset.niche)
    );
    for block in &reset.blocks {
        text += &format!(
            "| {} | {} | {} | {} |\n",
            inline(&block.name),
            signed(block.regained),
            signed(block.lost),
            rate(block)
        );
    }
    text += &format!(
        "\nBlocks reset one after the other, in this order, against the base:\n\n| blocks reset | gain on {0}, dev | mean \
        forgetting, dev | gain on {0}, test | mean forgetting, test | |\n|--:|--:|--:|--:|--:|---|\n",
        inline(&reset.niche)
    );
    for (at, step) in reset.steps.iter().enumerate() {
        let mark = match (at == reset.chosen, reset.within_limit) {
            (true, true) => "chosen",
            (true, false) => "least bad",
            (false, _) => "",
        };
        text += &format!(
            "| {} | {} | {} | {} | {} | {mark} |\n",
            step.reset,
            signed(step.dev.0),
            signed(step.dev.1),
            signed(step.test.0),
            signed(step.test.1)
        );
    }
    text + "\n" + &inline(&sentence(reset)) + "\n"
}

/// Formats the rate of a block, or words if it is 0 or infinite.
pub fn rate(block: &Block) -> String {
    match block.rate() {
        0.0 => "no recovery".into(),
        rate if rate.is_infinite() => "no cost".into(),
        rate => format!("{rate:.2}"),
    }
}

/// Returns a sentence about the chosen step.
pub fn sentence(reset: &Reset) -> String {
    let step = &reset.steps[reset.chosen];
    let names: Vec<&str> = reset.blocks[..step.reset]
        .iter()
        .map(|block| block.name.as_str())
        .collect();
    let what = match names.len() {
        0 => "No block reset".to_owned(),
        _ => format!("Reset: {}", names.join(", ")),
    };
    let limit = if reset.within_limit {
        format!(
            "the most gain with a mean forgetting of at most {}",
            reset.limit
        )
    } else {
        format!(
            "no step keeps the mean forgetting within {}; this one has the least",
            reset.limit
        )
    };
    format!(
        "{what}: {limit} on the dev split. On the test split it gains {} on {} and forgets {} on average; the tuned model \
        gains {} and forgets {}.",
        signed(step.test.0),
        reset.niche,
        signed(step.test.1),
        signed(reset.steps[0].test.0),
        signed(reset.steps[0].test.1)
    )
}
