//! Tests of new tokens, and of models with different tokenizers, through the binary.

use std::collections::BTreeMap;
use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::support::fixture::{
    assert_resumes, finetune, polymath, prepare, read_json as json, write,
};

const EMBEDDING: &str = "model.embed_tokens.weight";
/// Setting that adds an ordinary token, recognized in text. Every document of the niche contains it.
const ORDINARY: &str = "tokenizer.add=[\" you said\"]";
const SPECIAL: &str = "tokenizer.add_special=[\"<|tool|>\"]";

/// Returns the rows of a parameter of a saved model as vectors.
fn rows(folder: &Path, name: &str) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let numbers: Vec<f32> = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let rows = numbers.chunks(view.shape()[1]);
    rows.map(<[f32]>::to_vec).collect()
}

/// Copies a model folder, with its embedding replaced by the given rows and with a changed `config.json`.
fn copy(from: &Path, to: &Path, embedding: &[Vec<f32>], change: impl FnOnce(&mut Value)) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("tokenizer.json"), to.join("tokenizer.json")).unwrap();
    let mut config = json(&from.join("config.json"));
    config["vocab_size"] = embedding.len().into();
    change(&mut config);
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows: Vec<u8> = embedding
        .iter()
        .flatten()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let mut tensors: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
    let shape = vec![embedding.len(), embedding[0].len()];
    let view = TensorView::new(Dtype::F32, shape, &rows).unwrap();
    tensors.insert(EMBEDDING.to_owned(), view);
    safetensors::serialize_to_file(tensors, None, &to.join("model.safetensors")).unwrap();
}

fn evaluated(at: &Path, model: &str, dataset: &str) -> Value {
    let output = polymath(at)
        .args(["evaluate", model, "--dataset", dataset, "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["domains"].take()
}

/// Returns the change of each domain between two models, without the domains whose number is withheld.
fn forgotten(at: &Path, [base, tuned]: [&str; 2], more: &[&str]) -> BTreeMap<String, f64> {
    polymath(at)
        .args(["report", base, tuned, "-o", "report"])
        .args(more)
        .assert()
        .success()
        .stderr(contains("with another tokenizer").and(contains("tokenized again")));
    let report = json(&at.join("report/report.json"));
    let domains = report["runs"][0]["domains"].as_array().unwrap();
    domains
        .iter()
        .filter_map(|domain| {
            let name = domain["name"].as_str().unwrap().to_owned();
            Some((name, domain["change"].as_f64()?))
        })
        .collect()
}

/// Checks that a model with permuted tokens and rows scores the same on every domain through its own tokenizer, since
/// it computes the same function of text.
#[test]
fn models_are_compared_by_their_own_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let base = at.join("runs/base/best");
    let embedding = rows(&base, EMBEDDING);
    let size = embedding.len();
    // 7 and the vocabulary size have no common factor, so that this is a permutation.
    let number = |id: u64| (id * 7 + 5) % size as u64;
    assert!(!size.is_multiple_of(7));
    let mut moved = vec![Vec::new(); size];
    for (id, row) in embedding.into_iter().enumerate() {
        moved[number(id as u64) as usize] = row;
    }
    copy(&base, &at.join("renumbered"), &moved, |config| {
        config["bos_token_id"] = number(0).into();
        config["eos_token_id"] = number(0).into();
    });
    let path = at.join("renumbered/tokenizer.json");
    let mut tokenizer = json(&path);
    for token in tokenizer["added_tokens"].as_array_mut().unwrap() {
        token["id"] = number(token["id"].as_u64().unwrap()).into();
    }
    for id in tokenizer["model"]["vocab"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        *id = number(id.as_u64().unwrap()).into();
    }
    std::fs::write(&path, tokenizer.to_string()).unwrap();

    let (own, other) = (
        evaluated(at, "runs/base/best", "data"),
        evaluated(at, "renumbered", "data"),
    );
    for (name, domain) in own.as_object().unwrap() {
        for key in ["tokens", "bytes", "documents"] {
            assert_eq!(domain[key], other[name][key], "{name} {key}");
        }
        let bits = |domain: &Value| domain["bits_per_byte"].as_f64().unwrap();
        assert!((bits(domain) - bits(&other[name])).abs() < 1e-6, "{name}");
    }
    let models = ["runs/base/best", "renumbered"];
    for more in [&[][..], &["--max-tokens", "700"]] {
        let changes = forgotten(at, models, &[&["--dataset", "data"], more].concat());
        assert_eq!(changes.len(), 3);
        for (name, change) in changes {
            assert!(change.abs() < 1e-6, "{name}: {change}");
        }
    }
}

/// Checks that new rows start at the mean of the base's. Before training, an extended model loses, on text without
/// new tokens, at most the probability that the new tokens get: by Jensen's inequality, ln(1 + new/known) per token.
#[test]
fn untrained_tokens_cost_almost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(
        at,
        "still",
        &[ORDINARY, SPECIAL, "training.learning_rate=1e-30"],
    )
    .assert()
    .success();
    let before = rows(&at.join("runs/base/best"), EMBEDDING);
    let known = before.len();
    for folder in ["runs/still.base", "runs/still/best"] {
        let after = rows(&at.join(folder), EMBEDDING);
        assert_eq!(after.len(), known + 2);
        assert_eq!(&after[..known], &before[..], "{folder}");
        for column in 0..before[0].len() {
            let sum: f64 = before.iter().map(|row| f64::from(row[column])).sum();
            let mean = (sum / known as f64) as f32;
            for row in &after[known..] {
                assert!((row[column] - mean).abs() < 1e-7, "{folder}");
            }
        }
    }
    let scores = evaluated(at, "runs/base/best", "data");
    let changes = forgotten(at, ["runs/base/best", "runs/still"], &[]);
    for name in ["counting", "letters"] {
        let figure = |key: &str| scores[name][key].as_f64().unwrap();
        let most = (2.0 / known as f64).ln_1p() / std::f64::consts::LN_2;
        let most = most * figure("tokens") / figure("bytes");
        let change = changes[name];
        assert!(change > 0.0 && change < most, "{name}: {change} of {most}");
    }
    // The two models split the niche's documents into other tokens, but the text has the same number of bytes.
    assert_eq!(
        evaluated(at, "runs/still", "data")["asked"]["bytes"],
        scores["asked"]["bytes"]
    );
}

/// Checks that new tokens are learned from a dataset in the base's tokens and from raw text, with all retention
/// methods. The checkpoint has them in its files, generates them, resumes to the same bits, and can be tuned on the
/// original datasets.
#[test]
fn new_tokens_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "tokens.txt", "it is\n\nnumber\n");
    let retaining = [
        ORDINARY,
        SPECIAL,
        "tokenizer.add_file=tokens.txt",
        "retention.replay=0.25",
        "retention.l2sp=0.001",
        "retention.ewc.strength=0.1",
        "retention.ewc.tokens=300",
        "retention.distill.strength=0.1",
    ];
    finetune(at, "whole", &retaining).assert().success();
    let changes = forgotten(at, ["runs/base/best", "runs/whole"], &[]);
    assert!(changes["asked"] < -0.5, "{changes:?}");
    let best = at.join("runs/whole/best");
    let known = rows(&at.join("runs/base/best"), EMBEDDING).len();
    assert_eq!(json(&best.join("config.json"))["vocab_size"], known + 4);
    let tokenizer = json(&best.join("tokenizer.json"));
    let added: Vec<(&Value, &Value)> = tokenizer["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (&token["content"], &token["special"]))
        .collect();
    let expected = [
        ("<|endoftext|>", true),
        (" you said", false),
        ("it is", false),
        ("number", false),
        ("<|tool|>", true),
    ];
    for ((content, special), (name, is_special)) in added.iter().zip(expected) {
        assert_eq!((*content, *special), (&name.into(), &is_special.into()));
    }
    assert_eq!(added.len(), expected.len());
    let said = [
        "generate",
        "runs/whole",
        "--max-tokens",
        "5",
        "--echo",
        "--prompt",
    ];
    polymath(at)
        .args(said)
        .arg("say 5, you said")
        .assert()
        .success()
        .stdout(contains("say 5, you said"));
    assert_resumes(at, "whole", 3, &retaining);
    mixes(at);

    // Raw text is prepared with the new tokens; the base reads it with its own.
    let config = std::fs::read_to_string(at.join("finetune.toml")).unwrap();
    let config = config.replace(
        "dataset = \"data\"\ndomain = \"asked\"",
        "texts = [\"raw/asked.jsonl\"]",
    );
    write(at, "texts.toml", &config.replace("runs/full", "runs/texts"));
    polymath(at)
        .args(["finetune", "texts.toml", ORDINARY])
        .assert()
        .success();
    let changes = forgotten(at, ["runs/base/best", "runs/texts"], &[]);
    // The base's dataset has a domain `asked` of the same text, whose number is withheld.
    assert!(changes["asked-texts"] < -0.5, "{changes:?}");
    assert!(!changes.contains_key("asked"), "{changes:?}");

    // A second fine-tuning reads the original datasets and needs no new tokens.
    finetune(at, "second", &["base=runs/whole", "domain=letters"])
        .assert()
        .success();
    assert_eq!(
        json(&at.join("runs/second/best/config.json"))["vocab_size"],
        known + 4
    );
}

/// Checks that `interpolate` mixes the tuned model with the extended base, and refuses the original base, which lacks
/// the new tokens.
fn mixes(at: &Path) {
    let between = |base: &str| {
        let mut command = polymath(at);
        command.args(["interpolate", base, "runs/whole", "-o", "mixed"]);
        command.assert()
    };
    between("runs/base/best")
        .code(2)
        .stderr(contains("is mixed with its own `<run>.base`"));
    between("runs/whole.base").success();
}

/// Checks that limits hold for a model with new tokens, with the base measured by its own tokenizer.
#[test]
fn limits_are_kept_with_new_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let limits = [
        ORDINARY,
        "retention.limits.default=0.5",
        "retention.replay=0.3",
        "evaluation.max_tokens=5000",
    ];
    finetune(at, "limited", &limits)
        .assert()
        // Sixteen documents of a domain can show that a limit is not broken, but hardly that it is kept.
        .code(&[0, 4][..])
        .stdout(contains("limits, on the test split"));
}

/// Checks that new tokens use the padding rows of an embedding before it is extended.
#[test]
fn padding_rows_are_used_first() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let base = at.join("runs/base/best");
    let mut padded = rows(&base, EMBEDDING);
    let known = padded.len();
    padded.extend(vec![vec![9.0; padded[0].len()]; 2]);
    copy(&base, &at.join("padded"), &padded, |_| {});
    for (run, tokens, size) in [
        ("one", "tokenizer.add=[\" you said\"]", known + 2),
        (
            "three",
            "tokenizer.add=[\" you said\", \"it is\", \"number\"]",
            known + 3,
        ),
    ] {
        let settings = ["base=padded", tokens, "training.steps=2"];
        finetune(at, run, &settings).assert().success();
        let extended = rows(&at.join(format!("runs/{run}.base")), EMBEDDING);
        assert_eq!(extended.len(), size);
        assert!(extended[known].iter().all(|number| number.abs() < 1.0));
        assert_eq!(extended[known + 1][0] == 9.0, run == "one");
        let saved = json(&at.join(format!("runs/{run}/best/config.json")));
        assert_eq!(saved["vocab_size"], size);
    }
}

/// Checks that invalid tokens, and tokens that would not be trained, are refused before anything is written.
#[test]
fn impossible_tokens_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let frozen = "method=frozen";
    let cases: [(&[&str], &str); 10] = [
        (
            &["tokenizer.add=[\"number\", \"number\"]"],
            "`number` twice",
        ),
        (&["tokenizer.add=[\"\"]"], "which is empty"),
        (&["tokenizer.add=[\"a\"]"], "has the new token `a` already"),
        (
            &["tokenizer.add_special=[\"<|endoftext|>\"]"],
            "already (token 0)",
        ),
        (&["tokenizer.add_file=none.txt"], "none.txt"),
        (&["tokenizer.added=[\"x\"]"], "did you mean `add`?"),
        (
            &[ORDINARY, "method=lora"],
            "`method = \"full\"`, or `\"frozen\"` with `frozen.train = [\"model.embed_tokens\"]`",
        ),
        (&[ORDINARY, "method=dora"], "`method` = `dora`"),
        (
            &[ORDINARY, frozen, "frozen.train_last_layers=1"],
            "`frozen.train` must have [\"model.embed_tokens\"]",
        ),
        (
            &[ORDINARY, frozen, "frozen.train=[\"lm_head\"]"],
            "rows of `model.embed_tokens.weight` have to be learned",
        ),
    ];
    for (settings, said) in cases {
        finetune(at, "refused", settings)
            .assert()
            .code(2)
            .stderr(contains(said));
        assert!(!at.join("runs/refused.base").exists(), "{settings:?}");
    }
    write(at, "runs/taken.base/notes.txt", "mine");
    finetune(at, "taken", &[ORDINARY])
        .assert()
        .code(2)
        .stderr(contains("holds something else"));
    // Training the embedding alone is enough.
    let embedding = [
        ORDINARY,
        frozen,
        "frozen.train=[\"model.embed_tokens\"]",
        "training.steps=2",
    ];
    finetune(at, "embedding", &embedding).assert().success();
}
