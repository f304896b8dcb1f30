//! Tests of preparing a dataset from real files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use polymath_data::{Dataset, NoProgress, Split, Texts, prepare_texts};
use tokenizers::Tokenizer;

use crate::support::desk::{Desk, sentences};

fn texts(dataset: &Dataset, domain: &str, split: Split) -> Vec<String> {
    let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
    let shard = dataset.shard(domain, split).unwrap();
    let documents = (0..shard.documents()).map(|index| {
        let document = shard.document(index);
        let mut tokens = Vec::new();
        document.copy_tokens(0..document.len(), &mut tokens);
        assert_eq!(
            tokens.pop(),
            Some(dataset.manifest().tokenizer.eos_token_id)
        );
        let text = tokenizer.decode(&tokens, false).unwrap();
        if !shard.has_loss_mask() {
            assert_eq!(document.bytes, text.len() as u64);
        }
        text
    });
    documents.collect()
}

fn both_sides(dataset: &Dataset, domain: &str) -> BTreeSet<String> {
    let mut all = texts(dataset, domain, Split::Train);
    all.extend(texts(dataset, domain, Split::Heldout));
    all.into_iter().collect()
}

/// Checks that every kind of source, plain or compressed, gives its documents word for word, each once.
#[test]
fn every_kind_of_source_is_read() {
    let mut desk = Desk::new();
    let stories: Vec<String> = (0..40)
        .map(|number| format!("Story {number}\n\nThe end of {number}."))
        .collect();
    for (number, story) in stories.iter().enumerate() {
        let kind = ["txt", "md"][number % 2];
        desk.file(&format!("stories/deep/{number}.{kind}"), story);
    }
    desk.domain("stories", &["stories/**/*.txt", "stories/**/*.md"]);
    let lines = sentences("Atom", 60);
    let lines: Vec<&str> = lines.lines().collect();
    desk.file("atoms/a.jsonl", lines[..20].join("\n"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines[20..40].join("\n").as_bytes()).unwrap();
    desk.file("atoms/b.jsonl.gz", gzip.finish().unwrap());
    let zstd = zstd::encode_all(lines[40..].join("\n").as_bytes(), 1).unwrap();
    desk.file("atoms/c.jsonl.zst", zstd);
    desk.domain("atoms", &["atoms/*"]);

    let dataset = desk.prepare().unwrap();
    assert_eq!(dataset.domain_names(), ["atoms", "stories"]);
    assert_eq!(
        both_sides(&dataset, "stories"),
        stories.into_iter().collect()
    );
    assert_eq!(both_sides(&dataset, "atoms").len(), 60);
    let manifest = &dataset.manifest().domains["atoms"];
    assert_eq!((manifest.files, manifest.read), (3, 60));
    assert!(manifest.heldout.documents > 2 && manifest.train.documents > 30);
    assert_eq!(dataset.manifest().overlaps.len(), 4);
}

/// Checks that a folder gives the files of known kinds in it and in its subfolders, without hidden ones, and that the
/// name of an existing file is not read as a glob.
#[test]
fn folders_are_sources() {
    let mut desk = Desk::new();
    for number in 0..30 {
        let kind = ["txt", "md"][number % 2];
        let name = format!("notes [old]/{}/{number}.{kind}", number % 3);
        desk.file(&name, format!("Note {number} is about {}.", number * 11));
    }
    desk.file("notes [old]/picture.png", b"\x89PNG\r\n\x1a\n");
    desk.file("notes [old]/.git/HEAD.txt", "Not a note.");
    desk.domain("folder", &["notes [old]"]);
    let found = desk.prepare().unwrap();
    assert_eq!(found.manifest().domains["folder"].files, 30);

    desk.config.domains.clear();
    desk.config.output = desk.folder.path().join("other");
    desk.file("more[1].jsonl", sentences("Bird", 60));
    desk.domain("file", &["more[1].jsonl"]);
    let found = desk.prepare().unwrap();
    assert_eq!(found.manifest().domains["file"].files, 1);
}

/// Checks that a domain of few long documents is part of the tokenizer's training text, even with a small sample
/// size.
#[test]
fn every_domain_shapes_the_tokenizer() {
    let mut desk = Desk::new();
    let long = "xylophone zeitgeist ".repeat(20_000);
    desk.file("train.txt", format!("train {long}"));
    desk.file("heldout.txt", format!("held out {long}"));
    desk.file("birds.jsonl", sentences("Bird", 200));
    desk.domain("birds", &["birds.jsonl"]);
    let heldout = desk.folder.path().join("heldout.txt");
    desk.domain("long", &["train.txt"]).heldout_paths = vec![heldout.to_string_lossy().into()];
    desk.config.tokenizer.sample_bytes = Some(8_000);
    let dataset = desk.prepare().unwrap();
    let tokenizer = fs::read_to_string(dataset.tokenizer_path()).unwrap();
    assert!(tokenizer.contains("zeitgeist"), "{tokenizer}");
}

/// Checks that only responses are learned and counted, and that a dataset of plain text has no loss mask.
#[test]
fn prompts_are_masked() {
    let mut desk = Desk::new();
    let pair = |number| {
        format!(
            "{{\"prompt\": \"What is {number}+{number}?\", \"response\": \"{}\"}}\n",
            number * 2
        )
    };
    desk.file("sums.jsonl", (0..50).map(pair).collect::<String>());
    desk.domain("sums", &["sums.jsonl"]);
    let chat = |number| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Say {number}\"}}, \
             {{\"role\": \"assistant\", \"content\": \"{number}!\"}}]}}\n"
        )
    };
    desk.file("chat.jsonl", (0..50).map(chat).collect::<String>());
    desk.domain("chat", &["chat.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
    for domain in ["sums", "chat"] {
        let shard = dataset.shard(domain, Split::Train).unwrap();
        assert!(shard.has_loss_mask());
        for index in 0..shard.documents() {
            let document = shard.document(index);
            let tokens: Vec<u32> = (0..document.len() - 1)
                .filter(|token| document.scored(*token))
                .map(|token| document.token(token))
                .collect();
            let answer = tokenizer.decode(&tokens, false).unwrap();
            assert_eq!(document.bytes, answer.len() as u64);
            assert!(document.scored(document.len() - 1), "the end is learned");
            assert!(
                answer.trim_end_matches(['!', '\n']).parse::<u32>().is_ok(),
                "{answer}"
            );
        }
    }
}

/// Checks that a document's split depends on its own content only, not on the other documents, its file, its letter
/// case or its white space, and that another seed holds out others.
#[test]
fn the_side_is_by_content() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 200));
    desk.domain("birds", &["a.jsonl"]);
    let first = desk.prepare().unwrap();
    let held: BTreeSet<String> = texts(&first, "birds", Split::Heldout).into_iter().collect();
    assert!((15..70).contains(&held.len()), "{}", held.len());

    let mut lines: Vec<String> = sentences("Bird", 200).lines().map(str::to_owned).collect();
    lines.reverse();
    lines.extend(sentences("Fish", 100).lines().map(str::to_owned));
    let shouted = sentences("Bird", 200).replace("Bird number", "BIRD  NUMBER");
    lines.extend(shouted.lines().map(str::to_owned));
    desk.file("b.jsonl", lines.join("\n"));
    desk.config.output = desk.folder.path().join("second");
    desk.config.domains.clear();
    desk.domain("other", &["b.jsonl"]);
    let second = desk.prepare().unwrap();
    let again: BTreeSet<String> = texts(&second, "other", Split::Heldout)
        .into_iter()
        .collect();
    let birds = |start: &str| -> BTreeSet<String> {
        let found = again.iter().filter(|text| text.starts_with(start));
        found
            .map(|text| text.replace("BIRD  NUMBER", "Bird number"))
            .collect()
    };
    assert_eq!(birds("Bird"), held);
    assert_eq!(birds("BIRD"), held);

    desk.config.output = desk.folder.path().join("third");
    desk.config.seed = 1;
    let third = desk.prepare().unwrap();
    assert_ne!(
        texts(&third, "other", Split::Heldout),
        texts(&second, "other", Split::Heldout)
    );
}

/// Checks that copies are dropped and counted, within a domain and across domains; that a copy of a named held-out
/// document is never trained on; and that a text that differs in letter case is another document.
#[test]
fn duplicates_are_dropped() {
    let mut desk = Desk::new();
    desk.file(
        "a.jsonl",
        sentences("Bird", 50) + &sentences("Bird", 50) + &sentences("BIRD", 5),
    );
    desk.file("b.jsonl", sentences("Fish", 50) + &sentences("Bird", 20));
    desk.file("held.jsonl", sentences("Fish", 10));
    desk.domain("air", &["a.jsonl"]);
    let held = vec![
        desk.folder
            .path()
            .join("held.jsonl")
            .to_string_lossy()
            .into_owned(),
    ];
    desk.domain("water", &["b.jsonl"]).heldout_paths = held;
    let dataset = desk.prepare().unwrap();
    let air = &dataset.manifest().domains["air"];
    // The held-out documents of `air` take precedence over the copies in the training split of `water`; otherwise the
    // earlier domain does.
    assert_eq!((air.read, air.duplicates_dropped), (105, 50));
    assert_eq!(both_sides(&dataset, "air").len(), 55);
    let water = &dataset.manifest().domains["water"];
    assert_eq!(
        (water.duplicates_dropped, water.duplicates_across_domains),
        (30, 20)
    );
    assert_eq!((water.train.documents, water.heldout.documents), (40, 10));
    let trained = texts(&dataset, "water", Split::Train);
    assert!(
        trained
            .iter()
            .all(|text| !texts(&dataset, "water", Split::Heldout).contains(text))
    );
}

/// Checks that held-out text in a training split is measured: whole documents, and sequences of 13 words.
#[test]
fn overlap_is_measured() {
    let mut desk = Desk::new();
    let words = |from: usize| {
        (from..from + 25)
            .map(|word| format!("w{word}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let line = |text: String| format!("{{\"text\": \"{text}\"}}\n");
    let train: String = (0..20).map(|number| line(words(number * 100))).collect();
    // One of four held-out documents is there in capitals, one in half (13 of its 25 words, so 1 of 13 sequences),
    // and two are not.
    let half = (0..13)
        .map(|word| format!("w{}", 700 + word))
        .collect::<Vec<_>>()
        .join(" ");
    let held = line(words(300).to_uppercase())
        + &line(format!(
            "{half} {}",
            words(5000)
                .split(' ')
                .take(12)
                .collect::<Vec<_>>()
                .join(" ")
        ))
        + &line(words(6000))
        + &line(words(7000));
    desk.file("train.jsonl", train);
    let held = desk.file("held.jsonl", held);
    desk.domain("own", &["train.jsonl"]).heldout_paths = vec![held];
    desk.file("else.jsonl", sentences("Fish", 50));
    desk.domain("strange", &["else.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let overlap = |train: &str, heldout: &str| {
        let mut overlaps = dataset.manifest().overlaps.iter();
        overlaps
            .find(|overlap| overlap.train == train && overlap.heldout == heldout)
            .unwrap()
    };
    let own = overlap("own", "own");
    assert_eq!(own.ngrams, 4 * 13);
    assert_eq!(own.exact_share, 0.25);
    assert!((own.ngram_share - 14.0 / 52.0).abs() < 1e-12, "{own:?}");
    let strange = overlap("strange", "own");
    assert_eq!((strange.exact_share, strange.ngram_share), (0.0, 0.0));
}

/// Checks that a niche of raw text uses the base's tokenizer, byte for byte, with the base's own end token.
#[test]
fn a_niche_uses_the_bases_tokenizer() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 60));
    desk.domain("birds", &["a.jsonl"]);
    let base = desk.prepare().unwrap();
    for number in 0..40 {
        desk.file(
            &format!("notes/{number}.md"),
            format!("# Note {number}\n\n<|endoftext|> is text here.\n"),
        );
    }
    let texts_of = |tokenizer: &Path, end| Texts {
        output: desk.folder.path().join("niche"),
        domain: "notes".into(),
        paths: vec![format!("{}/notes/*.md", desk.folder.path().display())],
        tokenizer: tokenizer.into(),
        bos_token_id: 0,
        eos_token_id: end,
        heldout_fraction: 0.2,
        seed: 0,
    };
    let niche = prepare_texts(&texts_of(&base.tokenizer_path(), 0), false, &NoProgress).unwrap();
    assert_eq!(niche.manifest().tokenizer, base.manifest().tokenizer);
    assert_eq!(both_sides(&niche, "notes").len(), 40);
    let shard = niche.shard("notes", Split::Train).unwrap();
    let document = shard.document(0);
    assert!((0..document.len() - 1).all(|token| document.token(token) != 0));
    let missing = prepare_texts(&texts_of(&base.tokenizer_path(), 9999), true, &NoProgress);
    assert!(missing.unwrap_err().to_string().contains("no token 9999"));
    let absent = prepare_texts(&texts_of(Path::new("nowhere.json"), 0), true, &NoProgress);
    assert!(absent.unwrap_err().to_string().contains("nowhere.json"));
}

/// Checks that all pieces of a very long document are in one split, and that no text is lost.
#[test]
fn huge_documents_stay_together() {
    let mut desk = Desk::new();
    for book in 0..6 {
        let paragraph = |number| format!("Book {book}, paragraph {number}: and so it went on.\n\n");
        desk.file(
            &format!("books/{book}.txt"),
            (0..50_000).map(paragraph).collect::<String>(),
        );
    }
    desk.domain("books", &["books/*.txt"]);
    desk.config.heldout_fraction = 0.4;
    let dataset = desk.prepare().unwrap();
    let manifest = &dataset.manifest().domains["books"];
    assert_eq!(manifest.cut_documents, 6);
    assert!(manifest.read >= 12);
    let tokenizer = Tokenizer::from_file(dataset.tokenizer_path()).unwrap();
    let mut whole = BTreeMap::new();
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard("books", split).unwrap();
        for index in 0..shard.documents() {
            let mut tokens = Vec::new();
            shard.document(index).copy_tokens(0..10, &mut tokens);
            let text = tokenizer.decode(&tokens, false).unwrap();
            let book = text.split(',').next().unwrap().to_owned();
            let (side, bytes) = whole.entry(book).or_insert((split, 0));
            assert_eq!(*side, split);
            *bytes += shard.document(index).bytes;
        }
    }
    assert_eq!(whole.len(), 6);
    let files = fs::read_dir(desk.folder.path().join("books")).unwrap();
    let total: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(whole.values().map(|book| book.1).sum::<u64>(), total);
}
