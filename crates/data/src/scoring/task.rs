//! Multiple-choice and cloze tasks, one task per file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_input::parse_json;
use serde_json::{Map, Value};

use crate::DataError;
use crate::sources::bad_records::BadRecords;

/// Default separator between a context and a choice.
const DELIMITER: &str = " ";
const EXPECTED: &str = "expected {\"context\": \"…\", \"choices\": [\"…\", …], \"answer\": 0}";

/// The items of one task file. Either all are cloze items (one choice each) or all have several choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// File name without its extension.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Items in the order of the file; at least one.
    pub items: Vec<TaskItem>,
}

/// A context and its possible continuations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskItem {
    /// Line in the file, counted from 1.
    pub line: u64,
    /// Context for the model; may be empty.
    pub context: String,
    /// Possible continuations; a single one makes a cloze item.
    pub choices: Vec<String>,
    /// Index of the right choice, from 0.
    pub answer: usize,
    /// Separator between the context and a choice: a space, unless the item has a `target_delimiter`.
    pub delimiter: String,
}

impl Task {
    /// Returns true if the items have one choice each: the score is whether the model generates it.
    pub fn is_cloze(&self) -> bool {
        self.items.iter().all(|item| item.choices.len() == 1)
    }
}

/// Reads tasks from files, and from every `.jsonl` file (also `.jsonl.gz` or `.jsonl.zst`) of folders, sorted by
/// name.
///
/// # Errors
/// Fails if a path does not exist, a folder has no task files, two tasks have the same name, a file is empty, or
/// lines are not items. The last error counts the invalid lines of all files and quotes the first ones.
pub fn read_tasks(paths: &[PathBuf]) -> Result<Vec<Task>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_of(path)?);
        } else {
            files.push(path.clone());
        }
    }
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    let mut bad = BadRecords::default();
    for file in files {
        let task = read_task(&file, &mut bad)?;
        if let Some(other) = tasks.get(&task.name) {
            let message = format!(
                "a task of the name `{}` is in `{}` already: rename one of the files, or give it once",
                task.name,
                other.path.display()
            );
            return Err(DataError::content(&file, message));
        }
        tasks.insert(task.name.clone(), task);
    }
    bad.refuse_lines("items of a task")?;
    Ok(tasks.into_values().collect())
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::file("read", folder))? {
        let path = entry.map_err(DataError::file("read", folder))?.path();
        if path.is_file() && name_of(&path).is_some() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = "no `.jsonl` file in this folder: expected one for each task";
        return Err(DataError::content(folder, message));
    }
    files.sort();
    Ok(files)
}

/// Returns the task name of a `.jsonl` file, compressed or not; `None` for any other file.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    let task = plain.unwrap_or(name).strip_suffix(".jsonl")?;
    Some(task.to_owned())
}

/// Reads the items of a file; adds errors of invalid lines to `bad`.
fn read_task(path: &Path, bad: &mut BadRecords) -> Result<Task, DataError> {
    let text = polymath_input::read_text(path)?;
    let mut items: Vec<TaskItem> = Vec::new();
    let mut is_empty = true;
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |message: String| DataError::line(path, number, message);
        if line.trim().is_empty() {
            continue;
        }
        is_empty = false;
        let item = match item(line, number) {
            Ok(item) => item,
            Err(message) => {
                bad.take(&wrong(message));
                continue;
            }
        };
        let is_cloze = item.choices.len() == 1;
        if let Some(first) = items.first()
            && (first.choices.len() == 1) != is_cloze
        {
            let (here, there) = if is_cloze {
                ("one choice", "several")
            } else {
                ("several choices", "one")
            };
            bad.take(&wrong(format!(
                "has {here}, but line {} has {there}: clozes are scored in another way, put them into a file of their own",
                first.line
            )));
            continue;
        }
        items.push(item);
    }
    if is_empty {
        let message = format!("has no items: {EXPECTED} in each line");
        return Err(DataError::content(path, message));
    }
    Ok(Task {
        name: name_of(path).unwrap_or_else(|| {
            let stem = path.file_stem().unwrap_or_default();
            stem.to_string_lossy().into()
        }),
        path: path.to_path_buf(),
        items,
    })
}

/// Parses a line of a task file; the error says what is wrong with it.
fn item(text: &str, line: u64) -> Result<TaskItem, String> {
    let json = parse_json(text).map_err(|error| format!("not an item ({error}): {EXPECTED}"))?;
    let fields: Map<String, Value> = serde_json::from_value(json.value)
        .map_err(|error| format!("not an item ({error}): {EXPECTED}"))?;
    let context = match fields.get("context") {
        Some(context) => string("context", context)?,
        None => return Err(format!("no `context`: {EXPECTED}")),
    };
    let choices = choices(fields.get("choices"))?;
    if let Some(half) = json.lone_surrogate
        && choices
            .iter()
            .chain([&context])
            .any(|text| text.contains(half))
    {
        return Err("has a lone surrogate in its text".into());
    }
    Ok(TaskItem {
        line,
        context,
        answer: answer(fields.get("answer"), choices.len())?,
        choices,
        delimiter: match fields.get("target_delimiter") {
            Some(delimiter) => string("target_delimiter", delimiter)?,
            None => DELIMITER.into(),
        },
    })
}

fn string(key: &str, value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| format!("`{key}` is `{value}`: expected a text"))
}

fn choices(value: Option<&Value>) -> Result<Vec<String>, String> {
    let value = value.ok_or_else(|| format!("no `choices`: {EXPECTED}"))?;
    let choices = value
        .as_array()
        .filter(|choices| !choices.is_empty())
        .ok_or_else(|| format!("`choices` is `{value}`: expected a list of one text or more"))?;
    let choice = |(number, choice): (usize, &Value)| {
        let text = string(&format!("choices[{number}]"), choice)?;
        if text.is_empty() {
            // A choice must not be empty, because its score is divided by its length.
            return Err(format!("`choices[{number}]` is empty: expected a text"));
        }
        Ok(text)
    };
    choices.iter().enumerate().map(choice).collect()
}

fn answer(value: Option<&Value>, choices: usize) -> Result<usize, String> {
    let last = choices - 1;
    let expected = match last {
        0 => "expected 0, the index of the only choice".to_owned(),
        _ => format!("expected the index of the right choice, a whole number from 0 to {last}"),
    };
    let value = value.ok_or_else(|| format!("no `answer`: {expected}"))?;
    let answer = value.as_u64().filter(|answer| *answer <= last as u64);
    answer
        .map(|answer| answer as usize)
        .ok_or_else(|| format!("`answer` is `{value}`: {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICE: &str = r#"{"context": "a", "choices": ["b", "c"], "answer": 1, "id": 7}"#;
    const CLOZE: &str = r#"{"context": "", "choices": ["b"], "answer": 0, "target_delimiter": ""}"#;

    fn read(text: &str) -> Result<Vec<Task>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        std::fs::write(&path, text).unwrap();
        read_tasks(&[path]).map_err(|error| error.to_string())
    }

    /// Checks that items have their line numbers (empty lines counted), and that the files of a folder are read in
    /// the order of their names.
    #[test]
    fn items_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("second.jsonl", CLOZE);
        write("first.jsonl", &format!("\n{CHOICE}\n\n{CHOICE}\n"));
        write("notes.txt", "no task");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, CHOICE.as_bytes()).unwrap();
        std::fs::write(folder.path().join("third.jsonl.gz"), gzip.finish().unwrap()).unwrap();
        let tasks = read_tasks(&[folder.path().into()]).unwrap();
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["first", "second", "third"]);
        assert_eq!([tasks[0].is_cloze(), tasks[1].is_cloze()], [false, true]);
        let item = &tasks[0].items[1];
        assert_eq!((item.line, item.answer), (4, 1));
        assert_eq!((item.context.as_str(), item.delimiter.as_str()), ("a", " "));
        assert_eq!(item.choices, ["b", "c"]);
        assert_eq!(tasks[1].items[0].delimiter, "");

        let again = [folder.path().into(), folder.path().join("first.jsonl")];
        let error = read_tasks(&again).unwrap_err().to_string();
        assert!(
            error.contains("`first`") && error.contains("already"),
            "{error}"
        );
    }

    /// Checks that invalid lines are refused, with file, line and expected form.
    #[test]
    fn lines_that_are_no_items_are_refused() {
        let cases = [
            (r#"{"context": "a", "answer": 0}"#, "no `choices`"),
            (r#"{"choices": ["b"], "answer": 0}"#, "no `context`"),
            (
                r#"{"context": "a", "choices": ["b"]}"#,
                "no `answer`: expected 0",
            ),
            (
                r#"{"context": 3, "choices": ["b"], "answer": 0}"#,
                "`context` is `3`",
            ),
            (
                r#"{"context": "a", "choices": [], "answer": 0}"#,
                "`choices` is `[]`",
            ),
            (
                r#"{"context": "a", "choices": "b", "answer": 0}"#,
                "expected a list",
            ),
            (
                r#"{"context": "a", "choices": ["b", 2], "answer": 0}"#,
                "`choices[1]` is `2`",
            ),
            (
                r#"{"context": "a", "choices": ["b", ""], "answer": 0}"#,
                "`choices[1]` is empty",
            ),
            (
                r#"{"context": "a", "choices": ["b", "c"], "answer": 2}"#,
                "from 0 to 1",
            ),
            (
                r#"{"context": "a", "choices": ["b", "c"], "answer": -1}"#,
                "`answer` is `-1`",
            ),
            (
                r#"{"context": "a", "choices": ["b", "c"], "answer": "c"}"#,
                "`answer` is `\"c\"`",
            ),
            (
                r#"{"context": "a", "choices": ["b", "c"], "answer": 0.5}"#,
                "`answer` is `0.5`",
            ),
            (
                r#"{"context": "a", "choices": ["b", "c"], "answer": true}"#,
                "`answer` is `true`",
            ),
            ("[1]", "not an item"),
            ("{", "not an item"),
            (CLOZE, "line 1 has several"),
        ];
        for (line, expected) in cases {
            let error = read(&format!("{CHOICE}\n{line}\n")).unwrap_err();
            assert!(error.contains("letters.jsonl:2`"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let bad = format!("{}{CHOICE}\n{CLOZE}\n", "[1]\n".repeat(12));
        let error = read(&bad).unwrap_err();
        assert!(
            error.starts_with("13 lines are not items of a task; the first 10:\n"),
            "{error}"
        );
        assert!(
            error.contains("letters.jsonl:10`") && !error.contains("letters.jsonl:11`"),
            "{error}"
        );
        let empty = read("\n").unwrap_err();
        assert!(
            empty.contains("letters.jsonl") && empty.contains("no items"),
            "{empty}"
        );
        let folder = tempfile::tempdir().unwrap();
        let none = read_tasks(&[folder.path().into()]).unwrap_err().to_string();
        assert!(none.contains("no `.jsonl` file"), "{none}");
        assert!(read_tasks(&[folder.path().join("missing.jsonl")]).is_err());
    }
}
