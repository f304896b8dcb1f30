//! Models that the tests of `polymath audit` compare, and the result of a comparison.

use std::path::Path;
use std::sync::OnceLock;

use polymath_model::{AdapterBase, read_adapter, save_adapter};
use serde_json::{Value, json};

use crate::support::fixture::{PREPARE, PRETRAIN, polymath, read_json, succeed, write};

const TRAINING: &str = "batch_size = 4\nlearning_rate = 1e-2\nsequence_length = 32\n[evaluation]\nevery = 6\nmax_tokens = 300\n";

/// Folder with models that all tests read: two bases, an adapter and a full fine-tuning of the first as runs of this
/// program, and copies of them as other programs would leave them (`plain`, `tuned`, `foreign`, `merged`).
pub fn models() -> &'static Path {
    static MODELS: OnceLock<tempfile::TempDir> = OnceLock::new();
    MODELS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            train(folder.path());
            folder
        })
        .path()
}

fn train(at: &Path) {
    let mut config =
        "output = \"data\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 280\n".to_owned();
    for name in ["counting", "letters"] {
        let line = |number: u32| match name {
            "counting" => (number * 31..number * 31 + 30)
                .map(|n| format!("{n} "))
                .collect(),
            _ => format!("{} is letter {number} ", "abc".repeat(number as usize % 9)),
        };
        let lines = (0..120).map(|number| format!("{}\n", json!({ "text": line(number) })));
        write(at, &format!("{name}.jsonl"), &lines.collect::<String>());
        config += &format!("[domains.{name}]\npaths = [\"{name}.jsonl\"]\n");
    }
    write(at, "prepare.toml", &config);
    let base = format!(
        "dataset = \"data\"\nrun = \"base\"\n[mixture]\ndomains = [\"counting\"]\n[model]\nhidden_size = 32\n\
         num_hidden_layers = 2\nnum_attention_heads = 4\nmax_position_embeddings = 512\n[training]\nsteps = 24\n{TRAINING}"
    );
    write(at, "pretrain.toml", &base);
    let tune = format!(
        "base = \"base/best\"\ndataset = \"data\"\ndomain = \"letters\"\nrun = \"full\"\n[training]\nsteps = 24\n{TRAINING}"
    );
    write(at, "finetune.toml", &tune);
    succeed(at, &PREPARE);
    succeed(at, &PRETRAIN);
    succeed(at, &["pretrain", "pretrain.toml", "run=other", "seed=7"]);
    succeed(at, &["finetune", "finetune.toml"]);
    let lora = ["run=lora", "method=lora", "lora.rank=4"];
    succeed(at, &[&["finetune", "finetune.toml"][..], &lora].concat());
    succeed(at, &["merge", "lora", "-o", "merged-run"]);
    for (run, copy) in [
        ("base/best", "plain"),
        ("full/best", "tuned"),
        ("other/best", "stranger"),
        ("merged-run", "merged"),
    ] {
        copy_model(&at.join(run), &at.join(copy));
    }
    foreign(at, "foreign", "plain");
}

/// Copies the files that any program writes for a model, without those in which this program records its base.
pub fn copy_model(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        if from.join(name).is_file() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Writes a copy of the adapter as PEFT would: with the name of its base, and without a digest of the base's weights.
pub fn foreign(at: &Path, folder: &str, base: &str) {
    let mut adapter = read_adapter(&at.join("lora/best").canonicalize().unwrap()).unwrap();
    adapter.base = AdapterBase {
        folder: base.into(),
        published: None,
        sha256: None,
    };
    std::fs::create_dir(at.join(folder)).unwrap();
    save_adapter(&at.join(folder), &adapter).unwrap();
}

/// Result of one `polymath audit`: exit code, `audit.json`, console output and HTML page.
pub struct Audited {
    pub code: i32,
    pub json: Value,
    pub told: String,
    pub page: String,
}

impl Audited {
    /// Returns a value of every finding.
    fn of_findings(&self, key: &str) -> Vec<&str> {
        let findings = self.json["findings"].as_array().unwrap().iter();
        findings
            .map(|finding| finding[key].as_str().unwrap())
            .collect()
    }

    pub fn kinds(&self) -> Vec<&str> {
        self.of_findings("kind")
    }

    pub fn what(&self) -> String {
        self.of_findings("what").join("\n")
    }

    /// Checks that the audit reports a finding of this kind, exits with 5, and shows no figures.
    pub fn refuses(&self, kind: &str) {
        assert_eq!(self.kinds(), [kind], "{}", self.told);
        assert_eq!(self.code, 5, "{}", self.told);
        assert_eq!(self.json["verdict"], "invalid");
        assert!(
            self.json["report"].is_null() && self.told.contains("No verdict"),
            "{}",
            self.told
        );
        for reassuring in ["kept", "bits per byte on held-out"] {
            assert!(!self.told.contains(reassuring), "{}", self.told);
        }
        assert!(self.page.contains("No figures are shown"), "{}", self.page);
    }
}

pub fn run(arguments: &[&str]) -> Audited {
    let at = models();
    let output = tempfile::tempdir().unwrap();
    let folder = output.path().join("audit");
    let mut command = polymath(at);
    command
        .arg("audit")
        .args(arguments)
        .args(["--tokens", "30000", "-o"])
        .arg(&folder);
    let ended = command.output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert!(
        folder.join("audit.json").is_file(),
        "{arguments:?}: {errors}"
    );
    Audited {
        code: ended.status.code().unwrap(),
        json: read_json(&folder.join("audit.json")),
        told,
        page: std::fs::read_to_string(folder.join("audit.html")).unwrap(),
    }
}
