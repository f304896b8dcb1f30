//! Tests of every line that the commands of a whole line print, against the files that they read and write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, read_json, records, write_corpus};

const DOMAINS: [&str; 3] = ["asked", "counting", "letters"];

/// Returns the lines of stdout and of stderr of a command that succeeds.
fn told(mut command: Command) -> [Vec<String>; 2] {
    let output = command.output().unwrap();
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let [said, noted] = [&output.stdout, &output.stderr].map(|bytes| lines(bytes));
    assert!(output.status.success(), "{noted:?}");
    [said, noted]
}

fn command(at: &Path, arguments: &[&str]) -> Command {
    let mut command = polymath(at);
    command.args(arguments);
    command
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the raw texts of a domain, in order.
fn texts(at: &Path, domain: &str) -> Vec<String> {
    let raw = std::fs::read_to_string(at.join(format!("raw/{domain}.jsonl"))).unwrap();
    let text = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["text"].as_str().unwrap().to_owned()
    };
    raw.lines().map(text).collect()
}

/// Checks the table and the overlaps of a dataset against its manifest.
fn check_summary(at: &Path, lines: &[String]) {
    let manifest = read_json(&at.join("data/dataset.json"));
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(lines[0], "data: 3 domains, 300 tokens in the vocabulary");
    assert_eq!(
        lines[1],
        "  documents begin with `<|endoftext|>` (0, from the trained tokenizer) and end with `<|endoftext|>` (0, from the \
         trained tokenizer)"
    );
    assert_eq!(
        words(&lines[2]),
        "domain train MB tokens held out groups tokens bytes/tok duplicates"
    );
    for (line, name) in lines[3..].iter().zip(DOMAINS) {
        let domain = &manifest["domains"][name];
        let (train, heldout) = (&domain["train"], &domain["heldout"]);
        let expected = format!(
            "{name} {:.2} {} {} {} {} {:.2} {}",
            number(&train["bytes"]) / 1e6,
            train["tokens"],
            heldout["documents"],
            heldout["groups"],
            heldout["tokens"],
            number(&train["bytes"]) / number(&train["tokens"]),
            domain["duplicates_dropped"]
        );
        assert_eq!(words(line), expected);
    }
    let overlaps = manifest["overlaps"].as_array().unwrap().iter();
    let overlaps: Vec<String> = overlaps
        .filter(|one| number(&one["exact_share"]) > 0.0 || number(&one["ngram_share"]) > 0.01)
        .map(|one| {
            format!(
                "  overlap: {:.1} % of the 13-word sequences held out in {} also occur in the training text of {} ({:.2} % of \
                 whole documents)",
                number(&one["ngram_share"]) * 100.0,
                one["heldout"].as_str().unwrap(),
                one["train"].as_str().unwrap(),
                number(&one["exact_share"]) * 100.0
            )
        })
        .collect();
    assert!(!overlaps.is_empty(), "{manifest}");
    let said = lines.iter().filter(|line| line.starts_with("  overlap"));
    assert_eq!(said.cloned().collect::<Vec<_>>(), overlaps);
}

/// Checks what the stages of a preparation say, against the raw texts and the manifest.
fn check_stages(at: &Path, lines: &[String]) {
    let all: Vec<String> = DOMAINS.iter().flat_map(|name| texts(at, name)).collect();
    let unique: BTreeSet<&String> = all.iter().collect();
    let bytes: usize = unique.iter().map(|text| text.len()).sum();
    let (read, size) = (unique.len(), format!("{:.0} kB", bytes as f64 / 1e3));
    let manifest = read_json(&at.join("data/dataset.json"));
    let held = DOMAINS.iter().map(|name| {
        let documents = &manifest["domains"][*name]["heldout"]["documents"];
        documents.as_u64().unwrap()
    });
    let held: u64 = held.sum();
    let expected = [
        format!(
            "reading: {read} documents, {size} of text, {} duplicates dropped (",
            all.len() - read
        ),
        format!("splitting: {held} documents held out"),
        "training the tokenizer: 300 tokens, from ".to_owned(),
        format!("tokenizing: {size} of text ("),
    ];
    for (line, begin) in lines.iter().zip(&expected) {
        assert!(line.starts_with(begin), "{line}: {begin}");
        let seconds = line.rsplit_once(" (").unwrap().1;
        let seconds = seconds.strip_suffix(" s)").unwrap().parse::<f64>().unwrap();
        assert!((0.0..600.0).contains(&seconds), "{line}");
    }
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
}

/// Returns the lines about the evaluations of a run, which is chosen by `decides`, or by the mean of these domains.
fn evaluations(run: &Path, decides: &[&str]) -> Vec<String> {
    let mut lowest: BTreeMap<String, f64> = BTreeMap::new();
    let mut best = f64::INFINITY;
    let mut lines = Vec::new();
    for record in records(run) {
        let Some(bits) = record["heldout_bits_per_byte"].as_object() else {
            continue;
        };
        let bits: BTreeMap<&String, f64> = bits
            .iter()
            .map(|(name, bits)| (name, bits.as_f64().unwrap()))
            .collect();
        let is_first = lowest.is_empty();
        let mut values: Vec<String> = Vec::new();
        for (name, bits) in &bits {
            let is_lower = lowest.get(*name).is_none_or(|before| bits < before);
            if is_lower {
                lowest.insert((*name).clone(), *bits);
            }
            let mark = if is_lower && !is_first { " (best)" } else { "" };
            values.push(format!("{name} {bits:.3}{mark}"));
        }
        let chosen = decides.iter().map(|name| bits[&(*name).to_owned()]);
        let score = chosen.sum::<f64>() / decides.len() as f64;
        let is_best = record["step"] != 0 && score < best;
        if is_best {
            best = score;
        }
        if decides.len() > 1 {
            values.push(format!(
                "mean {score:.3}{}",
                if is_best { " (best)" } else { "" }
            ));
        }
        let mut line = format!(
            "step {}  held-out bits per byte: {}",
            record["step"],
            values.join("  ")
        );
        if is_best {
            let by = if decides.len() > 1 {
                "mean"
            } else {
                decides[0]
            };
            line += &format!("; best checkpoint, by {by}");
        }
        lines.push(line);
    }
    lines
}

/// Checks every line that a training prints: its size, its evaluations, its end, and what comes next.
fn check_training(at: &Path, run: &str, decides: &[&str], [said, noted]: [Vec<String>; 2]) {
    let begin = format!("{run}: 36384 parameters, 36384 of them trained; ");
    let sizes: Vec<&String> = noted
        .iter()
        .filter(|line| line.starts_with(&begin))
        .collect();
    assert_eq!(sizes.len(), 1, "{noted:?}");
    let told = noted.iter().filter(|line| line.starts_with("step "));
    let expected = evaluations(&at.join(run), decides);
    assert_eq!(told.cloned().collect::<Vec<_>>(), expected);
    let state = read_json(&at.join(run).join("latest/state.json"));
    let (steps, best) = (&state["step"], &state["best"]);
    let name = match decides {
        [only] => (*only).to_owned(),
        several => format!("the mean of {} domains", several.len()),
    };
    let bits = best["score"]["bits_per_byte"].as_f64().unwrap();
    assert_eq!(
        said,
        [format!(
            "{run}: {steps} steps done, best after step {} with {bits:.4} bits per byte of {name}: {run}/best",
            best["step"]
        )]
    );
    let link = std::fs::read_link(at.join(run).join("best")).unwrap();
    let step = best["step"].as_u64().unwrap();
    assert_eq!(link, Path::new(&format!("step-{step:06}")));
}

/// Checks the list of runs, but for their dates, against the sizes of their files and their last evaluations.
fn check_list(at: &Path) {
    fn size(folder: &Path) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| match entry.file_type().unwrap() {
                kind if kind.is_dir() => size(&entry.path()),
                kind if kind.is_file() => entry.metadata().unwrap().len(),
                _ => 0,
            })
            .sum()
    }
    // Given out of order, each is listed once and by its name.
    let [lines, _] = told(command(
        at,
        &["runs", "runs/full", "runs/base", "runs/full"],
    ));
    assert_eq!(words(&lines[0]), "run state size date (UTC) from held-out");
    let rows = [
        ("runs/base", 30, "pretrain", &["counting", "letters"][..]),
        (
            "runs/full",
            4,
            "runs/tuned/best → asked → asked (full)",
            &["asked"],
        ),
    ];
    assert_eq!(lines.len(), 1 + rows.len(), "{lines:?}");
    for (line, (run, steps, from, scored)) in lines[1..].iter().zip(rows) {
        let last = records(&at.join(run)).into_iter().rev();
        let bits = last.filter_map(|record| {
            let bits = record["heldout_bits_per_byte"].as_object()?;
            Some(
                scored
                    .iter()
                    .map(|name| bits[*name].as_f64().unwrap())
                    .sum::<f64>(),
            )
        });
        let bits = bits.into_iter().next().unwrap() / scored.len() as f64;
        let bytes = size(&at.join(run)) as f64;
        let size = match bytes < 1e6 {
            true => format!("{:.0} kB", bytes / 1e3),
            false => format!("{:.1} MB", bytes / 1e6),
        };
        let name = if scored.len() > 1 { "mean" } else { scored[0] };
        let line = words(line);
        let cells: Vec<&str> = line.split(' ').collect();
        let [before, after] = [&cells[..6], &cells[8..]].map(|cells| cells.join(" "));
        assert_eq!(before, format!("{run} finished, {steps} steps {size}"));
        assert_eq!(after, format!("{from} {name} {bits:.4}"));
    }
}

/// Checks that each document of a split is printed with the file and line that it was read from.
fn check_sources(at: &Path) {
    let raw = texts(at, "asked");
    let mut of_splits = Vec::new();
    for split in ["train", "heldout", "dev", "test"] {
        let text = [
            "dataset", "text", "data", "--domain", "asked", "--split", split,
        ];
        let [plain, _] = told(command(at, &text));
        let [lines, _] = told(command(at, &[&text[..], &["--sources"]].concat()));
        assert_eq!(lines.len(), 2 * plain.len(), "{split}");
        let mut numbers = Vec::new();
        for (pair, text) in lines.chunks(2).zip(&plain) {
            let rest = pair[0].strip_prefix("== document ").unwrap();
            let (number, rest) = rest.split_once(" (raw/asked.jsonl:").unwrap();
            let (line, group) = rest.split_once(", group ").unwrap();
            assert_eq!(group.len(), 17, "{group}");
            let line: usize = line.parse().unwrap();
            assert_eq!((&pair[1], &raw[line - 1]), (text, text), "{split}");
            numbers.push(number.parse::<usize>().unwrap());
        }
        assert!(numbers.is_sorted() && numbers[0] >= 1, "{numbers:?}");
        of_splits.push((numbers, plain));
    }
    let [train, heldout, dev, test] = &of_splits[..] else {
        unreachable!("four splits")
    };
    for whole in [train, heldout] {
        assert_eq!(whole.0, (1..=whole.0.len()).collect::<Vec<_>>());
    }
    let mut both = [&dev.0[..], &test.0].concat();
    both.sort_unstable();
    assert_eq!(both, heldout.0);
    assert!(!dev.0.is_empty() && !test.0.is_empty());
    let mut all = [&train.1[..], &heldout.1].concat();
    let mut unique = raw.clone();
    all.sort();
    unique.sort();
    unique.dedup();
    assert_eq!(all, unique);
}

/// Checks every line that a preparation, a pretraining, two fine-tunings one after the other, and the lists of dataset
/// and runs print.
#[test]
fn commands_tell_what_is_in_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    let [said, noted] = told(command(at, &["prepare", "prepare.toml"]));
    check_summary(at, &said);
    check_stages(at, &noted);
    let [info, _] = told(command(at, &["dataset", "info", "data"]));
    assert_eq!(info, said);
    check_sources(at);

    let often = ["pretrain", "pretrain.toml", "evaluation.every=10"];
    let lines = told(command(at, &often));
    let next = "next: `polymath evaluate runs/base` scores it, `polymath generate runs/base --prompt TEXT` lets it write, and \
                `polymath tune runs/base TEXT` or `base = \"runs/base\"` in a fine-tuning config specializes it";
    assert_eq!(lines[1].last().map(String::as_str), Some(next));
    let size = "30 steps of 4 rows of 48 tokens; about ";
    assert!(lines[1][0].contains(size), "{:?}", lines[1]);
    check_training(at, "runs/base", &["counting", "letters"], lines);

    let lines = told(finetune(at, "tuned", &[]));
    check_training(at, "runs/tuned", &["asked"], lines);
    // At such a rate, an earlier checkpoint than the last is mostly the best.
    let wild = [
        "base=runs/tuned/best",
        "training.steps=4",
        "training.learning_rate=1.0",
        "training.schedule=constant",
        "evaluation.every=1",
        "checkpoint.keep=9",
    ];
    let lines = told(finetune(at, "full", &wild));
    let next = "next: `polymath report runs/tuned/best runs/full -o report` says what it gained and forgot, and `polymath chat \
                runs/full runs/tuned/best` talks with both";
    assert_eq!(lines[1].last().map(String::as_str), Some(next));
    check_training(at, "runs/full", &["asked"], lines);
    check_list(at);
}
