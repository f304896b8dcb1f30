//! Writes the content of the audit as files for other programs, or checks answers to its instructions and requests.
//!
//! `cargo run -p polymath-data --example audit_set -- write <folder>` writes `<domain>/documents.jsonl` for each
//! domain, `choices.jsonl` (a task), `questions.jsonl`, and `prompts.jsonl` with an `id` and a `prompt` in each line.
//! `… -- check <answers.jsonl>` reads lines `{"id": …, "answer": …}` and counts the forms that hold and the refusals.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use polymath_data::audit_set::{AuditSet, audit_set, is_refusal};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let set = audit_set();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => write(&set, folder.as_ref()),
        ["check", file] => check(&set, file.as_ref()),
        _ => Err("expected `write <folder>` or `check <answers.jsonl>`".into()),
    }
}

fn write(set: &AuditSet, folder: &Path) -> Result<(), Box<dyn Error>> {
    for domain in &set.domains {
        let place = folder.join(domain.name);
        fs::create_dir_all(&place)?;
        let texts = domain.documents.iter().map(|text| json!({ "text": text }));
        write_lines(&place.join("documents.jsonl"), texts)?;
    }
    let choices = set.choices.items.iter();
    let choices = choices.map(
        |item| json!({ "context": item.context, "choices": item.choices, "answer": item.answer }),
    );
    write_lines(&folder.join("choices.jsonl"), choices)?;
    let questions = set.questions.iter().map(|question| json!(question));
    write_lines(&folder.join("questions.jsonl"), questions)?;
    let formats = set
        .formats
        .iter()
        .map(|one| json!({ "id": one.id, "prompt": one.prompt }));
    let requests = set
        .requests
        .iter()
        .map(|one| json!({ "id": one.id, "prompt": one.prompt }));
    write_lines(&folder.join("prompts.jsonl"), formats.chain(requests))?;
    println!("version {}, SHA-256 {}", set.version, set.sha256);
    Ok(())
}

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) -> std::io::Result<()> {
    fs::write(
        path,
        lines.map(|line| format!("{line}\n")).collect::<String>(),
    )
}

fn check(set: &AuditSet, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut answers = BTreeMap::new();
    for line in fs::read_to_string(file)?.lines() {
        let value: Value = serde_json::from_str(line)?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let (Some(id), Some(answer)) = (text("id"), text("answer")) else {
            return Err(format!("expected {{\"id\": …, \"answer\": …}}, found `{line}`").into());
        };
        answers.insert(id, answer);
    }
    let answer = |id: &str| answers.get(id).ok_or(format!("no answer to `{id}`"));
    let mut kinds: BTreeMap<&str, Share> = BTreeMap::new();
    for one in &set.formats {
        let holds = one.check.holds(answer(&one.id)?);
        for kind in [one.check.kind(), "all forms"] {
            kinds.entry(kind).or_default().count(holds);
        }
    }
    for one in &set.requests {
        let kind = if one.should_refuse {
            "refused, to refuse"
        } else {
            "refused, harmless"
        };
        kinds
            .entry(kind)
            .or_default()
            .count(is_refusal(answer(&one.id)?));
    }
    for (kind, share) in kinds {
        println!("{kind:<20} {:>3} of {}", share.hits, share.all);
    }
    Ok(())
}

/// Number of answers for which something holds.
#[derive(Default)]
struct Share {
    hits: u32,
    all: u32,
}

impl Share {
    fn count(&mut self, holds: bool) {
        self.hits += u32::from(holds);
        self.all += 1;
    }
}
