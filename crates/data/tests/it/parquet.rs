//! Tests of parquet sources: they give the same documents as the same records in `.jsonl`.

mod broken;

use std::fs;

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use polymath_data::Dataset;
use serde_json::json;

use crate::support::desk::Desk;
use crate::support::tables::{Column, Style, table};

const TEXTS: &str = "message m { required int64 id; optional binary text (STRING); }";
const CONVERSATIONS: &str = "message m {
    optional binary source (STRING);
    optional group messages (LIST) { repeated group list { optional group element {
        optional binary content (STRING);
        optional binary role (STRING);
        optional binary tools (STRING);
    } } }
}";

/// Prepares a dataset of one domain from a file `name` with these bytes; returns the shards and the counts.
fn prepared(name: &str, content: &[u8], edit: &dyn Fn(&mut Desk)) -> (Vec<Vec<u8>>, (u64, u64)) {
    let mut desk = Desk::new();
    desk.file(name, content);
    desk.domain("d", &[name]);
    edit(&mut desk);
    let dataset: Dataset = desk.prepare().unwrap();
    let file = |name: &str| fs::read(desk.config.output.join(name)).unwrap();
    let shards = [
        "d/train.safetensors",
        "d/heldout.safetensors",
        "tokenizer.json",
    ];
    let manifest = &dataset.manifest().domains["d"];
    (
        shards.map(file).into(),
        (manifest.read, manifest.empty_dropped),
    )
}

fn sentence(number: usize) -> String {
    format!(
        "Bird {number} was seen {} times.\nIt sang “{}”.",
        number * 7,
        number % 5
    )
}

fn refusal(content: &[u8], field: Option<&str>) -> String {
    let mut desk = Desk::new();
    desk.file("a.parquet", content);
    desk.domain("d", &["a.parquet"]).text_field = field.map(str::to_owned);
    desk.prepare().unwrap_err().to_string()
}

/// Checks that texts in many row groups and pages, with any compression, equal those of the same `.jsonl`, and that
/// the config can name another column.
#[test]
fn texts_are_read_as_those_of_json_lines() {
    let lines: String = (0..60)
        .map(|number| json!({ "text": sentence(number) }).to_string() + "\n")
        .collect();
    let expected = prepared("a.jsonl", lines.as_bytes(), &|_| ());
    let columns = [
        Column::Numbers((0..60).collect()),
        Column::texts((0..60).map(sentence)),
    ];
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let style = Style {
            compression,
            page: 100,
            ..Style::default()
        };
        let found = prepared("a.parquet", &table(TEXTS, &columns, &style), &|_| ());
        assert_eq!(found, expected, "{compression}");
    }
    let renamed = TEXTS.replace("text", "body");
    let named = |desk: &mut Desk| {
        let domain = desk.config.domains.get_mut("d").unwrap();
        domain.text_field = Some("body".into());
    };
    let content = table(&renamed, &columns, &Style::default());
    assert_eq!(prepared("A.PARQUET", &content, &named), expected);
}

/// Checks that prompts with responses, and instructions, are recognized by their column names, and that only the
/// answers are learned.
#[test]
fn pairs_are_read_as_those_of_json_lines() {
    for names in [
        &["prompt", "completion"][..],
        &["prompt", "response"],
        &["instruction", "input", "output"],
        &["instruction", "output"],
    ] {
        let mut columns = Vec::new();
        let mut schema = String::new();
        for name in names {
            schema += &format!("optional binary {name} (STRING); ");
            columns.push(Column::texts(
                (0..40).map(|row| format!("{name} {row} of {}", row * 3)),
            ));
        }
        let lines: String = (0..40)
            .map(|row| {
                let fields = names.iter().map(|name| {
                    (
                        name.to_string(),
                        json!(format!("{name} {row} of {}", row * 3)),
                    )
                });
                serde_json::Value::Object(fields.collect()).to_string() + "\n"
            })
            .collect();
        let content = table(
            &format!("message m {{ {schema} }}"),
            &columns,
            &Style::default(),
        );
        let expected = prepared("a.jsonl", lines.as_bytes(), &|_| ());
        assert_eq!(
            prepared("a.parquet", &content, &|_| ()),
            expected,
            "{names:?}"
        );
    }
}

/// Checks that a row whose text is null is read by its prompt and response, as the same record of `.jsonl` is, and that
/// the columns of pairs are not read where every row has a text.
#[test]
fn rows_without_text_are_read_by_their_pairs() {
    let schema = "message m {
        optional binary text (STRING); optional binary prompt (STRING); optional binary response (STRING);
    }";
    let is_text = |row: usize| !row.is_multiple_of(3);
    let optional = |is_there: &dyn Fn(usize) -> bool, what: &str| {
        let cell = |row: usize| is_there(row).then(|| format!("{what} {row} is {}.", row * 7));
        (0..60).map(cell).collect::<Vec<_>>()
    };
    let cells = [
        optional(&is_text, "Text"),
        optional(&|row| row % 6 != 3, "Prompt"),
        optional(&|row| row % 6 != 3, "Response"),
    ];
    let lines: String = (0..60)
        .map(|row| {
            let [text, prompt, response] = [0, 1, 2].map(|column: usize| &cells[column][row]);
            json!({ "text": text, "prompt": prompt, "response": response }).to_string() + "\n"
        })
        .collect();
    let expected = prepared("a.jsonl", lines.as_bytes(), &|_| ());
    assert_eq!(expected.1, (60, 10));
    let columns = cells.clone().map(Column::Texts);
    let content = table(schema, &columns, &Style::default());
    assert_eq!(prepared("a.parquet", &content, &|_| ()), expected);

    let full = [
        Column::texts((0..60).map(sentence)),
        Column::Texts(cells[1].clone()),
        Column::Texts(cells[2].clone()),
    ];
    let mut desk = Desk::new();
    desk.file("a.parquet", table(schema, &full, &Style::default()));
    desk.domain("d", &["a.parquet"]);
    let dataset = desk.prepare().unwrap();
    let notes = &dataset.manifest().domains["d"].notes;
    let unused: Vec<(&str, u64)> = notes
        .unused_keys
        .iter()
        .map(|(key, count)| (key.as_str(), *count))
        .collect();
    assert_eq!(unused, [("prompt", 60), ("response", 60)]);
}

/// Checks that fields of a type that is not read are counted by their path.
#[test]
fn fields_of_messages_that_are_not_read_are_counted() {
    let schema = CONVERSATIONS.replace("optional binary tools (STRING);", "optional binary photo;");
    let (columns, _) = conversations(40);
    let style = Style {
        rows_a_group: 1000,
        ..Style::default()
    };
    let mut desk = Desk::new();
    desk.file("a.parquet", table(&schema, &columns, &style));
    desk.domain("d", &["a.parquet"]);
    let dataset = desk.prepare().unwrap();
    let unused = &dataset.manifest().domains["d"].notes.unused_keys;
    assert_eq!(unused["messages.photo"], 40);
}

/// Returns the columns of conversations, and the same in JSON Lines. Most rows have two messages, a few have none or
/// null; `tools` is always null.
fn conversations(rows: usize) -> (Vec<Column>, String) {
    let (mut texts, mut roles, mut lines) = (Vec::new(), Vec::new(), String::new());
    let (mut definitions, mut repetitions, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        if row % 10 == 9 {
            // Definition levels of a null list and of an empty list.
            let level = if row % 20 == 9 { 0 } else { 1 };
            definitions.push(level);
            absent.push(level);
            repetitions.push(0);
            lines += "{\"messages\": []}\n";
            continue;
        }
        let said = [
            ("user", format!("What is {row}?")),
            ("assistant", format!("{row} is {}.", row * 3)),
        ];
        for (turn, (role, text)) in said.iter().enumerate() {
            roles.push(Some((*role).to_owned()));
            texts.push(Some(text.clone()));
            definitions.push(4);
            absent.push(3);
            repetitions.push((turn > 0).into());
        }
        let messages = said.map(|(role, content)| json!({ "role": role, "content": content }));
        lines += &format!("{}\n", json!({ "messages": messages }));
    }
    let nested = |values: Vec<Option<String>>, definitions: &[i16]| Column::Nested {
        values,
        definitions: definitions.to_vec(),
        repetitions: repetitions.clone(),
    };
    let columns = vec![
        Column::texts((0..rows).map(|row| format!("source {row}"))),
        nested(texts, &definitions),
        nested(roles, &definitions),
        nested(Vec::new(), &absent),
    ];
    (columns, lines)
}

/// Checks that conversations are rendered by the chat template like those of `.jsonl`, and that a null field of a
/// message counts as absent.
#[test]
fn conversations_are_read_as_those_of_json_lines() {
    let (columns, lines) = conversations(40);
    let style = Style {
        rows_a_group: 1000,
        ..Style::default()
    };
    let content = table(CONVERSATIONS, &columns, &style);
    let plain = prepared("a.jsonl", lines.as_bytes(), &|_| ());
    assert_eq!(prepared("a.parquet", &content, &|_| ()), plain);
    assert_eq!(plain.1, (40, 4));

    let templated = |desk: &mut Desk| {
        desk.file("tokenizer.json", &plain.0[2]);
        let template = "{% for m in messages %}<|{{ m.role }}{% if 'tools' in m %} calls{% endif %}|>{{ m.content }}\
                        {% endfor %}";
        desk.file("chat_template.jinja", template);
        desk.config.tokenizer.path = Some(desk.folder.path().join("tokenizer.json"));
        desk.config.tokenizer.vocab_size = None;
        desk.config.tokenizer.sample_bytes = None;
    };
    let expected = prepared("a.jsonl", lines.as_bytes(), &templated);
    assert_ne!(expected.0[0], plain.0[0], "the template has its part in it");
    assert_eq!(prepared("a.parquet", &content, &templated), expected);
}

/// Checks that a row without text is a document without text: dropped and counted.
#[test]
fn nulls_are_empty_documents() {
    let texts = (0..60).map(|number| (number % 6 != 5).then(|| sentence(number)));
    let columns = [
        Column::Numbers((0..60).collect()),
        Column::Texts(texts.collect()),
    ];
    let content = table(TEXTS, &columns, &Style::default());
    assert_eq!(prepared("a.parquet", &content, &|_| ()).1, (60, 10));
}

/// Checks that unreadable columns are refused with file, column and type before any file is read, and an invalid row
/// by its number.
#[test]
fn other_columns_are_refused_by_name_and_type() {
    let columns = [Column::Numbers(vec![1, 2]), Column::texts(["one", "two"])];
    let write = |schema: &str| table(schema, &columns, &Style::default());
    let body = write(&TEXTS.replace("text", "body"));
    let refused = refusal(&body, None);
    for part in [
        "a.parquet`",
        "neither `text`, nor `prompt`",
        "`id` (INT64), `body` (text)",
        "`text_field`",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    let refused = refusal(&body, Some("id"));
    assert!(
        refused.contains("a.parquet`: column `id` holds INT64: expected text"),
        "{refused}"
    );
    let refused = refusal(&body, Some("story"));
    assert!(
        refused.contains("has no column `story`, as `text_field` says: it has `id`"),
        "{refused}"
    );
    let bytes = write(&TEXTS.replace(" (STRING)", ""));
    assert!(
        refusal(&bytes, None).contains("`text` (bytes)"),
        "{}",
        refusal(&bytes, None)
    );

    let (columns, _) = conversations(3);
    let one_group = Style {
        rows_a_group: 1000,
        ..Style::default()
    };
    let other = CONVERSATIONS.replace("role", "from");
    let refused = refusal(&table(&other, &columns, &one_group), None);
    assert!(
        refused.contains("`messages` (list of struct {content: text, from: text, tools: text})"),
        "{refused}"
    );
    let swapped = CONVERSATIONS
        .replace("tools", "x")
        .replace("content", "tools")
        .replace("x (", "content (");
    let refused = refusal(&table(&swapped, &columns, &one_group), None);
    assert!(
        refused.contains("row 1: has a message without `content`"),
        "{refused}"
    );
}

/// Checks that a page whose header states a huge size is refused before memory is allocated.
#[test]
fn huge_pages_are_refused() {
    let style = Style {
        page: 100,
        ..Style::default()
    };
    let schema = "message m { optional binary text (STRING); }";
    let whole = table(schema, &[Column::texts((0..9).map(sentence))], &style);
    // The file's magic number is followed by the header of the first page: its type, then its size in two bytes.
    assert_eq!(whole[4..7], [0x15, 0x00, 0x15]);
    assert!(whole[7] >= 0x80 && whole[8] < 0x80);
    let mut huge = whole.clone();
    huge.splice(7..9, [0xfe, 0xff, 0xff, 0xff, 0x0f]);
    let refused = refusal(&huge, None);
    assert!(
        refused.contains("a page of 2047 MB, where pages of up to 512 MB"),
        "{refused}"
    );
}

/// Checks that files of one domain with different columns are each read by their own columns, and that this is
/// reported.
#[test]
fn files_of_other_columns_are_listed() {
    let texts = table(
        TEXTS,
        &[
            Column::Numbers((0..30).collect()),
            Column::texts((0..30).map(sentence)),
        ],
        &Style::default(),
    );
    let pairs = "message m { optional binary prompt (STRING); optional binary response (STRING); }";
    let pairs = table(
        pairs,
        &[
            Column::texts((0..20).map(|number| format!("Bird {number}?"))),
            Column::texts((0..20).map(|number| format!("Seen {number} times."))),
        ],
        &Style::default(),
    );
    let mut desk = Desk::new();
    desk.file("a.parquet", &texts);
    desk.file("b.parquet", &pairs);
    desk.domain("d", &["a.parquet", "b.parquet"]);
    let dataset = desk.prepare().unwrap();
    let notes = &dataset.manifest().domains["d"].notes;
    assert_eq!(notes.read_by["text"], 30);
    assert_eq!(notes.read_by["prompt`, `response"], 20);
    assert!(
        notes.lines().iter().any(|line| line
            .ends_with("by different fields (`text_field` names one for all): `prompt`, `response` 20, `text` 30")),
        "{:?}",
        notes.lines()
    );
    let mut desk = Desk::new();
    desk.file("a.parquet", &texts);
    desk.domain("d", &["a.parquet"]);
    let dataset = desk.prepare().unwrap();
    assert!(dataset.manifest().domains["d"].notes.read_by.is_empty());
}
