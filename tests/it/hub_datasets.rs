//! Tests of datasets of the hub, through the real client and a local server: every file format, and whole datasets,
//! globs and splits.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use predicates::str::contains;

use crate::support::fixture;
use crate::support::served::{Hub, Trouble, output};

/// Returns 90 texts of 20 consecutive numbers each; the first text begins with `from`, the next with `from` + 1.
fn texts(from: u32) -> Vec<String> {
    let text = |number: u32| {
        let words: Vec<String> = (number..number + 20).map(|n| n.to_string()).collect();
        words.join(" ")
    };
    (from..from + 90).map(text).collect()
}

fn json_lines(from: u32) -> Vec<u8> {
    let lines = texts(from);
    let lines = lines
        .iter()
        .map(|text| format!("{}\n", serde_json::json!({ "text": text })));
    lines.collect::<String>().into_bytes()
}

/// Returns the same texts as a parquet table with an additional column.
fn table(from: u32) -> Vec<u8> {
    let schema = "message m { required int64 id; required binary text (STRING); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    for part in texts(from).chunks(40) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let numbers: Vec<i64> = (0..part.len() as i64).collect();
        column
            .typed::<Int64Type>()
            .write_batch(&numbers, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<_> = part
            .iter()
            .map(|text| text.as_bytes().to_vec().into())
            .collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns the manifest of the dataset made from the sources, without the digest of the files.
fn prepared(hub: &Hub, at: &Path, output_folder: &str, paths: &[&str]) -> serde_json::Value {
    let config = format!(
        "output = \"{output_folder}\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 280\n[domains.counting]\npaths = {paths:?}\n"
    );
    fixture::write(at, "prepare.toml", &config);
    let text = output(hub.polymath(at).args(["prepare", "prepare.toml", "--json"]));
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest["source"].take();
    // Unused columns of a table are reported; these JSON records have none.
    let counting = manifest["domains"]["counting"].as_object_mut().unwrap();
    if let Some(notes) = counting.remove("notes") {
        assert_eq!(
            notes,
            serde_json::json!({"unused_keys": {"id": counting["read"]}})
        );
    }
    manifest
}

/// Checks that a dataset of the hub is prepared like the same files on disk, and that only the matching files are
/// read.
#[test]
fn datasets_of_the_hub_are_sources() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = Hub::start();
    let name = "datasets/tester/texts";
    hub.serve_bytes(name, "README.md", b"a card, no text to learn");
    hub.serve_bytes(name, "picture.png", b"no text at all");
    for (path, from) in [("data/a.jsonl", 0), ("data/b.jsonl", 500)] {
        hub.serve_bytes(name, path, &json_lines(from));
        fixture::write(at, path, std::str::from_utf8(&json_lines(from)).unwrap());
    }
    let of = |output_folder: &str, path: &str| prepared(&hub, at, output_folder, &[path]);
    let local = of("local", "data");
    assert_eq!(of("whole", "hf://datasets/tester/texts"), local);
    assert_eq!(of("folder", "hf://datasets/tester/texts/data"), local);
    assert_eq!(of("split", "hf://datasets/tester/texts/train"), local);
    let glob = "hf://datasets/tester/texts@main/data/*.jsonl";
    assert_eq!(of("glob", glob), local);
    assert_ne!(of("one", "hf://datasets/tester/texts/data/a.jsonl"), local);
    let fetched = hub.downloads();
    assert!(
        !fetched.iter().any(|path| path.ends_with(".png")),
        "{fetched:?}"
    );

    // Once the hub is unreachable, the cache is used.
    std::fs::remove_dir_all(at.join("glob")).unwrap();
    let mut offline = hub.polymath(at);
    fixture::write(
        at,
        "offline.toml",
        &format!(
            "output = \"glob\"\n[tokenizer]\nvocab_size = 280\n[domains.counting]\npaths = [\"{glob}\"]\n"
        ),
    );
    output(
        offline
            .env("HF_HUB_OFFLINE", "1")
            .args(["prepare", "offline.toml"]),
    );

    for (path, message) in [
        ("hf://tester/texts", "expected `hf://datasets/owner/name"),
        (
            "hf://datasets/tester/texts/*.csv",
            "no file of a supported format matches `*.csv`",
        ),
        (
            "hf://datasets/tester/texts/test",
            "the repository has no file, folder or split `test`",
        ),
        ("hf://datasets/tester/nothing", "check the name"),
    ] {
        let config = format!("output = \"wrong\"\n[domains.counting]\npaths = [\"{path}\"]\n");
        fixture::write(at, "wrong.toml", &config);
        let mut command = hub.polymath(at);
        let assert = command.args(["prepare", "wrong.toml"]).assert().failure();
        assert
            .stderr(contains("domains.counting.paths"))
            .stderr(contains(message));
    }
}

/// Checks that the same documents are read from every file format, compressed or not, and from parquet also over a
/// connection that breaks.
#[test]
fn every_file_format_is_read_from_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = Hub::start();
    let plain = json_lines(0);
    let kinds: [(&str, Vec<u8>); 4] = [
        ("plain.jsonl", plain.clone()),
        ("gzip.jsonl.gz", gzipped(&plain)),
        ("zstd.jsonl.zst", zstd::encode_all(&plain[..], 3).unwrap()),
        ("table.parquet", table(0)),
    ];
    hub.trouble("GET /cdn/", Trouble::Cut(700), 1);
    let mut manifests = Vec::new();
    for (file, bytes) in &kinds {
        let kind = file.split('.').next().unwrap();
        let repository = format!("datasets/tester/{kind}");
        hub.serve_bytes(&repository, &format!("data/{file}"), bytes);
        let address = format!("hf://{repository}");
        manifests.push(prepared(&hub, at, kind, &[&address]));
    }
    for (manifest, (file, _)) in manifests.iter().zip(&kinds) {
        assert_eq!(manifest, &manifests[0], "{file}");
    }
    assert_eq!(
        hub.ranges().len(),
        1,
        "the table went on where it was cut off"
    );

    // Each text file is one document.
    for (number, text) in texts(0).iter().enumerate() {
        let packed = match number % 3 {
            0 => (format!("{number}.txt"), text.clone().into_bytes()),
            1 => (format!("{number}.txt.gz"), gzipped(text.as_bytes())),
            _ => (
                format!("{number}.md.zst"),
                zstd::encode_all(text.as_bytes(), 3).unwrap(),
            ),
        };
        hub.serve_bytes("datasets/tester/files", &packed.0, &packed.1);
    }
    let files = prepared(&hub, at, "files", &["hf://datasets/tester/files"]);
    let domain = |manifest: &serde_json::Value, side: &str| {
        manifest["domains"]["counting"][side]["tokens"].clone()
    };
    assert_eq!(domain(&files, "heldout"), domain(&manifests[0], "heldout"));
    assert_eq!(domain(&files, "train"), domain(&manifests[0], "train"));
}

/// Checks that splits are chosen by the dataset card, with a configuration before the split if there are several, or
/// else by file names. The hub's own parquet copy is selected as a revision.
#[test]
fn splits_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = Hub::start();
    let name = "datasets/tester/split";
    let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: x/*.jsonl\n  - split: test\n    \
                path: y.jsonl\n- config_name: other\n  data_files: z.jsonl\n---\nA card.\n";
    hub.serve_bytes(name, "README.md", card.as_bytes());
    for (path, from) in [
        ("x/1.jsonl", 0),
        ("x/2.jsonl", 200),
        ("y.jsonl", 400),
        ("z.jsonl", 600),
    ] {
        hub.serve_bytes(name, path, &json_lines(from));
        fixture::write(at, path, std::str::from_utf8(&json_lines(from)).unwrap());
    }
    let copy = "datasets/tester/split@refs/convert/parquet";
    hub.serve_bytes(copy, "default/test/0000.parquet", &table(400));
    let pairs = [
        ("train", "x"),
        ("test", "y.jsonl"),
        ("default/test", "y.jsonl"),
        ("other", "z.jsonl"),
        ("other/train", "z.jsonl"),
    ];
    for (number, (split, path)) in pairs.into_iter().enumerate() {
        let local = prepared(&hub, at, &format!("local-{number}"), &[path]);
        let address = format!("hf://datasets/tester/split/{split}");
        assert_eq!(
            prepared(&hub, at, &format!("hub-{number}"), &[&address]),
            local,
            "{split}"
        );
    }
    let local = prepared(&hub, at, "local-test", &["y.jsonl"]);
    let address = "hf://datasets/tester/split@refs/convert/parquet/default/test";
    assert_eq!(prepared(&hub, at, "parquet", &[address]), local);
    fixture::write(
        at,
        "wrong.toml",
        "output = \"wrong\"\n[domains.d]\npaths = [\"hf://datasets/tester/split/validation\"]\n",
    );
    let mut command = hub.polymath(at);
    let refused = command.args(["prepare", "wrong.toml"]).assert().failure();
    refused.stderr(contains("it has the splits `other/train`, `test`, `train`"));
}
