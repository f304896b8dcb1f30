//! `polymath prepare`: makes a dataset from raw text.

use std::path::Path;

use polymath_base::bytes_text;
use polymath_config::toml_key;
use polymath_data::{
    DataError, Dataset, DomainManifest, GroupKind, Grouping, Packing, PrepareConfig, Split,
};
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS};

use polymath_report::counted;

use crate::arguments;
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Prepares the dataset and prints its summary.
pub fn run(arguments: &arguments::Prepare, environment: &Environment) -> Result<(), Failure> {
    let config: PrepareConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    config.validate().map_err(Failure::usage)?;
    let dataset = polymath_data::prepare(&config, arguments.force, &Stages::new(environment))?;
    if arguments.json {
        results::announce(&serde_json::to_string_pretty(dataset.manifest())?);
    } else if !environment.quiet {
        results::announce(&(summary(&dataset, dataset.path()) + &packings(&dataset)?));
    }
    Ok(())
}

/// Row lengths in tokens for which the summary reports how well examples fill rows.
const ROWS: [usize; 5] = [256, 512, 1024, 2048, 4096];

/// Describes how well the examples of the domains with prompts fill rows, one line for each row length, until no
/// example is cut.
pub fn packings(dataset: &Dataset) -> Result<String, DataError> {
    let mut text = String::new();
    for name in dataset.domain_names() {
        let shard = dataset.shard(name, Split::Train)?;
        for length in ROWS {
            let Some(packing) = Packing::of(&shard, length) else {
                break;
            };
            text += &format!("  {name}: {packing}\n");
            if packing.cut == 0 {
                break;
            }
        }
    }
    Ok(text)
}

/// Returns a table of the domains and their overlaps.
pub fn summary(dataset: &Dataset, folder: &Path) -> String {
    let manifest = dataset.manifest();
    let mut text = format!(
        "{}: {} {}, {} tokens in the vocabulary\n",
        folder.display(),
        manifest.domains.len(),
        if manifest.domains.len() == 1 {
            "domain"
        } else {
            "domains"
        },
        manifest.tokenizer.vocab_size
    );
    text += &ends(dataset);
    text += &format!(
        "  {:20} {:>10} {:>12} {:>10} {:>8} {:>12} {:>10} {:>10}\n",
        "domain", "train MB", "tokens", "held out", "groups", "tokens", "bytes/tok", "duplicates"
    );
    for (name, domain) in &manifest.domains {
        text += &format!(
            "  {name:20} {:>10.2} {:>12} {:>10} {:>8} {:>12} {:>10.2} {:>10}\n",
            domain.train.bytes as f64 / 1e6,
            domain.train.tokens,
            domain.heldout.documents,
            match domain.heldout.groups {
                0 => "–".to_owned(),
                groups => groups.to_string(),
            },
            domain.heldout.tokens,
            domain.train.bytes as f64 / domain.train.tokens.max(1) as f64,
            domain.duplicates_dropped
        );
    }
    for (name, domain) in &manifest.domains {
        text += &remarks(name, domain);
    }
    for overlap in &manifest.overlaps {
        if overlap.exact_share > 0.0 || overlap.ngram_share > 0.01 {
            text += &format!(
                "  overlap: {:.1} % of the 13-word sequences held out in {} also occur in the training text of {} ({:.2} % of \
                 whole documents)\n",
                overlap.ngram_share * 100.0,
                overlap.heldout,
                overlap.train,
                overlap.exact_share * 100.0
            );
        }
    }
    text
}

/// Minimum number of groups for a confidence interval.
const FEWEST: u64 = FEWEST_GROUPS as u64;
/// Number of held-out groups from which a domain can get the verdict “kept”: the required effective groups, and one
/// more.
const ENOUGH: u64 = FEWEST_EFFECTIVE as u64 + 1;

/// Bytes of held-out text below which scores on it say nothing: a paragraph.
const LITTLE: u64 = 512;

/// Returns remarks about a domain, as lines: omitted or unexpected content, and the quality of its held-out split.
pub fn remarks(name: &str, domain: &DomainManifest) -> String {
    let mut text = heldout_split(name, domain) + &groups(name, domain);
    for line in domain.notes.lines() {
        text += &format!("  {name}: {line}\n");
    }
    text
}

/// Describes the groups of a domain, and warns if few are held out.
fn groups(name: &str, domain: &DomainManifest) -> String {
    let held = domain.heldout.groups;
    if held == 0 && domain.heldout.documents == 0 {
        return String::new();
    }
    if held == 0 {
        return format!(
            "  {name}: no groups are stored, since an earlier version prepared it: intervals count each document as independent; \
             prepare it again\n"
        );
    }
    let grouping = Grouping {
        kind: domain.group,
        field: domain.group_field.clone(),
    };
    let mut text = format!(
        "  {name}: {} ({}) to train on, {held} held out\n",
        counted(domain.train.groups, "group"),
        grouping.plural()
    );
    if domain.group == GroupKind::Section {
        text += &format!(
            "  {name}: passages are the groups: scores apply to new passages of the same work, not to other works\n"
        );
    }
    text + &few(name, held, domain.train.groups + held, domain.group) + &little(name, domain)
}

/// Returns a warning if the held-out documents are very short beside the text to train on; empty otherwise. A text that
/// holds most of a domain is not held out, so that only the small ones beside it are left for that.
fn little(name: &str, domain: &DomainManifest) -> String {
    let (held, train) = (domain.heldout.bytes, domain.train.bytes);
    if held >= LITTLE || held * 100 >= train {
        return String::new();
    }
    format!(
        "  {name}: {} of text are held out beside {} to train on: scores on so little say nothing. A text that holds most of \
         a domain is never held out whole: leave the small ones out, and the end of the only text is held out, or name \
         held-out files in `domains.{}.heldout_paths`\n",
        bytes_text(held),
        bytes_text(train),
        toml_key(name)
    )
}

/// Returns a warning if `held` held-out groups are too few, with what they can't show and how to get more; empty
/// otherwise. `dev` and `test` get about half of the held-out groups each.
fn few(name: &str, held: u64, all: u64, kind: GroupKind) -> String {
    let plural = if held == 1 { "group is" } else { "groups are" };
    let said = match (held, held / 2) {
        (0..FEWEST, _) => "too few: scores on them get no interval and no verdict".to_owned(),
        (_, 0..FEWEST) => format!(
            "too few: half of them are in `test`, and on fewer than {FEWEST} there is no interval and no verdict"
        ),
        (_, half @ FEWEST..ENOUGH) => format!(
            "few: about {half} of them are in `test`, too few to show that a domain is kept, which takes at \
             least {FEWEST_EFFECTIVE:.0} of like size"
        ),
        _ => return String::new(),
    };
    format!(
        "  {name}: {held} held-out {plural} {said}; {}\n",
        remedy(name, held, all, kind)
    )
}

/// Returns a sentence about how a domain of `all` groups can hold out enough of them. At most half can be held out.
fn remedy(name: &str, held: u64, all: u64, kind: GroupKind) -> String {
    let (wanted, most) = (2 * ENOUGH, all / 2);
    let name = toml_key(name);
    let mut ways = Vec::new();
    if most >= wanted {
        ways.push(format!(
            "hold out {wanted} or more with `domains.{name}.heldout_groups = {wanted}` (it has {all} groups)"
        ));
    } else if most > held {
        ways.push(format!(
            "hold out {most} with `domains.{name}.heldout_groups = {most}`, half of its {all} groups"
        ));
    }
    if most < wanted {
        ways.push(format!("give more text, to hold out {wanted} or more"));
        if kind != GroupKind::Section {
            ways.push(format!(
                "or split by passages with `domains.{name}.group = \"section\"`, for scores on new passages of the same works"
            ));
        }
    }
    ways.join("; ")
}

/// Describes what `prepare` did to a domain besides holding out documents by hash: left out, cut, or held out in
/// addition.
fn heldout_split(name: &str, domain: &DomainManifest) -> String {
    let held = domain.heldout.documents;
    let mut text = String::new();
    if domain.bad_records_dropped > 0 {
        text += &format!(
            "  {name}: left out since it contains no document: {}\n",
            counted(domain.bad_records_dropped, "record")
        );
    }
    if domain.empty_dropped > 0 {
        text += &format!(
            "  {name}: left out since it has nothing to learn (only white space, or no response): {}\n",
            counted(domain.empty_dropped, "text")
        );
    }
    if domain.tail_held_out {
        text += &format!(
            "  {name}: its only document is cut; the tail is held out, in {}\n",
            counted(held, "piece")
        );
    } else if domain.heldout_cut > 0 {
        text += &format!(
            "  {name}: cut into pieces: {}\n",
            counted(domain.heldout_cut, "long held-out document")
        );
    }
    if domain.heldout_by_quota > 0 {
        text += &format!(
            "  {name}: held out in addition to those that the hash chose, which were too few: {}\n",
            counted(domain.heldout_by_quota, "document")
        );
    }
    text + &near_duplicates(name, domain)
}

/// Describes the treatment of near-duplicates.
fn near_duplicates(name: &str, domain: &DomainManifest) -> String {
    let lines = [
        (
            domain.near_duplicates_to_train,
            "document",
            "not held out, since near-duplicates are training text",
        ),
        (
            domain.near_duplicates_joined,
            "held-out group",
            "counted with another, since both hold near-duplicates of each other",
        ),
        (
            domain.near_duplicates_left_out,
            "held-out document",
            "left out, since other groups hold near-duplicates",
        ),
        (
            domain.near_duplicates_left,
            "held-out document",
            "held out although near-duplicates are training text, so that their scores say little about new text",
        ),
    ];
    let lines = lines.into_iter().filter(|(count, ..)| *count > 0);
    lines
        .map(|(count, noun, what)| format!("  {name}: {what}: {}\n", counted(count, noun)))
        .collect()
}

/// Returns a line with the tokens that begin and end documents, and where each comes from.
fn ends(dataset: &Dataset) -> String {
    let (tokenizer, sources) = (
        &dataset.manifest().tokenizer,
        &dataset.manifest().end_sources,
    );
    let vocabulary = polymath_tokenizer::open_alone(&dataset.tokenizer_path());
    let named = |id: u32, source: &str| {
        let name = vocabulary
            .as_ref()
            .ok()
            .and_then(|vocabulary| vocabulary.id_to_token(id));
        let source = if source.is_empty() {
            String::new()
        } else {
            format!(", from {source}")
        };
        format!("`{}` ({id}{source})", name.unwrap_or_default())
    };
    format!(
        "  documents begin with {} and end with {}\n",
        named(tokenizer.bos_token_id, &sources.begin),
        named(tokenizer.eos_token_id, &sources.end)
    )
}

#[cfg(test)]
mod tests;
