//! Markdown and terminal form of a reset, and its sentence.

use super::{Block, Reset, Step};
use crate::aligned;
use crate::untrusted::inline;
use crate::wording::{signed, worst_increase};

/// Renders the result of a reset in Markdown: a table of single blocks and a table of cumulative resets.
pub fn render(reset: &Reset) -> String {
    let mut text = format!(
        "# Layers that cause the forgetting of {}\n\n{}\n\nBits per byte on the dev split, with one block at a time reset to the base's \
        weights.\n\n| reset block | retained domains recover | cost on {} | recovered per bit of cost |\n|---|--:|--:|--:|\n",
        inline(&reset.tuned),
        inline(&sentence(reset)),
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
        let mark = mark(reset, at);
        text += &format!(
            "| {} | {} | {} | {} | {} | {mark} |\n",
            step.reset,
            signed(step.dev.gain),
            signed(step.dev.forgetting),
            signed(step.test.gain),
            signed(step.test.forgetting)
        );
    }
    text
}

/// Formats the rate of a block, or words if it is 0 or infinite.
pub fn rate(block: &Block) -> String {
    match block.rate() {
        0.0 => "no recovery".into(),
        rate if rate.is_infinite() => "no cost".into(),
        rate => format!("{rate:.2}"),
    }
}

/// Returns the words that mark the chosen step in the tables, with a warning if it is beyond the limit on the test
/// split; empty for other steps.
pub fn mark(reset: &Reset, at: usize) -> &'static str {
    let breaks = reset.steps[at].test.forgetting > reset.limit;
    match (at == reset.chosen, reset.within_limit, breaks) {
        (false, _, _) => "",
        (true, true, false) => "take this",
        (true, true, true) => "chosen, beyond the limit on test",
        (true, false, _) => "least bad",
    }
}

/// Formats gain and forgetting of a step, on the dev split and on the test split.
pub fn figures(step: &Step) -> [String; 4] {
    let (dev, test) = (&step.dev, &step.test);
    [dev.gain, dev.forgetting, test.gain, test.forgetting].map(signed)
}

/// Renders the result of a reset for a terminal: a sentence and the tables.
pub fn table(reset: &Reset) -> String {
    let of = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
    let cost = format!("cost on {}", reset.niche);
    let mut blocks: Vec<Vec<String>> = vec![of(&[
        "reset block",
        "retained recover",
        &cost,
        "per bit of cost",
    ])];
    for block in &reset.blocks {
        let (regained, lost) = (signed(block.regained), signed(block.lost));
        blocks.push(of(&[&block.name, &regained, &lost, &rate(block)]));
    }
    let head = [
        "blocks reset",
        "gain, dev",
        "forgetting, dev",
        "gain, test",
        "forgetting, test",
        "",
    ];
    let mut steps: Vec<Vec<String>> = vec![of(&head)];
    for (at, step) in reset.steps.iter().enumerate() {
        let figures = figures(step);
        let [gain, forgetting, test_gain, test_forgetting] = &figures;
        let reset_blocks = step.reset.to_string();
        let row = [
            &reset_blocks,
            gain,
            forgetting,
            test_gain,
            test_forgetting,
            mark(reset, at),
        ];
        steps.push(of(&row));
    }
    format!(
        "{}\n{}\n{}\n",
        aligned(&blocks),
        aligned(&steps),
        sentence(reset)
    )
}

/// Returns a sentence that says which step to take, and whether it keeps the limit on the test split.
pub fn sentence(reset: &Reset) -> String {
    let step = &reset.steps[reset.chosen];
    let names: Vec<&str> = reset.blocks[..step.reset]
        .iter()
        .map(|block| block.name.as_str())
        .collect();
    let what = match names.len() {
        0 => "Keep the tuned model as it is".to_owned(),
        _ if reset.is_base() => "Take the base, since every block is reset".to_owned(),
        _ => format!("Take the model with {} reset", names.join(", ")),
    };
    let tuned = &reset.steps[0].test;
    let compared = match step.reset {
        0 => String::new(),
        _ => format!(
            ", where the tuned model gains {} and forgets {}",
            signed(tuned.gain),
            signed(tuned.forgetting)
        ),
    };
    let figures = format!(
        "it gains {} on {} and forgets {} on average on the test split{}{compared}",
        signed(step.test.gain),
        reset.niche,
        signed(step.test.forgetting),
        worst_increase(&step.test.increases, reset.limit, signed),
    );
    let limit = reset.limit;
    match (reset.within_limit, step.test.forgetting > limit) {
        (true, false) => format!(
            "{what}: {figures}. That is the most gain with a mean forgetting of at most {limit} on the dev split, and the estimate is \
             within that limit on the test split too."
        ),
        (true, true) => format!(
            "{what} with care: {figures}. It was within the limit of {limit} on the dev split, but is beyond it on the test split: choose a \
             smaller limit, or hold out more."
        ),
        (false, _) => format!(
            "No step keeps the mean forgetting within {limit} on the dev split. The nearest: {what}: {figures}. Fine-tune with stronger \
             retention, or allow more."
        ),
    }
}
