//! Tests of `init` and `config`: first configs for a folder of texts, and the commented keys of every config.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::prelude::predicate::in_iter;
use predicates::str::{contains, is_match};
use serde_json::json;

use crate::support::fixture::{files, polymath, write};

const WORDS: [&str; 10] = [
    "river", "lamp", "bridge", "apples", "letter", "gate", "box", "road", "keys", "clock",
];

/// Writes two folders of texts, a file of conversations, a picture, and a dataset of this program.
fn write_texts(at: &Path) {
    for (domain, from) in [("notes", 3), ("letters", 7)] {
        for number in 0..100 {
            // Texts without near-duplicates, which would count as one.
            let mut state = (number * 10 + from) as u32;
            let words = (0..80).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                WORDS[(state >> 16) as usize % 10]
            });
            let words: Vec<&str> = words.collect();
            let text = format!("# {domain} {number}\n\n{}.\n", words.join(" "));
            write(at, &format!("texts/{domain}/{number}.md"), &text);
        }
    }
    let talk = |number: usize| {
        let question = json!({"role": "user", "content": format!("Where is {number}?")});
        let answer =
            json!({"role": "assistant", "content": format!("By the {}.", WORDS[number % 10])});
        json!({"messages": [question, answer]}).to_string() + "\n"
    };
    write(
        at,
        "texts/chat.jsonl",
        &(0..80).map(talk).collect::<String>(),
    );
    write(at, "texts/picture.png", "\u{89}PNG\0\0");
    write(at, "texts/old/dataset.json", "{}");
}

/// Checks that the written configs of a folder of texts are accepted unchanged by each command in turn, and that they
/// list every key.
#[test]
fn configs_of_a_folder_are_accepted_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_texts(at);
    let arguments = ["init", "texts", "--minutes", "0.05"];
    polymath(at)
        .args(arguments)
        .assert()
        .success()
        .stderr(contains("notes: 100 documents").and(contains("in 100 files (.md 100)")))
        .stderr(contains("chat: 80 prompts with answers").and(contains("`.png` 1")))
        .stderr(contains("tokens per second, measured"))
        .stdout(
            is_match(
                "^Next, after a look at the configs:\n  polymath prepare prepare.toml\n  polymath pretrain pretrain.toml    # about \
                 a minute\n  polymath finetune finetune.toml    # `--dry-run` says how long\n$",
            )
            .unwrap(),
        );
    let text = |name: &str| std::fs::read_to_string(at.join(name)).unwrap();
    let prepared = text("prepare.toml");
    assert!(
        prepared.contains("[domains.notes]\n") && !prepared.contains("[domains.old]"),
        "{prepared}"
    );
    assert!(
        prepared.contains("\n#heldout_fraction = 0.05\n"),
        "{prepared}"
    );
    let table = |text: &str| -> toml::Table { text.parse().unwrap() };
    assert_eq!(
        table(&prepared),
        table(
            "output = \"data/texts\"\n[domains.letters]\npaths = [\"texts/letters\"]\nheldout_groups = 40\n[domains.notes]\n\
             paths = [\"texts/notes\"]\nheldout_groups = 40\n"
        )
    );
    assert_eq!(
        table(&text("finetune.toml")),
        table(
            "base = \"checkpoints/texts\"\ntexts = [\"texts/chat.jsonl\"]\nrun = \"checkpoints/texts-tuned\"\n\
             retain = \"data/texts\"\n[retention.limits]\ndefault = 0.02\n"
        )
    );
    let pretrain = table(&text("pretrain.toml"));
    let places = ["dataset", "run"].map(|key| pretrain[key].as_str());
    assert_eq!(places, [Some("data/texts"), Some("checkpoints/texts")]);
    for key in [
        "\n#schedule = \"cosine\"",
        "\ntokens = ",
        "\nhidden_size = ",
    ] {
        assert!(text("pretrain.toml").contains(key), "{key}");
    }
    for command in ["prepare", "pretrain"] {
        let config = format!("{command}.toml");
        polymath(at).args([command, &config]).assert().success();
    }
    assert!(at.join("checkpoints/texts/best").exists());
    polymath(at)
        .args(["finetune", "finetune.toml", "--dry-run"])
        .assert()
        .success()
        .stdout(contains("niche: chat; watched: chat, letters, notes"));
    let few = ["training.steps=4", "training.batch_size=2"];
    polymath(at)
        .args(["finetune", "finetune.toml"])
        .args(few)
        .assert()
        .code(in_iter([0, 3, 4]));

    let before = files(at);
    polymath(at)
        .args(arguments)
        .assert()
        .code(2)
        .stderr(contains("`prepare.toml` exists and is not overwritten"));
    assert_eq!(files(at), before);
}

/// Checks that what programs made is named and left out, that names with the special characters of globs and shells
/// work, that the language is told, and that a text too small to learn from is said to be so.
#[test]
fn odd_folders_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let told = "The river was quiet that evening, and nobody spoke about what they had seen in the old house. ";
    let say = "Der Fluss war still an diesem Abend, und niemand sprach über das, was sie im alten Haus gesehen hatten. ";
    for number in 0..60 {
        write(
            at,
            &format!("my [texts]/{number}.txt"),
            &format!("{number}. {}", told.repeat(5)),
        );
        write(
            at,
            &format!("my [texts]/deutsch/{number}.txt"),
            &format!("{number}. {}", say.repeat(5)),
        );
    }
    write(at, "my [texts]/checkpoints/first/run.toml", "seed = 1");
    write(at, "my [texts]/report/report.json", "{}");
    polymath(at)
        .args(["init", "prepare", "my [texts]", "-o", "the configs"])
        .assert()
        .success()
        .stderr(
            contains("60 documents, 28 kB of text in English")
                .and(contains("of text in German"))
                .and(contains("`my [texts]/checkpoints` is left out: it is a folder of what was made (`first` is a run)"))
                .and(contains("`my [texts]/report` is left out: it is a report")),
        )
        .stdout(contains("polymath prepare 'the configs/prepare.toml'"));
    polymath(at)
        .args(["prepare", "the configs/prepare.toml"])
        .assert()
        .success();
    for made in ["my [texts]/checkpoints/first", "my [texts]/checkpoints"] {
        polymath(at)
            .args(["init", "prepare", made])
            .assert()
            .code(2)
            .stderr(contains("whose files are not texts"));
    }
    write(at, "tiny/a.txt", "Hello there.");
    polymath(at)
        .args(["init", "prepare", "tiny"])
        .assert()
        .success()
        .stderr(contains("all of it is 12 B of text").and(contains("from about 20 kB on")));
}

/// Checks that one config alone is written where it is asked for, and that a folder without text is refused.
#[test]
fn one_config_is_written_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_texts(at);
    polymath(at)
        .args(["init", "finetune", "texts", "-o", "configs"])
        .assert()
        .success();
    let names = std::fs::read_dir(at.join("configs")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["finetune.toml"]);
    // Without an own model, a model of the hub is tuned, within a budget on text that it generates.
    let text = std::fs::read_to_string(at.join("configs/finetune.toml")).unwrap();
    assert!(
        text.contains("\nbase = \"HuggingFaceTB/SmolLM2-135M-Instruct\"\n"),
        "{text}"
    );
    let config: toml::Table = text.parse().unwrap();
    let expected: toml::Table =
        "base = \"HuggingFaceTB/SmolLM2-135M-Instruct\"\ntexts = [\"texts/chat.jsonl\"]\n\
         run = \"checkpoints/texts-tuned\"\n[retention.limits]\ndefault = 0.02\n"
            .parse()
            .unwrap();
    assert_eq!(config, expected);
    std::fs::create_dir(at.join("empty")).unwrap();
    write(at, "pictures/a.png", "\u{89}PNG\0\0");
    for (folder, said) in [
        ("empty", "has no text to learn from"),
        ("pictures", "has no text to learn from"),
        ("nowhere", "`nowhere` is not a folder"),
    ] {
        polymath(at)
            .args(["init", folder])
            .assert()
            .code(2)
            .stderr(contains(said));
    }
    polymath(at)
        .args(["init", "tune", "texts"])
        .assert()
        .code(2)
        .stderr(contains("`tune` is not a config"));
}

/// Checks that a folder without conversations gets the configs of the pretraining, and a command that tunes its model.
#[test]
fn a_folder_without_conversations_is_tuned_on_other_text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_texts(at);
    std::fs::remove_file(at.join("texts/chat.jsonl")).unwrap();
    polymath(at)
        .args(["init", "texts", "--minutes", "0.05"])
        .assert()
        .success()
        .stdout(contains(
            "\n  polymath tune checkpoints/texts TEXT --retain data/texts\n",
        ));
    assert!(at.join("pretrain.toml").exists() && !at.join("finetune.toml").exists());
    // With conversations, a config of the pretraining alone does not say that there are none.
    write(
        at,
        "texts/chat.jsonl",
        &"{\"prompt\": \"a\", \"response\": \"b\"}\n".repeat(9),
    );
    polymath(at)
        .args([
            "init",
            "pretrain",
            "texts",
            "--minutes",
            "0.05",
            "-o",
            "alone",
        ])
        .assert()
        .success()
        .stdout(contains("polymath tune").not());
}

/// Checks that the keys of every config are printed with their types, units and defaults.
#[test]
fn keys_of_every_config_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (command, line) in [
        ("prepare", "#heldout_fraction = 0.05"),
        ("pretrain", "#[model]"),
        ("finetune", "#gradient_clip = 1.0"),
        ("frontier", "#seeds = [1, 2, 3]"),
        ("transfer", "#early_share = 0.05"),
    ] {
        polymath(folder.path())
            .args(["config", command])
            .assert()
            .success()
            .stdout(contains(line));
    }
}
