//! A frontier as Markdown.

use super::Frontier;
use crate::diverged;
use crate::statistics::OverSeeds;
use crate::untrusted::inline;
use crate::wording::{interval, signed};

/// The table, and what it says.
pub fn render(frontier: &Frontier) -> String {
    let mut text = format!(
        "# Gain on {} against forgetting\n\nBits per byte on the test half of the held-out documents, against the base; \
         means over seeds, with 95 % intervals over seeds (Student's t) where there are several.\n\n\
         | way | gain | mean forgetting | worst domain | seconds | |\n|---|--:|--:|--:|--:|---|\n",
        inline(&frontier.niche)
    );
    for method in frontier.shown() {
        let place = match &method.beaten_by {
            None => "on the frontier".to_owned(),
            Some(other) => format!("beaten by {}", inline(other)),
        };
        let seconds = match method.share {
            None => format!("{:.0}", method.seconds),
            Some(_) => "none more".to_owned(),
        };
        text += &format!(
            "| {} | {} | {} | {} | {seconds} | {place} |\n",
            inline(&method.name),
            figure(&method.gain),
            figure(&method.mean_forgetting),
            figure(&method.worst_forgetting),
        );
    }
    text.push('\n');
    for sentence in sentences(frontier, Form::Markdown) {
        text += &format!("{sentence}\n\n");
    }
    text.trim_end().to_owned() + "\n"
}

/// A mean with its interval.
fn figure(over: &OverSeeds) -> String {
    match over.interval {
        Some(ends) => format!("{} {}", signed(over.mean), interval(Some(ends))),
        None => signed(over.mean),
    }
}

/// The language that sentences are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text, for a page that escapes it.
    Plain,
    Markdown,
}

impl Form {
    fn name(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Markdown => inline(name),
        }
    }

    /// `text` between `marks` that only Markdown has.
    fn marked(self, marks: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Markdown => format!("{marks}{text}{marks}"),
        }
    }
}

/// What the figures come to.
pub fn sentences(frontier: &Frontier, form: Form) -> Vec<String> {
    let mut sentences = vec![recommendation(frontier, form)];
    sentences.extend(diverged::sentence(&frontier.diverged, &|text| {
        form.name(text)
    }));
    let beaten = frontier.beaten_by_mixing();
    if !beaten.is_empty() {
        let pairs: Vec<String> = beaten
            .iter()
            .map(|(way, better)| {
                let (way, better) = (form.name(&way.name), form.name(&better.name));
                format!("{way} is beaten by {better}")
            })
            .collect();
        sentences.push(format!(
            "Mixing with the base, which costs evaluations only ({}): {}.",
            form.marked("`", "name × share of the tuned weights"),
            pairs.join(", ")
        ));
    }
    let mixed = match frontier.methods.iter().any(|method| method.share.is_some()) {
        true => format!("; {:.4} with what was mixed", frontier.hypervolume_mixed),
        false => String::new(),
    };
    sentences.push(format!(
        "Hypervolume {:.4}{mixed}: the area of gain × mean forgetting avoided that the frontier covers, from no gain and the \
         most forgetting of any way.",
        frontier.hypervolume
    ));
    sentences
}

fn recommendation(frontier: &Frontier, form: Form) -> String {
    let limit = frontier.limit;
    match &frontier.recommended {
        Some(name) => format!(
            "Recommended for at most {limit} bits per byte lost in any old domain: {}, which gains most inside it on \
             the development half.",
            form.marked("**", &form.name(name))
        ),
        None => format!(
            "No way stays inside {limit} bits per byte in every old domain on the development half: hold harder, or tune with \
             {}.",
            form.marked("`", &format!("polymath finetune --limits {limit}"))
        ),
    }
}
