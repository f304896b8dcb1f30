//! Test of every file that `polymath tune` writes of a request, for a base whose documents begin with another token
//! than they end with.

use predicates::prelude::predicate::in_iter;
use serde_json::{Value, json};
use toml::Table;

use crate::support::fixture::{copy_of_base, polymath, prepare, read_json, write};

/// Checks that the configs say what the request says, that the niche holds out a tenth of its documents, and that the
/// report judges by the request's limit.
#[test]
fn configs_say_what_the_request_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    copy_of_base(at, "small");
    let mut config = read_json(&at.join("small/config.json"));
    config["bos_token_id"] = 7.into();
    write(at, "small/config.json", &config.to_string());
    let tokenizer = read_json(&at.join("small/tokenizer.json"));
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let (begin, _) = vocabulary.iter().find(|(_, id)| **id == json!(7)).unwrap();
    let settings = [
        "training.steps=2",
        "training.batch_size=2",
        "evaluation.max_tokens=4000",
    ];
    polymath(at)
        .args([
            "tune",
            "small",
            "raw/asked.jsonl",
            "--retain",
            "raw/counting.jsonl",
            "raw/letters.jsonl",
        ])
        .args(["--limits", "default=0.5,letters=0.75", "-o", "out"])
        .args(settings)
        .assert()
        .code(in_iter([0, 3, 4]));
    let written = |name: &str| -> Table {
        let text = std::fs::read_to_string(at.join("out").join(name)).unwrap();
        text.parse().unwrap()
    };
    let as_table = |text: &str| -> Table { text.parse().unwrap() };
    assert_eq!(
        written("tune.toml"),
        as_table(&format!(
            "domain = \"asked\"\n[request]\nbase = \"small\"\ndata = [\"raw/asked.jsonl\"]\n\
             retain = [\"raw/counting.jsonl\", \"raw/letters.jsonl\"]\nmethod = \"full\"\nsettings = {settings:?}\n\
             [request.limits]\ndefault = 0.5\nletters = 0.75\n"
        ))
    );
    // 160 documents of the niche, of which the usual twentieth would be 8.
    assert_eq!(
        written("prepare.toml"),
        as_table(&format!(
            "output = \"out/data\"\n[tokenizer]\npath = \"small/tokenizer.json\"\nbos_token = {begin:?}\n\
             eos_token = \"<|endoftext|>\"\n[domains.asked]\npaths = [\"raw/asked.jsonl\"]\nheldout_groups = 16\n\
             [domains.counting]\npaths = [\"raw/counting.jsonl\"]\nheldout_groups = 40\n[domains.letters]\n\
             paths = [\"raw/letters.jsonl\"]\nheldout_groups = 40\n"
        ))
    );
    assert_eq!(
        written("finetune.toml"),
        as_table(
            "base = \"small\"\ndataset = \"out/data\"\ndomain = \"asked\"\nretain = \"out/data\"\nrun = \"out/run\"\n\
             method = \"full\"\n[retention.limits]\ndefault = 0.5\nletters = 0.75\n[training]\nsteps = 2\nbatch_size = 2\n\
             [evaluation]\nmax_tokens = 4000\n"
        )
    );
    let dataset = read_json(&at.join("out/data/dataset.json"));
    let ends = &dataset["tokenizer"];
    assert_eq!(
        (&ends["bos_token_id"], &ends["eos_token_id"]),
        (&json!(7), &json!(0))
    );
    assert_eq!(dataset["domains"]["asked"]["heldout"]["documents"], 16);
    let report = read_json(&at.join("out/report/report.json"));
    assert_eq!(report["settings"]["tolerance"], 0.5);
    let run = &report["runs"][0];
    assert_eq!(
        (&run["name"], &report["runs"][1]),
        (&json!("out"), &Value::Null)
    );
    let roles = run["domains"].as_array().unwrap().iter();
    let roles: Vec<(&str, &str)> = roles
        .map(|domain| {
            (
                domain["name"].as_str().unwrap(),
                domain["role"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        roles,
        [
            ("asked", "niche"),
            ("counting", "retained"),
            ("letters", "retained")
        ]
    );
}
