//! `polymath dataset`: a look into a prepared data set.

use anyhow::anyhow;
use polymath_data::{Dataset, DocumentSources, Split, TokenShard};

use super::prepare::{packings, summary};
use crate::arguments::{DatasetCommand, SplitChoice};
use crate::failure::Failure;
use crate::results::{self, Results};

/// Prints what was asked for.
pub fn run(command: &DatasetCommand) -> Result<(), Failure> {
    match command {
        DatasetCommand::Info { dataset, json } => {
            let dataset = Dataset::open(dataset)?;
            if *json {
                results::line(&serde_json::to_string_pretty(dataset.manifest())?)
            } else {
                results::print(&(summary(&dataset) + &packings(&dataset)?))
            }
        }
        DatasetCommand::Text {
            dataset,
            domain,
            split,
            sources,
        } => {
            let dataset = Dataset::open(dataset)?;
            let split = match split {
                SplitChoice::Train => Split::Train,
                SplitChoice::Heldout => Split::Heldout,
            };
            let shard = dataset.shard(domain, split)?;
            let tokenizer = dataset.tokenizer()?;
            let read_from = dataset.sources(domain)?;
            let mut output = Results::open();
            let mut tokens = Vec::new();
            for index in 0..shard.documents() {
                let document = shard.document(index);
                if *sources {
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
    }
}

/// A line with a document's number, source and group.
fn headline(sources: &DocumentSources, shard: &TokenShard, index: usize) -> String {
    let source = sources.source_of(shard, index);
    let source = source.map_or("of an unknown source".to_owned(), |source| {
        source.to_string()
    });
    let group = shard.group_of(index);
    let group = group.map_or(String::new(), |group| format!(", group {group:016x}"));
    format!("== document {} ({source}{group})\n", index + 1)
}
