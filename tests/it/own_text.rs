//! Test of the README's first configs: a folder of notes, a model trained on it, and conversations to tune the model
//! on.

use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::json;

const WORDS: [&str; 12] = [
    "river", "lamp", "bridge", "apples", "letter", "gate", "box", "road", "keys", "clock", "page",
    "town",
];

fn word(number: usize) -> &'static str {
    WORDS[number * 7919 % 101 % WORDS.len()]
}

fn polymath(at: &Path) -> Command {
    let mut command = Command::cargo_bin("polymath").unwrap();
    command.current_dir(at).args(["--device", "cpu"]);
    command
}

/// Writes fourteen notes, an unrelated file, and conversations, some of which are empty.
fn write_texts(at: &Path) {
    let notes = at.join("notes");
    std::fs::create_dir(&notes).unwrap();
    for note in 0..14 {
        let paragraph = |number: usize| {
            let words: Vec<&str> = (0..40)
                .map(|at| word(note * 480 + number * 40 + at))
                .collect();
            words.join(" ") + ".\n\n"
        };
        let text: String = (0..12).map(paragraph).collect();
        std::fs::write(
            notes.join(format!("{note}.md")),
            format!("# Note {note}\n\n{text}"),
        )
        .unwrap();
    }
    std::fs::write(notes.join("todo.org"), "* later").unwrap();
    std::fs::write(notes.join("paper.pdf"), "%PDF-1.7").unwrap();
    let talk = |number: usize| {
        let answer = match number % 8 {
            0 => String::new(),
            _ => format!("By the {}, {number}.", word(number + 5)),
        };
        let messages = json!([
            {"role": "human", "content": format!("Where is the {} of {number}?", word(number))},
            {"role": "assistant", "content": answer}
        ]);
        json!({ "messages": messages }).to_string() + "\n"
    };
    let chat: String = (0..80).map(talk).collect();
    std::fs::write(at.join("chat.jsonl"), chat).unwrap();
}

#[test]
fn own_text_goes_from_notes_to_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_texts(at);
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cli/configs");
    for command in ["prepare", "pretrain", "finetune"] {
        let name = format!("{command}.toml");
        std::fs::copy(configs.join(&name), at.join(&name)).unwrap();
        let config = std::fs::read_to_string(at.join(&name)).unwrap();
        // The help ends with the same text, wrapped to the terminal's width.
        let last = config.lines().last().unwrap().to_owned();
        let mut help = polymath(at);
        help.args([command, "--help"])
            .assert()
            .success()
            .stdout(contains(last));
    }
    let left_out = "files left out, since their kind is not supported: `.pdf` 1";
    let mut prepare = polymath(at);
    prepare
        .args(["prepare", "prepare.toml"])
        .assert()
        .success()
        .stdout(contains(left_out))
        .stdout(contains("files read as text: `.org` 1"));
    let mut quoted = polymath(at);
    quoted.args(["prepare", "prepare.toml", "output=data/other"]);
    quoted.arg("domains.\"talks v1.2\".paths=[\"chat.jsonl\"]");
    quoted.assert().success().stdout(contains("  talks v1.2 "));
    let small = [
        "training.steps=4",
        "training.batch_size=2",
        "model.hidden_size=64",
    ];
    let mut pretrain = polymath(at);
    pretrain.args(["pretrain", "pretrain.toml"]).args(small);
    pretrain
        .assert()
        .success()
        .stdout(contains("bits per byte of notes: checkpoints/own/best"));
    // The packing of the conversations is reported by the dry run and at the start of the run.
    let said =
        "chat: left out since it has nothing to learn (only white space, or no response): 10 texts";
    let renamed = "chat: roles read as another: `human` as `user` 80";
    let mut plan = polymath(at);
    plan.args(["finetune", "finetune.toml", "--dry-run"]);
    plan.assert()
        .success()
        .stdout(contains(said))
        .stdout(contains(renamed));
    let mut finetune = polymath(at);
    finetune.args(["finetune", "finetune.toml", small[0], small[1]]);
    finetune
        .assert()
        .success()
        .stderr(contains(said))
        .stderr(contains(renamed));
    let mut forget = polymath(at);
    forget.args([
        "report",
        "checkpoints/own",
        "checkpoints/own-chat",
        "-o",
        "report",
    ]);
    forget
        .assert()
        .success()
        .stdout(contains("chat (niche)"))
        .stdout(contains("notes"));
    assert!(at.join("report/report.html").is_file());
    let mut generate = polymath(at);
    generate.args(["generate", "checkpoints/own-chat", "--max-tokens", "3"]);
    generate.args(["--raw", "--echo", "--prompt", "user: Hello\nassistant: "]);
    generate
        .assert()
        .success()
        .stdout(contains("user: Hello\nassistant:"));
    // The conversations taught the model turns, so it has a template for them; its base has none.
    let template = at.join("checkpoints/own-chat/best/chat_template.jinja");
    assert!(template.is_file());
    for (model, is_without) in [("checkpoints/own-chat", false), ("checkpoints/own", true)] {
        let mut chat = polymath(at);
        chat.args(["chat", model, "--max-tokens", "3"]);
        let said = chat.write_stdin("Hello\n").assert().success();
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert_eq!(said.contains("has no chat template"), is_without, "{said}");
    }
}
