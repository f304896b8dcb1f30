//! Markdown and terminal form of a frontier, and its sentences.

use super::figures::Frontier;
use super::method::Method;
use super::recommendation::{FEWEST_SEEDS, Outcome, Recommendation};
use crate::aligned;
use crate::diverged;
use crate::untrusted::inline;
use crate::wording::{figure, percent, signed};
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS, Figure};

/// Renders a frontier in Markdown: sentences and tables.
pub fn render(frontier: &Frontier) -> String {
    let mut text = format!(
        "# Gain on {} against forgetting\n\n",
        inline(&frontier.niche)
    );
    for sentence in sentences(frontier, Form::Markdown) {
        text += &format!("{sentence}\n\n");
    }
    if frontier.critical.is_some() {
        text += &differences(frontier);
    }
    text += "## Every method\n\nBits per byte on the test split of the held-out documents, against the base, with 95 % intervals \
             over groups of documents and seeds.\n\n\
             | method | gain | mean forgetting | worst domain | seconds |\n|---|--:|--:|--:|--:|\n";
    for method in frontier.shown() {
        let seconds = match method.share {
            None => format!("{:.0}", method.seconds),
            Some(_) => "–".to_owned(),
        };
        let worst = format!(
            "{} {}",
            inline(&method.worst.domain),
            figure(&method.worst.rise)
        );
        text += &format!(
            "| {} | {} | {} | {worst} | {seconds} |\n",
            name(frontier, method),
            figure(&method.gain),
            figure(&method.mean_forgetting),
        );
    }
    text
}

/// Renders a frontier for a terminal: sentences and a table of the methods.
pub fn table(frontier: &Frontier) -> String {
    let head = [
        "method",
        "gain",
        "mean forgetting",
        "worst domain",
        "",
        "place",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for method in frontier.shown() {
        rows.push(vec![
            method.name.clone(),
            figure(&method.gain),
            figure(&method.mean_forgetting),
            method.worst.domain.clone(),
            figure(&method.worst.rise),
            place(frontier, method, Form::Plain),
        ]);
    }
    let mut text = format!("{}\n", aligned(&rows));
    for sentence in sentences(frontier, Form::Plain) {
        text += &format!("{sentence}\n");
    }
    text
}

/// Renders a table of the paired differences between each method and the reference method.
fn differences(frontier: &Frontier) -> String {
    let reference = inline(&frontier.reference);
    let mut text = format!(
        "## Against {reference}\n\nPaired differences in bits per byte, same documents and seeds. The 95 % intervals are \
         simultaneous.\n\n\
         | method | gain − {reference}’s | mean forgetting − {reference}’s | place | best in |\n|---|--:|--:|---|--:|\n"
    );
    for method in frontier.shown() {
        let of = |estimate: Option<Figure>| estimate.map_or("–".into(), |found| figure(&found));
        let apart = method.against_reference;
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            name(frontier, method),
            of(apart.map(|apart| apart.gain)),
            of(apart.map(|apart| apart.mean_forgetting)),
            place(frontier, method, Form::Markdown),
            method.frontier_share.map_or("–".into(), percent),
        );
    }
    text + "\n"
}

/// Formats the name of a method; that of the recommended one is marked.
fn name(frontier: &Frontier, method: &Method) -> String {
    match frontier.is_recommended(method) {
        true => format!("**{}** (take this)", inline(&method.name)),
        false => inline(&method.name),
    }
}

/// Describes in words whether another method dominates this one. The recommended method is called “recommended” even if
/// another one dominates it, since that one is not within the limit.
pub fn place(frontier: &Frontier, method: &Method, form: Form) -> String {
    if frontier.is_recommended(method) {
        return match &method.beaten_by {
            Some(other) => format!(
                "recommended; {} is better on average, but not within the limit",
                form.name(other)
            ),
            None => "recommended".into(),
        };
    }
    match (
        &method.beaten_by,
        &method.not_told_apart_from,
        method.frontier_share,
    ) {
        (Some(other), _, _) => format!("dominated by {}", form.name(other)),
        (None, Some(other), _) => format!("not significantly worse than {}", form.name(other)),
        (None, None, Some(_)) => "not dominated".into(),
        (None, None, None) => "not compared".into(),
    }
}

/// Output format of sentences.
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

    /// In Markdown, encloses `text` in `marks`.
    fn marked(self, marks: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Markdown => format!("{marks}{text}{marks}"),
        }
    }
}

/// Returns sentences: the recommendation, the significant differences, then the limits of the evidence.
pub fn sentences(frontier: &Frontier, form: Form) -> Vec<String> {
    let mut sentences = vec![recommendation(frontier, form)];
    sentences.push(differences_found(frontier, form));
    sentences.extend(diverged::sentence(&frontier.diverged, &|text| {
        form.name(text)
    }));
    sentences.extend(few_groups(frontier, form));
    sentences.extend(frontier.notes.iter().map(|note| form.name(note)));
    sentences.push(hypervolume(frontier));
    sentences
}

/// Returns a sentence about the significant differences, or about why there are none.
fn differences_found(frontier: &Frontier, form: Form) -> String {
    if frontier.critical.is_none() {
        let seeds = frontier.methods.iter().map(|method| method.seeds).max();
        return match (frontier.trained().count(), seeds) {
            (1, _) => "One method: there is nothing to compare it with.".into(),
            (_, Some(0 | 1)) => {
                "One seed: runs with other seeds may differ, so the methods are not compared.".into()
            }
            _ => "Methods are not compared: fewer than two have a run of every seed, or a domain has fewer than five groups of \
                  held-out documents."
                .into(),
        };
    }
    let beaten: Vec<String> = frontier
        .shown()
        .filter(|method| !frontier.is_recommended(method))
        .filter_map(|method| {
            let other = method.beaten_by.as_ref()?;
            let (name, other) = (form.name(&method.name), form.name(other));
            Some(format!("{name} is dominated by {other}"))
        })
        .collect();
    match beaten.is_empty() {
        true => "No method gains significantly more and forgets significantly less than another: their order in the tables may be chance."
            .into(),
        false => format!(
            "Significant (simultaneous 95 % level): {}. No other method gains significantly more and forgets significantly less than another.",
            beaten.join(", ")
        ),
    }
}

fn few_groups(frontier: &Frontier, form: Form) -> Option<String> {
    let few: Vec<String> = frontier
        .few_groups()
        .map(|few| format!("{} ({}: {})", form.name(&few.domain), few.split, few.groups))
        .collect();
    (!few.is_empty()).then(|| {
        format!(
            "Fewer than 20 groups of held-out documents in {}: so few show little of how much groups differ, and fewer than five give no \
             interval. Hold out more, or raise {}.",
            few.join(", "),
            form.marked("`", "max_tokens")
        )
    })
}

fn hypervolume(frontier: &Frontier) -> String {
    let shown = |estimate: &Figure| {
        let ends = estimate
            .interval
            .map(|[low, high]| format!(" [{low:.4}, {high:.4}]"));
        format!("{:.4}{}", estimate.value, ends.unwrap_or_default())
    };
    let mixed = match frontier.methods.iter().any(|method| method.share.is_some()) {
        true => format!("; {} with mixtures", shown(&frontier.hypervolume.mixed)),
        false => String::new(),
    };
    format!(
        "Hypervolume {}{mixed}: area of gain × avoided mean forgetting that the methods cover, from no gain and the highest mean \
         forgetting of any method.",
        shown(&frontier.hypervolume.trained)
    )
}

fn recommendation(frontier: &Frontier, form: Form) -> String {
    let limit = frontier.limit;
    let Some(found) = &frontier.recommended else {
        let seeds = frontier.methods.iter().map(|method| method.seeds).max();
        let few = frontier
            .few_groups()
            .any(|few| few.split == "dev" && few.groups < FEWEST_GROUPS);
        return match few {
            _ if seeds < Some(FEWEST_SEEDS) => format!(
                "Nothing is recommended: one seed does not say how much runs differ. Give {} at least two values, better three or more.",
                form.marked("`", "seeds")
            ),
            true => format!(
                "Nothing is recommended: a retained domain has fewer than five groups of held-out documents, too few to bound the forgetting by \
                 {limit} bits per byte."
            ),
            false => format!(
                "No method keeps every retained domain significantly within {limit} bits per byte on the dev split: use stronger retention, or \
                 tune with {}.",
                form.marked("`", &format!("polymath finetune --limits {limit}"))
            ),
        };
    };
    let passed_over: Vec<String> = found
        .passed_over
        .iter()
        .map(|name| form.name(name))
        .collect();
    let passed_over = match passed_over.is_empty() {
        true => String::new(),
        false => format!(
            "{} gained more on the dev split, but another method within the limit is significantly better on the test split, which so took \
             part in this choice. ",
            passed_over.join(", ")
        ),
    };
    format!(
        "Take {}: of the methods that are shown to keep every retained domain within {limit} bits per byte, it gains most ({} is nearest to the \
         limit: at most {}, on the dev split). {passed_over}{}",
        form.marked("**", &form.name(&found.name)),
        form.name(&found.domain),
        signed(found.upper_bound),
        confirmation(found, form),
    )
}

fn confirmation(found: &Recommendation, form: Form) -> String {
    let Some(fresh) = &found.confirmation else {
        return format!(
            "Not confirmed on a fresh seed: set {}.",
            form.marked("`", "confirm_seed")
        );
    };
    let worst = fresh
        .rises
        .iter()
        .max_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let worst = worst.map_or(String::new(), |(name, rise)| {
        format!(", worst domain {} {}", form.name(name), figure(rise))
    });
    let said = match fresh.outcome {
        Outcome::Confirmed => "Confirmed by",
        Outcome::Refuted => "Refuted by",
        Outcome::Undecided => "Neither confirmed nor refuted by",
    };
    let open: Vec<String> = fresh
        .open
        .iter()
        .map(|(name, effective)| format!("{} ({:.0})", form.name(name), effective.floor()))
        .collect();
    let open = match fresh.outcome {
        Outcome::Undecided if !open.is_empty() => format!(
            " It does not show that {} stays within the limit; in brackets the effective groups of documents, of which that takes \
             {FEWEST_EFFECTIVE:.0}.",
            open.join(", ")
        ),
        _ => String::new(),
    };
    format!(
        "{said} a run of the fresh seed {}: gain {}{worst}.{open}",
        fresh.seed,
        figure(&fresh.gain)
    )
}
