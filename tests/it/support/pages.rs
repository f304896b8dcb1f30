//! Parser of documentation pages: the commands and files that they show.

use std::path::Path;

/// Fenced code block of a documentation page that a reader would follow.
#[derive(Debug, PartialEq)]
pub enum Block {
    /// File shown by the page, named by `<!-- file: NAME -->` before the block.
    File { name: String, text: String },
    /// Shell commands. `<!-- exits with A, B or C -->` before the block names exit codes other than 0.
    Commands { script: String, exits: Vec<i32> },
    /// Commands that a test can't run, marked by `<!-- not run: REASON -->`.
    NotRun { script: String, reason: String },
}

impl Block {
    /// Returns the number of commands in the block. A command begins with an unindented line.
    pub fn commands(&self) -> usize {
        match self {
            Self::File { .. } => 0,
            Self::Commands { script, .. } | Self::NotRun { script, .. } => script
                .lines()
                .filter(|line| line.starts_with(|first: char| first.is_ascii_alphabetic()))
                .filter(|line| !line.starts_with("assistant:"))
                .count(),
        }
    }
}

/// HTML comment of the page that describes the block below it.
enum Note {
    File(String),
    Exits(Vec<i32>),
    NotRun(String),
}

fn note(line: &str) -> Option<Note> {
    let text = line.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    if let Some(name) = text.strip_prefix("file:") {
        return Some(Note::File(name.trim().into()));
    }
    if let Some(reason) = text.strip_prefix("not run:") {
        return Some(Note::NotRun(reason.trim().into()));
    }
    let codes = text.strip_prefix("exits with ")?;
    let codes = codes.split(':').next().unwrap_or_default();
    let codes = codes.split(|letter: char| !letter.is_ascii_digit());
    Some(Note::Exits(
        codes.filter_map(|code| code.parse().ok()).collect(),
    ))
}

/// Returns the blocks of a page in order.
///
/// # Panics
/// Panics if a note is not above a block that it fits, or if a block has no end.
pub fn blocks(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let at = page.display();
    let mut found = Vec::new();
    let mut above = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(note) = note(line) {
            assert!(above.is_none(), "{at}: two notes in a row: {line}");
            above = Some(note);
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            let is_empty = line.trim().is_empty();
            assert!(
                is_empty || above.is_none(),
                "{at}: a note above no block: {line}"
            );
            continue;
        };
        let mut ended = false;
        let mut text = String::new();
        for line in lines.by_ref() {
            if line.starts_with("```") {
                ended = true;
                break;
            }
            text += line;
            text.push('\n');
        }
        assert!(ended, "{at}: a block has no end");
        match (language, above.take()) {
            (_, Some(Note::File(name))) => found.push(Block::File { name, text }),
            ("sh", None) => found.push(Block::Commands {
                script: text,
                exits: vec![0],
            }),
            ("sh", Some(Note::Exits(exits))) => found.push(Block::Commands {
                script: text,
                exits,
            }),
            ("sh", Some(Note::NotRun(reason))) => found.push(Block::NotRun {
                script: text,
                reason,
            }),
            (_, None) => {}
            (language, Some(_)) => {
                panic!("{at}: a note for commands above a block of `{language}`")
            }
        }
    }
    found
}
