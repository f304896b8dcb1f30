//! Tests of groups: no group and no near-duplicate is in two splits, for any sources in any order.

use std::collections::{BTreeMap, BTreeSet};

use polymath_data::{Dataset, GroupBy, GroupKind, NoProgress, Split, TokenShard, prepare};
use proptest::prelude::*;

use crate::support::desk::Desk;

/// A stored document: its text, its group, and its split (`train`, `dev`, `test` or `audit`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    text: String,
    group: u64,
    side: &'static str,
}

fn placed(dataset: &Dataset, domain: &str) -> Vec<Placed> {
    let token_bytes = dataset.token_bytes().unwrap();
    let mut all = Vec::new();
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard(domain, split).unwrap();
        for index in 0..shard.documents() {
            all.push(Placed {
                text: token_bytes.text(&shard.document(index)),
                group: shard.group_of(index).unwrap(),
                side: match split {
                    Split::Train => "train",
                    Split::Heldout => shard.split_of(index).name(),
                },
            });
        }
    }
    all.sort();
    all
}

/// Returns, for each key, the splits in which it has documents.
fn sides<K: Ord>(
    placed: &[Placed],
    key: impl Fn(&Placed) -> Option<K>,
) -> BTreeMap<K, BTreeSet<&'static str>> {
    let mut sides: BTreeMap<K, BTreeSet<&'static str>> = BTreeMap::new();
    for document in placed {
        if let Some(key) = key(document) {
            sides.entry(key).or_default().insert(document.side);
        }
    }
    sides
}

/// Returns a text whose word order depends on `number`, so that no two numbers give the same text.
fn essay(number: u64) -> String {
    let word = |at: u64| {
        (number + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(at as u32 * 7)
            % 997
            + at
    };
    (0..60).map(|at| format!("word{} ", word(at))).collect()
}

/// Returns an essay with its first word changed.
fn edited(number: u64, copy: u64) -> String {
    essay(number).replacen("word", &format!("edited{copy}"), 1)
}

/// Strategy for random documents, each given by its work, its essay and its edition.
fn library() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    prop::collection::vec((0..40u64, 0..200u64, 0..3u64), 60..200)
}

fn lines(library: &[(u64, u64, u64)]) -> String {
    let line = |(work, number, edition): &(u64, u64, u64)| {
        let text = match edition {
            0 => essay(*number),
            edition => edited(*number, *edition),
        };
        serde_json::json!({ "text": text, "work": work }).to_string() + "\n"
    };
    library.iter().map(line).collect()
}

/// Returns the part of a text that identifies its essay, which no edition changes.
fn essay_of(text: &str) -> String {
    text.split_whitespace()
        .skip(10)
        .take(20)
        .collect::<Vec<_>>()
        .join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Checks that each work, and all near-duplicates of it, are in one split, and that the order of lines and files
    /// changes nothing.
    #[test]
    fn groups_are_on_one_side(library in library(), seed in 0..3u64, by_work in any::<bool>()) {
        let mut orders = Vec::new();
        for order in 0..2 {
            let mut library = library.clone();
            if order == 1 {
                library.reverse();
            }
            let mut desk = Desk::new();
            desk.config.seed = seed;
            let (first, second) = library.split_at(library.len() / 3);
            desk.file("b.jsonl", lines(first));
            desk.file("a.jsonl", lines(second));
            let domain = desk.domain("essays", &["*.jsonl"]);
            domain.group_field = by_work.then(|| "work".to_owned());
            let dataset = desk.prepare().unwrap();
            let manifest = &dataset.manifest().domains["essays"];
            prop_assert_eq!(manifest.group, if by_work { GroupKind::Field } else { GroupKind::Record });
            let placed = placed(&dataset, "essays");
            for (group, sides) in sides(&placed, |document| Some(document.group)) {
                prop_assert_eq!(sides.len(), 1, "group {} is on {:?}", group, sides);
            }
            if manifest.near_duplicates_left == 0 {
                for (essay, sides) in sides(&placed, |document| Some(essay_of(&document.text))) {
                    prop_assert_eq!(sides.len(), 1, "{} is on {:?}: {:?}", essay, sides, manifest);
                }
            }
            let groups: BTreeSet<u64> = placed.iter().filter(|of| of.side != "train").map(|of| of.group).collect();
            prop_assert_eq!(groups.len() as u64, manifest.heldout.groups);
            orders.push(placed);
        }
        prop_assert_eq!(&orders[0], &orders[1]);
    }
}

/// Checks that a domain with three near-equal copies of every text still gets a held-out split, and that no copy of a
/// held-out text is in the training split.
#[test]
fn triplicates_are_held_out_together() {
    for seed in 0..3 {
        let mut desk = Desk::new();
        desk.config.seed = seed;
        desk.config.heldout_fraction = 0.05;
        let library: Vec<(u64, u64, u64)> = (0..100)
            .flat_map(|number| (0..3).map(move |edition| (0, number, edition)))
            .collect();
        desk.file("a.jsonl", lines(&library));
        desk.domain("essays", &["a.jsonl"]);
        let dataset = desk.prepare().unwrap();
        let manifest = &dataset.manifest().domains["essays"];
        assert_eq!(manifest.near_duplicates_left, 0, "{manifest:?}");
        let placed = placed(&dataset, "essays");
        assert_eq!(placed.len(), 300);
        for (essay, sides) in sides(&placed, |document| Some(essay_of(&document.text))) {
            assert_eq!(sides.len(), 1, "{essay} is on {sides:?}");
        }
        // The quota is 15 documents; each group holds the three copies of a text.
        assert!((4..=8).contains(&manifest.heldout.groups), "{manifest:?}");
        assert_eq!(manifest.heldout.documents, 3 * manifest.heldout.groups);
    }
}

/// Checks that adding works does not move a work that was trained on to the held-out split, with or without
/// near-duplicates.
#[test]
fn grown_libraries_hold_out_nothing_that_was_trained_on() {
    for seed in 0..4 {
        let mut desk = Desk::new();
        desk.config.seed = seed;
        let mut trained = BTreeSet::new();
        let mut library: Vec<(u64, u64, u64)> = (0..12).map(|number| (0, number, 0)).collect();
        for works in [1, 2, 9, 30, 100, 250] {
            for work in 1..works {
                // Each work has texts of its own; some also have an edition of another work's text.
                library.extend((0..3).map(|at| (work, 1000 + work * 3 + at, 0)));
                if work % 5 == 0 {
                    library.push((work, 1000 + (work * 7 % works) * 3, 1));
                }
            }
            desk.file("a.jsonl", lines(&library));
            desk.domain("essays", &["a.jsonl"]).group_field = Some("work".into());
            let dataset = prepare(&desk.config, true, &NoProgress).unwrap();
            let placed = placed(&dataset, "essays");
            let of = |train: bool| -> BTreeSet<String> {
                let on_side = placed.iter().filter(|of| (of.side == "train") == train);
                on_side.map(|of| of.text.clone()).collect()
            };
            let held = of(false);
            assert!(
                !held.is_empty() && held.is_disjoint(&trained),
                "{works} {seed}"
            );
            trained.extend(of(true));
        }
    }
}

/// Checks that `heldout_groups` holds out that many works, up to half of them.
#[test]
fn so_many_groups_are_held_out() {
    let library: Vec<(u64, u64, u64)> = (0..200).map(|number| (number % 50, number, 0)).collect();
    for (wanted, expected) in [(None, 2..=8), (Some(20), 20..=20), (Some(1000), 25..=25)] {
        let mut desk = Desk::new();
        desk.config.heldout_fraction = 0.05;
        desk.file("a.jsonl", lines(&library));
        let domain = desk.domain("essays", &["a.jsonl"]);
        domain.group_field = Some("work".into());
        domain.heldout_groups = wanted;
        let dataset = desk.prepare().unwrap();
        let groups = dataset.manifest().domains["essays"].heldout.groups;
        assert!(expected.contains(&groups), "{wanted:?}: {groups}");
    }
}

/// Checks that the documents of a single work are grouped by passages, that the manifest says so, and that the same
/// holds for a single text.
#[test]
fn one_work_is_split_by_passages() {
    let library: Vec<(u64, u64, u64)> = (0..200).map(|number| (7, number, 0)).collect();
    let mut desk = Desk::new();
    desk.file("a.jsonl", lines(&library));
    desk.domain("essays", &["a.jsonl"]).group_field = Some("work".into());
    let book: String = (0..300).map(|number| essay(number) + "\n\n").collect();
    desk.file("book.txt", book);
    desk.domain("book", &["book.txt"]);
    let dataset = desk.prepare().unwrap();
    for name in ["essays", "book"] {
        let manifest = &dataset.manifest().domains[name];
        assert_eq!(manifest.group, GroupKind::Section);
        let heldout = dataset.shard(name, Split::Heldout).unwrap();
        assert_eq!(heldout.group_kind(), GroupKind::Section);
        assert!(manifest.heldout.groups >= 20, "{manifest:?}");
        let groups: BTreeSet<u64> = heldout.groups().unwrap().into_iter().collect();
        let train = dataset.shard(name, Split::Train).unwrap();
        assert!(groups.is_disjoint(&train.groups().unwrap().into_iter().collect()));
    }
}

/// Checks that files are groups if the config says so and by default, and that `section` makes the pieces of a file
/// the groups.
#[test]
fn files_are_groups() {
    let mut desk = Desk::new();
    for file in 0..30 {
        let library: Vec<(u64, u64, u64)> = (0..6).map(|at| (0, file * 6 + at, 0)).collect();
        desk.file(&format!("lines/{file}.jsonl"), lines(&library));
        let chapter = |at| essay(1000 + file * 40 + at) + "\n\n";
        let book = |from: u64| (from..from + 40).map(chapter).collect::<String>();
        desk.file(&format!("books/{file}.txt"), book(0));
        desk.file(&format!("others/{file}.txt"), book(5000));
    }
    desk.domain("lines", &["lines"]).group = Some(GroupBy::File);
    desk.domain("books", &["books"]);
    desk.domain("passages", &["others"]).group = Some(GroupBy::Section);
    let dataset = desk.prepare().unwrap();
    let lines = placed(&dataset, "lines");
    assert_eq!(lines.len(), 180);
    let groups = sides(&lines, |document| Some(document.group));
    assert!(groups.len() == 30 && groups.values().all(|sides| sides.len() == 1));
    let heldout = |name: &str| dataset.shard(name, Split::Heldout).unwrap();
    let books = &dataset.manifest().domains["books"];
    assert_eq!(books.group, GroupKind::File);
    assert!(books.heldout.documents > books.heldout.groups, "{books:?}");
    let (sources, books) = (dataset.sources("books").unwrap(), heldout("books"));
    let mut by_file = BTreeMap::new();
    for index in 0..books.documents() {
        let source = sources.source_of(&books, index).unwrap();
        assert!(source.path.contains("books/") && source.record.is_none());
        let group = *by_file
            .entry(source.path)
            .or_insert_with(|| books.group_of(index));
        assert_eq!(group, books.group_of(index));
    }
    let passages = heldout("passages");
    assert_eq!(passages.group_kind(), GroupKind::Section);
    assert_eq!(passages.groups().unwrap().len(), passages.documents());
}

/// Checks that every document's source file and record can be looked up.
#[test]
fn documents_name_their_sources() {
    let mut desk = Desk::new();
    let library: Vec<(u64, u64, u64)> = (0..50).map(|number| (number, number, 0)).collect();
    desk.file("a.jsonl", lines(&library[..20]));
    desk.file("b.jsonl", "\n".to_owned() + &lines(&library[20..]));
    desk.domain("essays", &["*.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let (sources, token_bytes) = (
        dataset.sources("essays").unwrap(),
        dataset.token_bytes().unwrap(),
    );
    let mut seen = 0;
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard("essays", split).unwrap();
        for index in 0..shard.documents() {
            let source = sources.source_of(&shard, index).unwrap();
            let lines = std::fs::read_to_string(&source.path).unwrap();
            let record = source.record.unwrap();
            assert_eq!(source.to_string(), format!("{}:{record}", source.path));
            let line = lines.lines().nth(record as usize - 1).unwrap();
            assert!(line.contains(token_bytes.text(&shard.document(index)).trim()));
            seen += 1;
        }
    }
    assert_eq!(seen, 50);
}

/// Checks that a license file that is in every project does not join all projects into one group, but is left out of
/// the held-out split.
#[test]
fn a_common_document_does_not_join_groups() {
    let mut desk = Desk::new();
    let mut library = Vec::new();
    for project in 0..60 {
        library.extend((0..8).map(|at| (project, project * 8 + at, 0)));
    }
    let licence = |project: u64| {
        let text = essay(9999) + &format!("Copyright {project}");
        serde_json::json!({ "text": text, "work": project }).to_string() + "\n"
    };
    desk.file(
        "a.jsonl",
        lines(&library) + &(0..60).map(licence).collect::<String>(),
    );
    desk.domain("projects", &["a.jsonl"]).group_field = Some("work".into());
    let dataset = desk.prepare().unwrap();
    let manifest = &dataset.manifest().domains["projects"];
    assert!(manifest.heldout.groups >= 8, "{manifest:?}");
    assert_eq!(manifest.near_duplicates_left_out, manifest.heldout.groups);
    assert_eq!(manifest.heldout.documents, manifest.heldout.groups * 8);
}

/// Checks that a group with most of the text is trained on, with any hash, and with few or many other groups.
#[test]
fn most_of_the_text_is_trained_on() {
    for (groups, seeds) in [(20, 12), (150, 6)] {
        for seed in 0..seeds {
            let mut desk = Desk::new();
            desk.config.seed = seed;
            desk.config.heldout_fraction = 0.3;
            let mut library: Vec<(u64, u64, u64)> = (0..groups).map(|at| (at, at, 0)).collect();
            library.extend((0..5 * groups).map(|at| (9999, 1000 + at, 0)));
            desk.file("a.jsonl", lines(&library));
            desk.domain("essays", &["a.jsonl"]).group_field = Some("work".into());
            let dataset = desk.prepare().unwrap();
            let manifest = &dataset.manifest().domains["essays"];
            assert!(
                manifest.train.bytes > manifest.heldout.bytes,
                "{manifest:?}"
            );
            assert!(manifest.heldout.groups >= groups / 5, "{manifest:?}");
        }
    }
}

/// Checks that impossible settings are refused with the key at fault.
#[test]
fn groups_that_are_none_are_refused() {
    let refused = |change: &dyn Fn(&mut polymath_data::DomainConfig)| {
        let mut desk = Desk::new();
        desk.file("a.jsonl", lines(&[(1, 1, 0), (2, 2, 0), (3, 3, 0)]));
        desk.file("b.txt", essay(1));
        change(desk.domain("essays", &["*.jsonl"]));
        desk.prepare().unwrap_err().to_string()
    };
    let message = refused(&|domain| domain.group_field = Some("book".into()));
    assert!(
        message.contains("a.jsonl:1") && message.contains("`book`"),
        "{message}"
    );
    let message = refused(&|domain| {
        domain.group_field = Some("work".into());
        domain.group = Some(GroupBy::File);
    });
    assert!(message.contains("`domains.essays.group`"), "{message}");
    let message = refused(&|domain| domain.heldout_groups = Some(0));
    assert!(message.contains("heldout_groups"), "{message}");
    let message = refused(&|domain| {
        domain.paths = vec![domain.paths[0].replace("*.jsonl", "b.txt")];
        domain.group_field = Some("work".into());
    });
    assert!(message.contains("group_field"), "{message}");
}

/// Checks that a shard of an earlier version opens: it has no groups, and its documents keep their `dev` and `test`
/// splits.
#[test]
fn older_shards_open() {
    let shard =
        TokenShard::open(std::path::Path::new("tests/groups/version-3.safetensors")).unwrap();
    assert!(!shard.has_groups() && shard.group_of(0).is_none() && shard.groups().is_none());
    assert_eq!(shard.group_kind(), GroupKind::Document);
    assert_eq!(
        shard.group_numbers(),
        (0..shard.documents()).collect::<Vec<_>>()
    );
    let splits: String = (0..shard.documents())
        .map(|index| &shard.split_of(index).name()[..1])
        .collect();
    // Splits of version 3, computed by another program: `d` is `dev`, `t` is `test`.
    assert_eq!(splits, "tdttdtdtdtdddddtdtttdttd");
}
