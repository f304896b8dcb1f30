//! Helpers that read the documents stored in a dataset.

use polymath_data::{Dataset, RecordNotes, Split};
use tokenizers::Tokenizer;

/// Returns the tokens, loss mask and source of every document of a domain, sorted by tokens.
pub fn stored(dataset: &Dataset, domain: &str) -> Vec<(Vec<u32>, Vec<bool>, String)> {
    let sources = dataset.sources(domain).unwrap();
    let mut found = Vec::new();
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard(domain, split).unwrap();
        for index in 0..shard.documents() {
            let document = shard.document(index);
            let mut tokens = Vec::new();
            document.copy_tokens(0..document.len(), &mut tokens);
            let scored = (0..document.len()).map(|at| document.scored(at));
            let source = sources.source_of(&shard, index).unwrap().to_string();
            found.push((tokens, scored.collect(), source));
        }
    }
    found.sort();
    found
}

/// Returns the whole text, the scored text and the source (with the file name only) of every document.
pub fn texts(dataset: &Dataset, domain: &str) -> Vec<(String, String, String)> {
    let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
    let documents = stored(dataset, domain).into_iter();
    let mut found: Vec<_> = documents
        .map(|(tokens, scored, source)| {
            let marked = tokens.iter().zip(&scored).filter(|pair| *pair.1);
            let marked: Vec<u32> = marked.map(|pair| *pair.0).collect();
            let text = |tokens: &[u32]| tokenizer.decode(tokens, true).unwrap();
            let name = source.rsplit('/').next().unwrap_or_default().to_owned();
            (text(&tokens), text(&marked), name)
        })
        .collect();
    found.sort();
    found
}

pub fn notes<'a>(dataset: &'a Dataset, domain: &str) -> &'a RecordNotes {
    &dataset.manifest().domains[domain].notes
}

/// Returns the list `record(0)`, `record(1)`, …, with `count` elements.
pub fn each(count: usize, record: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(record).collect()
}
