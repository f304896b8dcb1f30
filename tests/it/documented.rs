//! Test that runs the commands of the README, of getting started and of the guides, extracted from the pages
//! themselves.
//!
//! The pages of the book continue one another: they run in the order of `docs/SUMMARY.md`, in one folder, where each
//! finds the files of the pages before it. There, `polymath` is a script that makes runs small, and models of the hub
//! come from a local server.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::pages;
use crate::support::pages::Block;
use crate::support::served::{Hub, PRIVATE_TOKEN};

/// Shell script in place of `polymath`, which adds overrides that make runs small.
const SHIM: &str = r#"#!/bin/sh
# What a page shows is run with sizes for a test.
program=$1
shift
command=$1
case $command in
pretrain) set -- "$@" training.steps=4 training.batch_size=2 model.hidden_size=32 model.num_hidden_layers=2 model.num_attention_heads=4 ;;
finetune) set -- "$@" training.steps=4 training.batch_size=2 ;;
init) set -- "$@" --minutes 0.1 ;;
tune)
    set -- "$@" training.steps=4 training.batch_size=2
    case " $* " in *" --retain "*) ;; *) set -- "$@" retention.replay.tokens=300 ;; esac ;;
frontier | transfer) set -- "$@" shared.training.steps=4 shared.training.batch_size=2 ;;
bench) set -- "$@" --steps 1 training.batch_size=2 model.hidden_size=32 model.num_hidden_layers=2 ;;
demo) set -- "$@" --steps 1 --megabytes 1 ;;
esac
case " $* " in *" --help "* | *" --version "* | *" help "*) exec "$program" "$@" | cat ;; esac
exec "$program" --device cpu "$@"
"#;

const WORDS: [&str; 20] = [
    "river", "lamp", "bridge", "apples", "letter", "gate", "box", "road", "keys", "clock", "page",
    "town", "stone", "green", "light", "bread", "water", "house", "winter", "garden",
];

fn word(number: usize, from: usize) -> &'static str {
    WORDS[from + number * 7919 % 10007 % 12]
}

/// Writes three domains of 400 short texts each, and 400 conversations.
fn write_texts(at: &Path) {
    for (domain, from) in [("notes", 0), ("letters", 8), ("poems", 4)] {
        fs::create_dir(at.join(domain)).unwrap();
        for text in 0..400 {
            let sentence = |number: usize| {
                let words: Vec<&str> = (0..12)
                    .map(|at| word(text * 101 + number * 17 + at * 3, from))
                    .collect();
                words.join(" ") + ".\n\n"
            };
            let body: String = (0..3).map(sentence).collect();
            let path = at.join(domain).join(format!("{text}.md"));
            fs::write(path, format!("# {domain} {text}\n\n{body}")).unwrap();
        }
    }
    fs::create_dir(at.join("texts")).unwrap();
    for domain in ["notes", "letters"] {
        let link = at.join("texts").join(domain);
        std::os::unix::fs::symlink(at.join(domain), link).unwrap();
    }
    let talk = |number: usize| {
        let messages = serde_json::json!([
            {"role": "user", "content": format!("Where is the {} of {number}?", word(number, 0))},
            {"role": "assistant", "content": format!("By the {}, {number}.", word(number * 3, 5))}
        ]);
        serde_json::json!({ "messages": messages }).to_string() + "\n"
    };
    let talks: String = (0..400).map(talk).collect();
    for place in ["chat.jsonl", "texts/chat.jsonl"] {
        fs::write(at.join(place), &talks).unwrap();
    }
    fs::create_dir(at.join("tasks")).unwrap();
    let task = "{\"context\": \"By the\", \"choices\": [\"river\", \"lamp\"], \"answer\": 0}\n";
    fs::write(at.join("tasks/places.jsonl"), task.repeat(8)).unwrap();
}

/// Folder in which a reader of the documentation runs its commands.
struct Reader<'a> {
    at: PathBuf,
    hub: &'a Hub,
}

impl Reader<'_> {
    fn new<'a>(at: &Path, hub: &'a Hub) -> Reader<'a> {
        let bin = at.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let script = |name: &str, text: &str| {
            let path = bin.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let program = assert_cmd::cargo::cargo_bin("polymath");
        script("small", SHIM);
        let call = |before: &str| {
            format!(
                "#!/bin/sh\n{before}exec '{}/small' '{}' \"$@\"\n",
                bin.display(),
                program.display()
            )
        };
        script("polymath", &call(""));
        // `cargo run --release -- demo` runs `polymath demo`; other uses of cargo are an error.
        let run = "[ \"$1 $2 $3\" = 'run --release --' ] || exit 99\nshift 3\n";
        script("cargo", &call(run));
        write_texts(at);
        for folder in ["configs", "crates"] {
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            std::os::unix::fs::symlink(there, at.join(folder)).unwrap();
        }
        Reader {
            at: at.to_owned(),
            hub,
        }
    }

    fn run(&self, script: &str) -> Output {
        let path = format!(
            "{}:{}",
            self.at.join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        std::process::Command::new("sh")
            .args(["-e", "-c", script])
            .current_dir(&self.at)
            .env("PATH", path)
            .env("HF_ENDPOINT", self.hub.address())
            .env("HF_HOME", self.at.join("hf-home"))
            .env("HF_TOKEN", PRIVATE_TOKEN)
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap()
    }

    /// Follows a page like a reader: runs all its commands and writes all files that it shows.
    fn follow(&self, page: &Path, seen: &mut Seen) {
        for block in pages::blocks(page) {
            let commands = block.commands();
            match block {
                Block::File { name, text } => fs::write(self.at.join(name), text).unwrap(),
                Block::NotRun { reason, .. } => {
                    *seen.left_out.entry(reason).or_default() += commands;
                }
                Block::Commands { script, exits } => {
                    let output = self.run(&script);
                    let code = output.status.code().unwrap_or(-1);
                    assert!(
                        exits.contains(&code),
                        "{}: exit code {code} of\n{script}\n{}{}",
                        page.display(),
                        String::from_utf8_lossy(&output.stdout),
                        String::from_utf8_lossy(&output.stderr)
                    );
                    seen.ran += commands;
                }
            }
        }
        seen.pages += 1;
    }
}

/// Numbers of pages, of commands that the test ran, and of commands that it could not run.
#[derive(Default)]
struct Seen {
    pages: usize,
    ran: usize,
    left_out: BTreeMap<String, usize>,
}

/// Returns the pages of getting started and the guides, in the order of the book.
fn story() -> Vec<PathBuf> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    summary
        .lines()
        .filter_map(|line| line.split_once("](")?.1.strip_suffix(')'))
        .filter(|link| link.starts_with("getting-started/") || link.starts_with("guides/"))
        .map(|link| docs.join(link))
        .collect()
}

/// Starts a hub that serves a tiny model under the name of a real one.
fn hub_with_model(at: &Path) -> Hub {
    fs::create_dir(at).unwrap();
    let hub = Hub::start();
    let reader = Reader::new(at, &hub);
    let prepare = "output = \"data\"\n[domains.notes]\npaths = [\"notes\", \"letters\"]\n";
    fs::write(at.join("prepare.toml"), prepare).unwrap();
    let pretrain = "dataset = \"data\"\nrun = \"base\"\n\
        [model]\nhidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 4\n[training]\nsteps = 4\n";
    fs::write(at.join("pretrain.toml"), pretrain).unwrap();
    let made = reader.run("polymath prepare prepare.toml\npolymath pretrain pretrain.toml\n");
    assert!(made.status.success(), "{made:?}");
    let best = at.join("base/best").canonicalize().unwrap();
    hub.serve_folder("HuggingFaceTB/SmolLM2-135M-Instruct", &best);
    hub
}

/// Checks that every command of the README, of getting started and of the guides exits as the page says, or that the
/// page says why it is not run here.
#[test]
fn documented_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with_model(&folder.path().join("hub"));
    let mut seen = Seen::default();
    for (name, list) in [
        (
            "readme",
            vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")],
        ),
        ("story", story()),
    ] {
        let at = folder.path().join(name);
        fs::create_dir(&at).unwrap();
        let reader = Reader::new(&at, &hub);
        for page in list {
            reader.follow(&page, &mut seen);
        }
    }
    eprintln!(
        "{} documented commands of {} pages ran",
        seen.ran, seen.pages
    );
    for (reason, count) in &seen.left_out {
        eprintln!("{count} not run: {reason}");
    }
    assert!(seen.pages >= 10 && seen.ran >= 30, "pages without commands");
}
