//! Tests of the split of small domains: the held-out split is chosen by content and never takes documents that were
//! trained on.

use std::collections::BTreeSet;

use polymath_data::{Dataset, HeldoutSplit, NoProgress, Split, prepare};
use tokenizers::Tokenizer;

use crate::support::desk::{Desk, sentences};

/// Returns the texts of all documents in a split.
fn texts(dataset: &Dataset, domain: &str, split: Split) -> BTreeSet<String> {
    let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
    let shard = dataset.shard(domain, split).unwrap();
    let documents = (0..shard.documents()).map(|index| {
        let document = shard.document(index);
        let mut tokens = Vec::new();
        document.copy_tokens(0..document.len() - 1, &mut tokens);
        tokenizer.decode(&tokens, false).unwrap()
    });
    documents.collect()
}

fn has_dev_and_test(dataset: &Dataset, domain: &str) -> bool {
    let shard = dataset.shard(domain, Split::Heldout).unwrap();
    let splits: BTreeSet<&str> = (0..shard.documents())
        .map(|index| shard.split_of(index).name())
        .collect();
    splits.contains("dev") && splits.contains("test")
}

fn note(number: usize) -> String {
    let lines =
        (0..4 + number % 5).map(|line| format!("Line {line} of note {number} is short.\n\n"));
    format!("# Note {number}\n\n{}", lines.collect::<String>())
}

/// Creates a workspace with `count` Markdown files in `notes` and the default held-out share.
fn desk_of_notes(count: usize) -> Desk {
    let mut desk = Desk::new();
    desk.config.heldout_fraction = 0.05;
    for number in 0..count {
        desk.file(&format!("notes/{number}.md"), note(number));
    }
    desk.domain("notes", &["notes"]);
    desk
}

/// Checks that two or more small files always give both splits, for any seed: at least the share is held out, never
/// most of the files.
#[test]
fn few_files_have_a_heldout_side() {
    for count in [2, 3, 5, 8, 14, 40] {
        for seed in 0..6 {
            let mut desk = desk_of_notes(count);
            desk.config.seed = seed;
            let dataset = desk.prepare().unwrap();
            let (train, held) = (
                texts(&dataset, "notes", Split::Train),
                texts(&dataset, "notes", Split::Heldout),
            );
            let least = if count < 8 { 1 } else { 2 };
            assert!(
                held.len() >= least && held.len() <= count / 2,
                "{count} {seed}: {}",
                held.len()
            );
            let all: BTreeSet<String> = train.union(&held).cloned().collect();
            assert_eq!(
                all,
                (0..count).map(note).collect(),
                "each file whole, on one side"
            );
            assert!(count < 8 || has_dev_and_test(&dataset, "notes"));
        }
    }
}

/// Checks that adding files does not move trained documents to the held-out split, and that the rule still holds out
/// new ones.
#[test]
fn a_grown_folder_holds_out_nothing_that_was_trained_on() {
    for seed in 0..4 {
        let mut desk = desk_of_notes(1);
        desk.config.seed = seed;
        desk.file("notes/0.md", note(0).repeat(20));
        let mut trained = BTreeSet::new();
        for count in [1, 2, 3, 9, 14, 15, 30, 120, 700] {
            for number in 1..count {
                desk.file(&format!("notes/{number}.md"), note(number));
            }
            let dataset = prepare(&desk.config, true, &NoProgress).unwrap();
            let held = texts(&dataset, "notes", Split::Heldout);
            assert!(
                !held.is_empty() && held.is_disjoint(&trained),
                "{count} {seed}"
            );
            assert!(
                held.len() as f64 >= (0.05 * count as f64).min(30.0),
                "{count} {seed}"
            );
            let train = texts(&dataset, "notes", Split::Train);
            assert!(!train.is_empty() && held.is_disjoint(&train));
            trained.extend(train);
        }
    }
}

/// Checks that the quota acts only if the rule alone holds out too little, so that otherwise a document is in the
/// same split in every dataset.
#[test]
fn the_quota_only_fills_a_shortfall() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 400));
    desk.domain("birds", &["a.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let birds = &dataset.manifest().domains["birds"];
    assert!(birds.heldout.documents > 60 && birds.heldout_by_quota == 0);
    let held = texts(&dataset, "birds", Split::Heldout);

    // Twenty of the documents in a folder of their own: those that were held out still are.
    let some: String = sentences("Bird", 400)
        .lines()
        .take(20)
        .map(|line| format!("{line}\n"))
        .collect();
    desk.file("b.jsonl", some);
    desk.config.output = desk.folder.path().join("second");
    desk.config.domains.clear();
    desk.domain("birds", &["b.jsonl"]);
    let few = desk.prepare().unwrap();
    let (few_held, few_trained) = (
        texts(&few, "birds", Split::Heldout),
        texts(&few, "birds", Split::Train),
    );
    assert!(few_held.len() >= 4, "{}", few_held.len());
    assert!(few_trained.is_disjoint(&held));
}

/// Checks that a single text of 20 kB or more is cut near its end: the end is held out in pieces, no text is lost,
/// and both `dev` and `test` have some.
#[test]
fn a_lone_text_holds_out_its_tail() {
    let paragraph = |number: usize| {
        format!(
            "Paragraph {number} says that {} is a number.\n\n",
            number * 37
        )
    };
    for (paragraphs, name) in [(450, "short"), (25_000, "long"), (70_000, "huge")] {
        let text: String = (0..paragraphs).map(paragraph).collect();
        let mut desk = Desk::new();
        desk.config.heldout_fraction = 0.05;
        desk.file("input.txt", &text);
        desk.domain(name, &["input.txt"]);
        let dataset = desk.prepare().unwrap();
        let manifest = &dataset.manifest().domains[name];
        assert!(manifest.tail_held_out);
        assert!(manifest.heldout.documents >= 6, "{manifest:?}");
        assert_eq!(
            manifest.train.bytes + manifest.heldout.bytes,
            text.len() as u64
        );
        let share = manifest.heldout.bytes as f64 / text.len() as f64;
        assert!((0.05..0.3).contains(&share), "{name}: {share}");
        let shard = dataset.shard(name, Split::Heldout).unwrap();
        let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
        let mut tail = String::new();
        for index in 0..shard.documents() {
            let mut tokens = Vec::new();
            let document = shard.document(index);
            document.copy_tokens(0..document.len() - 1, &mut tokens);
            let piece = tokenizer.decode(&tokens, false).unwrap();
            assert!(
                piece.starts_with("Paragraph") && piece.ends_with("\n\n"),
                "{piece}"
            );
            tail += &piece;
        }
        assert!(text.ends_with(&tail));
        assert!(has_dev_and_test(&dataset, name));
        let test =
            (0..shard.documents()).filter(|index| shard.split_of(*index) == HeldoutSplit::Test);
        assert!(test.count() >= 3);
    }
}

/// Checks that a single document that is an example with a prompt is refused, since it can't be cut, and that a text
/// without spaces is cut at a character.
#[test]
fn uncuttable_documents_are_refused() {
    let mut desk = Desk::new();
    let response = "word ".repeat(400);
    desk.file(
        "one.jsonl",
        format!("{{\"prompt\": \"p\", \"response\": \"{response}\"}}"),
    );
    desk.domain("one", &["one.jsonl"]);
    let refused = desk.prepare().unwrap_err().to_string();
    assert!(
        refused.contains("domain `one`") && refused.contains("give more documents"),
        "{refused}"
    );
    let mut desk = Desk::new();
    desk.file("one.txt", "é".repeat(30_001));
    desk.domain("one", &["one.txt"]);
    let dataset = desk.prepare().unwrap();
    let manifest = &dataset.manifest().domains["one"];
    assert_eq!(manifest.train.bytes + manifest.heldout.bytes, 60_002);
}

/// Checks that long documents in a small held-out split are cut at paragraphs, also those of `heldout_paths`.
#[test]
fn long_heldout_documents_are_cut() {
    let mut desk = Desk::new();
    let book = |number: usize| {
        let paragraph = |at| format!("Book {number}, paragraph {at}: and so it went on.\n\n");
        (0..2000).map(paragraph).collect::<String>()
    };
    for number in 0..5 {
        desk.file(&format!("books/{number}.txt"), book(number));
    }
    let held = desk.file("val.txt", book(9));
    desk.domain("books", &["books"]);
    desk.file("other.txt", book(8));
    desk.domain("named", &["other.txt"]).heldout_paths = vec![held];
    let dataset = desk.prepare().unwrap();
    for name in ["books", "named"] {
        let domain = &dataset.manifest().domains[name];
        assert!(
            domain.heldout_cut > 0 && domain.heldout.documents >= 8,
            "{domain:?}"
        );
        assert!(has_dev_and_test(&dataset, name));
    }
    let starts: BTreeSet<String> = texts(&dataset, "books", Split::Heldout)
        .iter()
        .map(|text| text[..6].to_owned())
        .collect();
    let trained = texts(&dataset, "books", Split::Train);
    assert!(
        trained.iter().all(|text| !starts.contains(&text[..6])),
        "a book is on one side"
    );
}
