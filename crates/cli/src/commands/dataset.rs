//! `polymath dataset`: inspects a prepared dataset.

use anyhow::anyhow;
use polymath_data::{Dataset, DocumentSources, Split, TokenShard};

use super::prepare::{packings, summary};
use crate::arguments::{DatasetCommand, DatasetText, SplitChoice};
use crate::failure::Failure;
use crate::results::{self, Results};

/// Prints the statistics or the text of a dataset.
pub fn run(command: &DatasetCommand) -> Result<(), Failure> {
    match command {
        DatasetCommand::Info { dataset, json } => {
            let dataset = Dataset::open(dataset)?;
            if *json {
                results::line(&serde_json::to_string_pretty(dataset.manifest())?)
            } else {
                results::print(&(summary(&dataset, dataset.path()) + &packings(&dataset)?))
            }
        }
        DatasetCommand::Text(arguments) => print_text(arguments),
    }
}

/// Prints the documents of a split, each decoded from its tokens.
fn print_text(arguments: &DatasetText) -> Result<(), Failure> {
    let dataset = Dataset::open(&arguments.dataset)?;
    let side = match arguments.split {
        SplitChoice::Train => Split::Train,
        SplitChoice::Heldout | SplitChoice::Dev | SplitChoice::Test | SplitChoice::Audit => {
            Split::Heldout
        }
    };
    let shard = dataset.shard(&arguments.domain, side)?;
    let part = arguments.split.heldout();
    if let Some(part) = part {
        part.check(&arguments.domain, &shard)?;
    }
    let tokenizer = dataset.tokenizer()?;
    let read_from = dataset.sources(&arguments.domain)?;
    let mut output = Results::open();
    let mut tokens = Vec::new();
    for index in 0..shard.documents() {
        if part.is_some_and(|part| shard.split_of(index) != part) {
            continue;
        }
        let document = shard.document(index);
        if arguments.sources {
            output.write(&headline(&read_from, &shard, index))?;
        }
        tokens.clear();
        document.copy_tokens(0..document.len() - 1, &mut tokens);
        let text = tokenizer
            .decode(&tokens, false)
            .map_err(|error| anyhow!("{error}"))?;
        output.write(&text)?;
        output.write("\n")?;
    }
    output.flush()
}

/// Returns a line with a document's number, source and group.
fn headline(sources: &DocumentSources, shard: &TokenShard, index: usize) -> String {
    let source = sources.source_of(shard, index);
    let source = source.map_or("unknown source".to_owned(), |source| source.to_string());
    let group = shard.group_of(index);
    let group = group.map_or(String::new(), |group| format!(", group {group:016x}"));
    format!("== document {} ({source}{group})\n", index + 1)
}
