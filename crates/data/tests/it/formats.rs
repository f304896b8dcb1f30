//! Tests of file kinds and record layouts: the exact documents of each.

use polymath_data::{FieldNames, OnBadRecord};

use crate::support::desk::Desk;
use crate::support::documents::{each, notes, texts};

/// Checks that the files of a tokenizer in a folder of texts are not learned as text, unless they are named or no
/// tokenizer is there.
#[test]
fn files_of_a_tokenizer_are_no_text() {
    let mut desk = Desk::new();
    for number in 0..6 {
        desk.file(
            &format!("all/{number}.txt"),
            format!("Text number {number}."),
        );
    }
    for name in ["merges.txt", "vocab.txt", "chat_template.jinja"] {
        desk.file(&format!("all/tokenizer/{name}"), "#version: 0.2\na b\n");
        desk.file(
            &format!("all/other/{name}"),
            format!("A text by the name of {name}."),
        );
    }
    desk.file("all/tokenizer/tokenizer.json", "{\"version\": \"1.0\"}");
    desk.domain("all", &["all"]);
    let dataset = desk.prepare().unwrap();
    assert_eq!(texts(&dataset, "all").len(), 9);
    let lines = notes(&dataset, "all").lines().join("\n");
    let said = "files of a tokenizer left out (name them in `paths` to read them as text): `chat_template.jinja` 1, `merges.txt` 1, \
                `vocab.txt` 1";
    assert!(lines.contains(said), "{lines}");
    desk.config.domains.clear();
    desk.config.output = desk.folder.path().join("named");
    desk.domain(
        "all",
        &["all/0.txt", "all/1.txt", "all/tokenizer/merges.txt"],
    );
    assert_eq!(texts(&desk.prepare().unwrap(), "all").len(), 3);
}

/// Checks that any text file in a folder becomes a document, with any file name, and that binary files, files of other
/// programs and hidden files are skipped and counted.
#[test]
fn any_text_is_read() {
    let mut desk = Desk::new();
    for number in 0..6 {
        desk.file(&format!("all/{number}.py"), format!("print({number})\n"));
        desk.file(
            &format!("all/src/{number}.rs"),
            format!("const N: u32 = {number};"),
        );
    }
    desk.file("all/Makefile", "all:\n\ttrue\n");
    desk.file("all/page.html", "<p>Page</p>");
    desk.file("all/logo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    desk.file("all/paper.pdf", b"%PDF-1.7\n");
    desk.file("all/book.epub", b"PK\x03\x04\0\0");
    desk.file("all/package.json", r#"{"name": "polymath"}"#);
    desk.file("all/.git/config", "[core]");
    desk.file("all/.env", "KEY=1");
    desk.domain("all", &["all"]);
    let dataset = desk.prepare().unwrap();
    let found = texts(&dataset, "all");
    assert_eq!(found.len(), 14);
    let has = |text: &str, source: &str| {
        found
            .iter()
            .any(|found| found.0 == text && found.1 == text && found.2 == source)
    };
    assert!(has("print(3)\n", "3.py") && has("const N: u32 = 5;", "5.rs"));
    assert!(has("all:\n\ttrue\n", "Makefile") && has("<p>Page</p>", "page.html"));
    let lines = notes(&dataset, "all").lines().join("\n");
    for said in [
        "files read as text: `.html` 1, `.py` 6, `.rs` 6, `no ending` 1",
        "their kind is not supported: `.epub` 1, `.pdf` 1, `.png` 1",
        "1 `.pdf` can be converted: `pdftotext FILE.pdf`",
        "1 `.epub` can be converted: `pandoc",
        "no known fields (name them with `fields`): `.json` 1",
        "hidden files and folders left out: `.env` 1, `.git` 1",
    ] {
        assert!(lines.contains(said), "{said}\n{lines}");
    }

    // A glob skips the same files, and `extensions` narrows the choice further.
    let folder = desk.folder.path().display().to_string();
    for paths in ["all", "all/**/*"] {
        desk.config.domains.clear();
        desk.config.output = desk
            .folder
            .path()
            .join(format!("of-{}", paths.replace(['/', '*'], "-")));
        let domain = desk.domain("all", &[paths]);
        domain.extensions = vec!["py".into(), ".RS".into()];
        let dataset = desk.prepare().unwrap();
        assert_eq!(texts(&dataset, "all").len(), 12, "{paths}");
        let unlisted = &notes(&dataset, "all").unlisted_files;
        assert_eq!((unlisted[".html"], unlisted[".pdf"]), (1, 1));
    }
    for (name, said) in [
        (
            "all/paper.pdf",
            "paper.pdf`: is a `.pdf` file, which is not supported: `pdftotext",
        ),
        ("all/logo.png", "logo.png`: is not text"),
        ("all/*.pdf", "matches no file of a supported kind"),
    ] {
        desk.config.domains.clear();
        desk.domain("all", &[name]);
        let error = desk.prepare().unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(&folder), "{error}");
    }
}

/// Checks that a file of records in a folder that is not valid is left out with its error, and not as one whose fields
/// are unknown.
#[test]
fn broken_files_in_a_folder_are_named() {
    let mut desk = Desk::new();
    for number in 0..8 {
        desk.file(&format!("all/{number}.txt"), format!("number {number}\n"));
    }
    desk.file("all/cut.json", "[{\"text\": \"hel");
    desk.file("all/twice.csv", "text,text\na,b\n");
    desk.file("all/latin.csv", b"text,caf\xe9\na,b\n");
    desk.file("all/other.csv", "title,body\na,b\n");
    desk.domain("all", &["all"]);
    let dataset = desk.prepare().unwrap();
    assert_eq!(texts(&dataset, "all").len(), 8);
    let lines = notes(&dataset, "all").lines().join("\n");
    for said in [
        "no known fields (name them with `fields`): `.csv` 1",
        "since they are not valid (the first follow): `.csv` 2, `.json` 1",
        "all/cut.json:1`: is not JSON",
        "all/twice.csv:1`: names two columns `text`",
        "all/latin.csv:1`: is not UTF-8",
    ] {
        assert!(lines.contains(said), "{said}\n{lines}");
    }
}

/// Checks that a domain can't have the name of a file of the dataset, and that keys in messages have quotes where a
/// config needs them.
#[test]
fn names_of_domains_are_checked() {
    let mut desk = Desk::new();
    desk.file("a.txt", "a");
    for (name, said) in [
        (
            "tokenizer.json",
            "`domains.\"tokenizer.json\"`: a domain's name",
        ),
        ("a/b", "`domains.\"a/b\"`: a domain's name"),
        ("v1.2", "`domains.\"v1.2\".heldout_paths`"),
    ] {
        desk.config.domains.clear();
        desk.domain(name, &["a.txt"]);
        let error = desk.prepare().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// Checks that a list of records, and records one after the other, give the same documents as one record per line,
/// numbered by their position.
#[test]
fn json_lists_are_read() {
    let mut desk = Desk::new();
    let records = each(20, |n| format!("{{\"text\": \"text ] number {n}\"}}"));
    for (name, content) in [
        ("list.json", format!("[\n{}\n]\n", records.join(",\n"))),
        ("after.json", records.join("\n\n").replace("{\"", "{\n\"")),
        ("lines.json", records.join("\n")),
        ("lines.ndjson", records.join("\n")),
    ] {
        desk.config.output = desk.folder.path().join(name.replace('.', "-"));
        desk.config.domains.clear();
        desk.file(name, content);
        desk.domain("text", &[name]);
        let found = texts(&desk.prepare().unwrap(), "text");
        assert_eq!(found.len(), 20, "{name}");
        let third = (
            "text ] number 2".into(),
            "text ] number 2".into(),
            format!("{name}:3"),
        );
        assert!(found.contains(&third), "{found:?}");
    }
}

/// Checks that a table gives a document per row, numbered by its line.
#[test]
fn tables_are_read() {
    let mut desk = Desk::new();
    let rows = each(20, |n| {
        format!("{n},\"what, \"\"{n}\"\"?\",\"answer\n{n}\"\r\n")
    });
    desk.file(
        "qa.csv",
        format!("\u{feff}id,question,reply\r\n{}", rows.concat()),
    );
    let rows = each(20, |n| format!("{n}\twhat {n}?\n"));
    desk.file("qa.tsv", format!("id\ttext\n{}", rows.concat()));
    let name = |name: &str| Some(name.to_owned());
    desk.domain("qa", &["qa.csv"]).fields = Some(FieldNames {
        prompt: name("question"),
        response: name("reply"),
        ..FieldNames::default()
    });
    desk.domain("tab", &["qa.tsv"]);
    let dataset = desk.prepare().unwrap();
    let found = texts(&dataset, "qa");
    assert_eq!(found.len(), 20);
    let expected = (
        "what, \"3\"?\nanswer\n3".into(),
        "answer\n3".into(),
        "qa.csv:8".into(),
    );
    assert!(found.contains(&expected), "{found:?}");
    assert_eq!(notes(&dataset, "qa").unused_keys["id"], 20);
    let expected = ("what 7?".into(), "what 7?".into(), "qa.tsv:9".into());
    assert!(texts(&dataset, "tab").contains(&expected));
}

/// Checks that a system prompt, an input and other field names are read as the config defines.
#[test]
fn fields_are_named_by_the_config() {
    let mut desk = Desk::new();
    let records = each(20, |n| {
        format!(r#"{{"s": "Be brief.", "q": "why {n}?", "x": "", "a": "so {n}", "text": "other"}}"#)
    });
    desk.file("a.jsonl", records.join("\n"));
    let name = |name: &str| Some(name.to_owned());
    desk.domain("asked", &["a.jsonl"]).fields = Some(FieldNames {
        instruction: name("q"),
        input: name("x"),
        output: name("a"),
        system: name("s"),
        ..FieldNames::default()
    });
    let dataset = desk.prepare().unwrap();
    let expected = (
        "Be brief.\nwhy 4?\nso 4".into(),
        "so 4".into(),
        "a.jsonl:5".into(),
    );
    assert!(texts(&dataset, "asked").contains(&expected));
    assert_eq!(notes(&dataset, "asked").unused_keys["text"], 20);
    desk.config.domains.get_mut("asked").unwrap().fields = Some(FieldNames {
        prompt: name("question"),
        response: name("a"),
        ..FieldNames::default()
    });
    desk.config.output = desk.folder.path().join("missing");
    let error = desk.prepare().unwrap_err().to_string();
    assert!(
        error.contains("a.jsonl:1`: has no field `question`, as `fields.prompt` says"),
        "{error}"
    );
}

/// Checks that records with different layouts in one file are reported, with the line where each layout begins.
#[test]
fn mixed_layouts_are_named() {
    let mut desk = Desk::new();
    let mut lines = each(20, |n| format!(r#"{{"text": "text {n}"}}"#));
    lines[4] = r#"{"prompt": "q", "response": "r"}"#.into();
    lines[9] = r#"{"conversations": [{"from": "gpt", "value": "r"}]}"#.into();
    desk.file("a.jsonl", lines.join("\n"));
    desk.domain("text", &["a.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let mixed = &notes(&dataset, "text").mixed;
    assert_eq!(mixed.len(), 2);
    assert!(
        mixed[0].contains("a.jsonl:5` is the first record read by `prompt`, `response`"),
        "{mixed:?}"
    );
    assert!(
        mixed[1].contains("a.jsonl:10` is the first record read by `conversations`"),
        "{mixed:?}"
    );
}

/// Checks that invalid files are refused with the line, and that invalid records are skipped if the config says so.
#[test]
fn broken_files_are_named_by_line() {
    let mut desk = Desk::new();
    let whole = each(20, |n| format!("{{\"text\": \"text {n}\"}}"));
    let list = whole.join(",\n");
    for (name, content, said) in [
        (
            "cut.json",
            format!("[{list}"),
            "cut.json:20`: is not JSON: the list does not end",
        ),
        (
            "comma.json",
            format!("[{list},\n]"),
            "comma.json:21`: is not JSON: a comma",
        ),
        (
            "in.json",
            format!("[{list},\n{{\"text\": "),
            "in.json:21`: is not JSON: the file ends",
        ),
        (
            "bad.json",
            format!("[{list},\n{{\"text\": x}}]"),
            "bad.json:21`: record 21 is not JSON",
        ),
        (
            "kind.json",
            format!("[{list},\n5]"),
            "kind.json:21`: record 21 is `5`, expected an object",
        ),
        (
            "object.json",
            "{\"data\": [1]}".into(),
            "object.json:1`: has neither `text`",
        ),
        (
            "word.json",
            "true".into(),
            "word.json:1`: is neither a JSON list",
        ),
        (
            "quote.csv",
            "text\na\n\"b\nc\n".into(),
            "quote.csv:3`: has a double quote",
        ),
        (
            "wide.csv",
            "text,id\na,1\nb,2,3\n".into(),
            "wide.csv:3`: has 3 columns, expected 2",
        ),
        (
            "names.csv",
            "a,b\n1,2\n".into(),
            "names.csv:2`: has neither `text`",
        ),
    ] {
        desk.file(name, content);
        desk.config.domains.clear();
        desk.domain("text", &[name]);
        let error = desk.prepare().unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
    desk.config.domains.clear();
    desk.domain("text", &["bad.json", "kind.json"])
        .on_bad_record = Some(OnBadRecord::Skip);
    let dataset = desk.prepare().unwrap();
    assert_eq!(dataset.manifest().domains["text"].bad_records_dropped, 2);
}

/// Checks that a dataset of an earlier version, which read fewer kinds of files, is kept until it is prepared again
/// with `force`.
#[test]
fn earlier_datasets_stay() {
    let mut desk = Desk::new();
    for number in 0..12 {
        desk.file(
            &format!("all/{number}.md"),
            format!("Number {number} of several."),
        );
    }
    desk.domain("all", &["all"]);
    let first = desk.prepare().unwrap();
    let manifest = first.path().join("dataset.json");
    let json = std::fs::read_to_string(&manifest).unwrap();
    desk.file("all/more.py", "print()");
    let other = |desk: &Desk| desk.prepare().unwrap_err().to_string();
    assert!(other(&desk).contains("made from other text"));
    assert!(json.contains("\"reads_all_text\": true"));
    std::fs::write(&manifest, json.replace("\"reads_all_text\": true,", "")).unwrap();
    let again = desk.prepare().unwrap();
    assert_eq!(again.manifest().source, first.manifest().source);
    desk.file("all/more.md", "More.");
    assert!(other(&desk).contains("made from other text"));
}
