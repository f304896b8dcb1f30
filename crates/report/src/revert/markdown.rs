//! Partial reverts as Markdown.

use super::{Block, Revert};
use crate::untrusted::inline;
use crate::wording::signed;

/// What each block holds, and the way from the tuned model back.
pub fn render(revert: &Revert) -> String {
    let mut text = format!(
        "# Where the forgetting of {} sits\n\nBits per byte on the development half, one block at a time put back to the \
         base's weights.\n\n| put back | old domains regain | {} loses | regained a bit lost |\n|---|--:|--:|--:|\n",
        inline(&revert.tuned),
        inline(&revert.niche)
    );
    for block in &revert.blocks {
        text += &format!(
            "| {} | {} | {} | {} |\n",
            inline(&block.name),
            signed(block.regained),
            signed(block.lost),
            rate(block)
        );
    }
    text += &format!(
        "\nPut back one after the other, in this order; against the base:\n\n| blocks put back | gain on {0}, development | \
         mean forgetting, development | gain on {0}, test | mean forgetting, test | |\n|--:|--:|--:|--:|--:|---|\n",
        inline(&revert.niche)
    );
    for (at, step) in revert.steps.iter().enumerate() {
        let mark = match (at == revert.chosen, revert.within_limit) {
            (true, true) => "chosen",
            (true, false) => "least bad",
            (false, _) => "",
        };
        text += &format!(
            "| {} | {} | {} | {} | {} | {mark} |\n",
            step.put_back,
            signed(step.development.0),
            signed(step.development.1),
            signed(step.test.0),
            signed(step.test.1)
        );
    }
    text + "\n" + &inline(&sentence(revert)) + "\n"
}

/// A block's rate, or a word where a number says nothing.
pub fn rate(block: &Block) -> String {
    match block.rate() {
        0.0 => "nothing regained".into(),
        rate if rate.is_infinite() => "costs nothing".into(),
        rate => format!("{rate:.2}"),
    }
}

/// What is offered.
pub fn sentence(revert: &Revert) -> String {
    let step = &revert.steps[revert.chosen];
    let names: Vec<&str> = revert.blocks[..step.put_back]
        .iter()
        .map(|block| block.name.as_str())
        .collect();
    let what = match names.len() {
        0 => "No block put back".to_owned(),
        _ => format!("Put back: {}", names.join(", ")),
    };
    let limit = if revert.within_limit {
        format!("the most gain with a mean rise of at most {}", revert.limit)
    } else {
        format!(
            "no step keeps to a mean rise of {}: the least",
            revert.limit
        )
    };
    format!(
        "{what}: {limit} on the development half. On the test half it gains {} on {} and forgets {} on average, where the \
         tuned model gains {} and forgets {}.",
        signed(step.test.0),
        revert.niche,
        signed(step.test.1),
        signed(revert.steps[0].test.0),
        signed(revert.steps[0].test.1)
    )
}
