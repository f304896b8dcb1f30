//! Tests of bad input, which the program explains in one sentence.

use super::*;

/// Checks that the program explains bad input in one sentence before any work, and exits with the right code.
#[test]
fn bad_input_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    let refused = |arguments: &[&str], code: i32, sentence: &str| {
        let output = polymath(at).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(sentence), "{arguments:?}: {error}");
        assert!(
            !error.contains("panicked") && error.lines().count() <= 4,
            "{error}"
        );
    };
    refused(
        &["pretrain", "pretrain.toml"],
        2,
        "no finished dataset here",
    );
    succeed(at, &PREPARE);
    refused(
        &["pretrain", "pretrain.toml", "training.lerning_rate=1"],
        2,
        "did you mean `learning_rate`?",
    );
    refused(
        &[
            "pretrain",
            "pretrain.toml",
            "training.tokens=5",
            "training.steps=5",
        ],
        2,
        "choose one",
    );
    refused(
        &["pretrain", "pretrain.toml", "model.num_attention_heads=5"],
        2,
        "does not divide",
    );
    refused(
        &["pretrain", "pretrain.toml", "mixture.domains=[\"cooking\"]"],
        2,
        "no domain `cooking`",
    );
    refused(&["pretrain", "missing.toml"], 2, "`missing.toml`");
    refused(&["finetune", "finetune.toml"], 2, "runs/base/best");
    refused(&["evaluate", "data"], 1, "data");
    refused(
        &["serve", "x", "--queue", "18446744073709551615"],
        2,
        "expected at most 1000000",
    );
    refused(
        &["prepare", "prepare.toml", "tokenizer.vocab_size=9000000000"],
        2,
        "expected at most 1048576",
    );
    for threads in ["0", "100000"] {
        refused(
            &["generate", "x", "--threads", threads],
            2,
            "expected 1 to 1024",
        );
    }
    write(at, "raw/latin1.txt", "");
    std::fs::write(at.join("raw/latin1.txt"), b"caf\xe9").unwrap();
    refused(
        &[
            "prepare",
            "prepare.toml",
            "output=other",
            "domains.letters.paths=[\"raw/latin1.txt\"]",
        ],
        1,
        "is not UTF-8",
    );
    refused(
        &[
            "prepare",
            "prepare.toml",
            "output=other",
            "domains.letters.paths=[\"raw/no*.txt\"]",
        ],
        1,
        "matches no file",
    );

    succeed(at, &PRETRAIN);
    refused(
        &["finetune", "finetune.toml", "training.sequence_length=64"],
        2,
        "longer than the base's context of 48",
    );
    refused(
        &["finetune", "finetune.toml", "domain=cooking"],
        2,
        "`domain` = `cooking`",
    );
    polymath(at)
        .args([
            "prepare",
            "prepare.toml",
            "output=foreign",
            "tokenizer.vocab_size=290",
        ])
        .assert()
        .success();
    refused(
        &["finetune", "finetune.toml", "dataset=foreign"],
        2,
        "another tokenizer",
    );
    let weights = at.join("runs/base/best/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes.truncate(1000);
    std::fs::write(&weights, bytes).unwrap();
    refused(
        &["finetune", "finetune.toml"],
        2,
        "`model.safetensors` was altered or cut off",
    );
}
