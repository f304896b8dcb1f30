//! Tests of requests that `prepare` refuses, and of files that it must not touch.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use polymath_data::{Dataset, NoProgress, OnBadRecord, PrepareConfig, prepare};

use crate::support::desk::{Desk, sentences};

fn refusal(desk: &Desk) -> String {
    desk.prepare().unwrap_err().to_string()
}

/// Checks that equal settings leave a dataset as it is, even if the sources have moved; that other settings are
/// refused unless forced; that an incomplete dataset is prepared again; and that the same sources give the same
/// bytes.
#[test]
fn an_output_is_not_overwritten_by_mistake() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 60));
    desk.domain("birds", &["a.jsonl"]);
    let first = desk.prepare().unwrap();
    let shard = desk.config.output.join("birds/train.safetensors");
    let written = fs::metadata(&shard).unwrap().modified().unwrap();
    desk.file("moved/b.jsonl", sentences("Bird", 60));
    desk.config.domains.clear();
    desk.domain("birds", &["moved/b.jsonl"]);
    assert_eq!(desk.prepare().unwrap().fingerprint(), first.fingerprint());
    assert_eq!(fs::metadata(&shard).unwrap().modified().unwrap(), written);

    let bytes = fs::read(&shard).unwrap();
    fs::remove_file(desk.config.output.join("dataset.json")).unwrap();
    fs::write(&shard, "half a shard").unwrap();
    assert!(Dataset::open(&desk.config.output).is_err());
    assert_eq!(desk.prepare().unwrap().fingerprint(), first.fingerprint());
    assert_eq!(fs::read(&shard).unwrap(), bytes);

    desk.config.domains.clear();
    desk.domain("fowl", &["a.jsonl"]);
    let refused = refusal(&desk);
    assert!(
        refused.contains("made from other text or settings") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(
        Dataset::open(&desk.config.output).unwrap().fingerprint(),
        first.fingerprint()
    );
    let forced = prepare(&desk.config, true, &NoProgress).unwrap();
    assert_eq!(forced.domain_names(), ["fowl"]);
    assert!(!shard.exists(), "nothing is left of the dataset before");
}

/// Checks that a truncated or replaced shard is refused by name, as are missing questions.
#[test]
fn broken_data_sets_are_named() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 60));
    let questions = desk.file("q.jsonl", "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n");
    desk.domain("birds", &["a.jsonl"]).questions = Some(questions.into());
    desk.prepare().unwrap();
    let shard = desk.config.output.join("birds/train.safetensors");
    let bytes = fs::read(&shard).unwrap();
    let open = || {
        Dataset::open(&desk.config.output)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&shard, &bytes[..length]).unwrap();
        assert!(open().contains("train.safetensors"), "{}", open());
    }
    fs::copy(desk.config.output.join("birds/heldout.safetensors"), &shard).unwrap();
    assert!(open().contains("but `dataset.json` says"), "{}", open());
    fs::write(&shard, &bytes).unwrap();
    assert!(Dataset::open(&desk.config.output).is_ok());
    let asked = desk.config.output.join("birds/questions.jsonl");
    fs::write(&asked, "").unwrap();
    let dataset = Dataset::open(&desk.config.output).unwrap();
    let refused = dataset.questions("birds").unwrap_err().to_string();
    assert!(refused.contains("0 questions, but"), "{refused}");
    fs::write(desk.config.output.join("tokenizer.json"), "{}").unwrap();
    assert!(open().contains("tokenizer.json"), "{}", open());
}

/// Checks that unusable input is refused with the key, the file or the domain and a remedy, and that nothing is left
/// that looks complete.
#[test]
fn bad_input_is_named() {
    let mut desk = Desk::new();
    let mut check = |prepare: &dyn Fn(&mut Desk), expected: &[&str]| {
        desk.config.domains.clear();
        prepare(&mut desk);
        let refused = refusal(&desk);
        for part in expected {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(!desk.config.output.join("dataset.json").exists());
    };
    check(&|_| (), &["`domains`: no domain is given"]);
    check(
        &|desk| _ = desk.domain("x", &["none/*.txt"]),
        &[
            "`domains.x.paths`",
            "matches no file",
            "give a file, a folder",
        ],
    );
    let folder = |desk: &mut Desk| {
        desk.file("tables/a.csv", "1,2");
        desk.domain("x", &["tables"]);
    };
    check(
        &folder,
        &["`domains.x.paths`", "tables", "there is no text"],
    );
    check(
        &|desk| _ = desk.domain("../x", &["none"]),
        &["`domains.\"../x\"`", "folder"],
    );
    let empty = |desk: &mut Desk| {
        desk.file("empty/a.txt", "");
        desk.file("empty/b.md", " \n\n");
        desk.file("empty/c.jsonl", "");
        desk.domain("x", &["empty/*"]);
    };
    check(
        &empty,
        &[
            "domain `x`: no training documents",
            "3 files with 2 documents read",
            "left out: 3 empty",
        ],
    );
    let twice = |desk: &mut Desk| {
        desk.file("a.jsonl", sentences("Bird", 60));
        desk.domain("birds", &["a.jsonl"]);
        desk.domain("fowl", &["a.jsonl"]);
    };
    check(
        &twice,
        &[
            "domain `fowl`: no training documents: 1 file with 60 documents read",
            "60 copies of others (60 of documents of `birds`)",
            "a text belongs to one domain only",
        ],
    );
    let field = |desk: &mut Desk| {
        desk.file("a.txt", "One text.");
        desk.domain("x", &["a.txt"]).text_field = Some("body".into());
    };
    check(&field, &["`domains.x.text_field`", "holds records"]);
    for name in ["mean", "default"] {
        let named = |desk: &mut Desk| {
            desk.file("a.jsonl", sentences("Bird", 60));
            desk.domain(name, &["a.jsonl"]);
        };
        let table = format!("`domains.{name}`");
        check(&named, &[&table, "the name stands for"]);
    }
    let few = |desk: &mut Desk| {
        desk.file("few.jsonl", "{\"text\": \"one\"}\n");
        desk.domain("x", &["few.jsonl"]);
    };
    check(
        &few,
        &[
            "domain `x`: no held-out documents",
            "`heldout_fraction = 0.2`",
            "`domains.x.heldout_paths`",
        ],
    );
    let line = |desk: &mut Desk| {
        desk.file("bad.jsonl", "{\"text\": \"one\"}\n{\"text\": 1}\n");
        desk.domain("x", &["bad.jsonl"]).text_field = Some("text".into());
    };
    check(&line, &["bad.jsonl:2`", "`text`"]);
    let latin = |desk: &mut Desk| {
        desk.file("latin.txt", b"caf\xe9 ol\xe9");
        desk.domain("x", &["latin.txt"]);
    };
    check(&latin, &["latin.txt:1`: is not UTF-8", "iconv"]);
    let questions = |desk: &mut Desk| {
        desk.file("a.jsonl", sentences("Bird", 60));
        let path = desk.file("questions.jsonl", "{\"prompt\": \"?\"}\n");
        desk.domain("x", &["a.jsonl"]).questions = Some(PathBuf::from(path));
    };
    check(&questions, &["questions.jsonl:1`", "answer"]);
    desk.config.tokenizer.path = Some("tokenizer.json".into());
    desk.domain("x", &["a.jsonl"]);
    assert!(
        refusal(&desk).contains("`path` and `vocab_size` are both given"),
        "{}",
        refusal(&desk)
    );
}

/// Checks that an output folder that can't be written is refused by name.
#[test]
fn an_output_that_cannot_be_written_is_named() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 60));
    desk.file("taken", "a file");
    desk.domain("birds", &["a.jsonl"]);
    desk.config.output = desk.folder.path().join("taken/output");
    assert!(
        refusal(&desk).contains("taken/output"),
        "{}",
        refusal(&desk)
    );
}

/// Checks that all invalid records in all files are counted and the first ten quoted, and that they can be skipped.
#[test]
fn bad_records_are_counted() {
    let mut desk = Desk::new();
    let mut lines = sentences("Bird", 60);
    for number in 0..25 {
        lines += &format!("{{\"body\": {number}}}\n");
    }
    desk.file("a.jsonl", lines);
    desk.file("b.jsonl", sentences("Fish", 30) + "{\"text\": \"cut off\n");
    desk.file("c.txt", b"caf\xe9 ol\xe9");
    desk.domain("all", &["a.jsonl", "b.jsonl", "c.txt"]);
    let refused = refusal(&desk);
    for said in [
        "27 records make no document; the first 10",
        "a.jsonl:61`: has neither",
        "a.jsonl:70`",
        "on_bad_record = \"skip\"",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
    assert!(!refused.contains("a.jsonl:71`"), "{refused}");
    assert!(!desk.config.output.join("dataset.json").exists());
    desk.config.domains.get_mut("all").unwrap().on_bad_record = Some(OnBadRecord::Skip);
    let dataset = desk.prepare().unwrap();
    let all = &dataset.manifest().domains["all"];
    assert_eq!((all.read, all.bad_records_dropped), (90, 27));
    assert_eq!(all.train.documents + all.heldout.documents, 90);
}

/// Checks that `on_bad_record` at the top level of the config applies to all domains that do not set it.
#[test]
fn bad_records_are_treated_as_the_config_says() {
    let config: PrepareConfig = toml::from_str(
        "output = \"d\"\non_bad_record = \"skip\"\n[domains.a]\npaths = [\"a\"]\n[domains.b]\npaths = [\"b\"]\n\
         on_bad_record = \"error\"\n",
    )
    .unwrap();
    assert_eq!(config.domains["a"].on_bad_record, Some(OnBadRecord::Skip));
    assert_eq!(config.domains["b"].on_bad_record, Some(OnBadRecord::Error));
    let unknown = toml::from_str::<PrepareConfig>("output = \"d\"\nsplit = 1\n[domains]\n");
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("unknown field `split`")
    );
}

/// Checks that circular and broken links are reported, in folders and in globs, and that other links are followed.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_named() {
    use std::os::unix::fs::symlink;

    let mut desk = Desk::new();
    for number in 0..12 {
        desk.file(
            &format!("notes/deep/{number}.md"),
            format!("Note {number} is short."),
        );
    }
    let at = |name: &str| desk.folder.path().join(name);
    symlink(at("notes"), at("linked")).unwrap();
    symlink("nowhere.png", at("notes/picture.png")).unwrap();
    symlink("round.md", at("round.md")).unwrap();
    desk.domain("notes", &["linked"]);
    assert_eq!(
        desk.prepare().unwrap().manifest().domains["notes"].files,
        12
    );
    for link in ["up", "again"] {
        symlink("..", desk.folder.path().join("notes/deep").join(link)).unwrap();
    }
    for pattern in ["linked", "notes/**/*.md"] {
        desk.config.domains.clear();
        desk.domain("notes", &[pattern]);
        let refused = refusal(&desk);
        assert!(refused.contains("is a link to the folder"), "{refused}");
    }
    desk.config.domains.clear();
    desk.domain("notes", &["round.md"]);
    let refused = refusal(&desk);
    assert!(
        refused.contains("is a link to `round.md` that leads to no file"),
        "{refused}"
    );
}

/// Checks that files of unreadable kinds in a folder are counted by extension, and that this program's own outputs
/// are skipped: a dataset within its own folder of texts is not read as text.
#[test]
fn files_left_out_of_folders_are_reported() {
    let mut desk = Desk::new();
    desk.file("texts/a.jsonl", sentences("The stork", 60));
    desk.file("texts/notes.CSV", "a,b\n");
    desk.file("texts/more/paper.pdf", "x");
    desk.file("texts/more/program", b"\x7fELF\0");
    desk.file("texts/.hidden.csv", "x");
    desk.file("texts/runs/one/run.toml", "");
    desk.file("texts/runs/one/metrics.jsonl", "{\"step\": 1}\n");
    desk.file("ask.jsonl", "{\"prompt\": \"a\", \"answer\": \"b\"}\n");
    let questions = desk.folder.path().join("ask.jsonl");
    desk.domain("d", &["texts"]).questions = Some(questions);
    desk.config.output = desk.folder.path().join("texts/data");
    let left_out = |dataset: &Dataset| {
        let notes = &dataset.manifest().domains["d"].notes;
        assert!(
            notes
                .lines()
                .iter()
                .any(|line| line.contains("left out, since their records")
                    && line.contains("`.csv` 1")),
            "{:?}",
            notes.lines()
        );
        notes.other_files.clone()
    };
    let first = desk.prepare().unwrap();
    let expected = [".pdf", "no ending"].map(|ending| (ending.to_owned(), 1));
    assert_eq!(left_out(&first), BTreeMap::from(expected));
    // The second run finds the same dataset and does nothing.
    let again = desk.prepare().unwrap();
    assert_eq!(again.fingerprint(), first.fingerprint());
    assert_eq!(again.manifest().domains["d"].files, 1);
}
