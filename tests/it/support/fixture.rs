//! Test fixture: the binary, a tiny trained base, and a niche to fine-tune it on.

use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

/// Command that prepares the texts of a test.
pub const PREPARE: [&str; 2] = ["prepare", "prepare.toml"];
/// Command that trains the base of a test.
pub const PRETRAIN: [&str; 2] = ["pretrain", "pretrain.toml"];

/// Returns the device of the tests: the CPU, or the value of `POLYMATH_TEST_DEVICE` (`cuda:0`).
pub fn device() -> String {
    std::env::var("POLYMATH_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn polymath(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("polymath").expect("the binary of this package");
    command.current_dir(folder).args(["--device", &device()]);
    command
}

/// Starts a command with its output discarded, as a process that a test can kill.
pub fn killable(folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("polymath"));
    command
        .current_dir(folder)
        .args(["--device", &device()])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    command
}

/// Runs a command and kills it in the middle: after `run` contains the file `reached` and before it contains `last`.
/// If the run ends before the kill, removes its folders and tries again.
pub fn kill_in_the_middle(at: &Path, arguments: &[&str], run: &str, (reached, last): (&str, &str)) {
    const TRIES: usize = 20;
    let run = at.join(run);
    for _ in 0..TRIES {
        let mut killed = killable(at).args(arguments).spawn().unwrap();
        let begin = Instant::now();
        while !run.join(reached).exists()
            && killed.try_wait().unwrap().is_none()
            && begin.elapsed().as_secs() < 120
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(
            run.join(reached).exists(),
            "{arguments:?} came to no `{reached}`"
        );
        if !run.join(last).exists() {
            return;
        }
        remove_with_siblings(&run);
    }
    panic!("{arguments:?} ended before each of {TRIES} kills: give it more to do");
}

/// Removes a run's folder and the folders beside it, such as `<run>.base`.
fn remove_with_siblings(run: &Path) {
    let name = run.file_name().unwrap().to_str().unwrap();
    let own = |other: &str| other == name || other.starts_with(&format!("{name}."));
    for entry in std::fs::read_dir(run.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if own(path.file_name().unwrap().to_str().unwrap()) {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Returns every line of a run's metrics without the times. Panics if none is of a training step.
pub fn records(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for time in ["seconds", "tokens_per_second"] {
            line.as_object_mut().unwrap().remove(time);
        }
        line
    });
    let lines: Vec<Value> = lines.collect();
    assert!(lines.iter().any(|line| line.get("loss").is_some()));
    lines
}

/// Returns the SHA-256 of the weights of a run's latest checkpoint, as recorded in its state.
pub fn sha_of_weights(run: &Path) -> String {
    let state = std::fs::read_to_string(run.join("latest/state.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let files = state["sha256"].as_object().unwrap();
    let weights = files
        .get("model.safetensors")
        .or(files.get("adapter_model.safetensors"));
    weights.unwrap().as_str().unwrap().to_owned()
}

pub fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Runs a command and fails the test unless it succeeds.
pub fn succeed(at: &Path, arguments: &[&str]) -> Assert {
    polymath(at).args(arguments).assert().success()
}

/// Writes the texts and configs, and prepares the dataset in `data`.
pub fn prepare_data(at: &Path) {
    write_corpus(at);
    succeed(at, &PREPARE);
}

/// Prepares a base trained on counting and letters, and a niche of dialogue.
pub fn prepare(at: &Path) {
    prepare_data(at);
    succeed(at, &PRETRAIN);
}

/// Copies the base's weights to a model folder outside any run, whose files the test may change.
pub fn copy_of_base(at: &Path, name: &str) -> std::path::PathBuf {
    let model = at.join(name);
    std::fs::create_dir(&model).unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(at.join("runs/base/best").join(file), model.join(file)).unwrap();
    }
    model
}

/// Trains another base in `runs/other`, on the data of [`prepare`], whose weights differ from `runs/base`.
pub fn pretrain_other(at: &Path) {
    let settings = ["run=runs/other", "seed=5", "training.steps=2"];
    let mut command = polymath(at);
    command.args(["pretrain", "pretrain.toml"]);
    command.args(settings).assert().success();
}

/// Writes the texts and configs that [`prepare`] uses.
pub fn write_corpus(at: &Path) {
    let mut texts = [String::new(), String::new(), String::new()];
    for number in 0..160u32 {
        // The counting uses different steps, since windows of the same count would be near-duplicates.
        let step = [1, 2, 3, 4, 5, 6, 8][number as usize % 7];
        let numbers: Vec<String> = (0..30).map(|n| (number + n * step).to_string()).collect();
        let letter = char::from(b'a' + (number % 26) as u8);
        let words: String = (0..40)
            .map(|place| {
                format!(
                    "{letter}{} ",
                    "bcd".repeat(1 + (place * number as usize) % 3)
                )
            })
            .collect();
        let said = format!("say {number}, you said {number}, number {number} it is");
        for (text, line) in texts.iter_mut().zip([numbers.join(" "), words, said]) {
            *text += &format!("{}\n", serde_json::json!({ "text": line }));
        }
    }
    let names = ["counting", "letters", "asked"];
    let mut config =
        "output = \"data\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 300\n".to_owned();
    for (name, text) in names.iter().zip(&texts) {
        write(at, &format!("raw/{name}.jsonl"), text);
        config += &format!("[domains.{name}]\npaths = [\"raw/{name}.jsonl\"]\n");
    }
    write(at, "prepare.toml", &config);
    write(
        at,
        "pretrain.toml",
        "dataset = \"data\"\nrun = \"runs/base\"\n[mixture]\ndomains = [\"counting\", \"letters\"]\n[model]\nhidden_size = 32\n\
         num_hidden_layers = 2\nnum_attention_heads = 4\n[training]\nsteps = 30\nbatch_size = 4\nsequence_length = 48\n\
         learning_rate = 1e-2\n[evaluation]\nevery = 30\nmax_tokens = 500\n",
    );
    write(
        at,
        "finetune.toml",
        "base = \"runs/base/best\"\ndataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\nrun = \"runs/full\"\n[training]\n\
         steps = 20\nbatch_size = 4\nlearning_rate = 1e-2\n[evaluation]\nevery = 10\nmax_tokens = 500\n",
    );
}

pub fn finetune(at: &Path, run: &str, settings: &[&str]) -> Command {
    let mut command = polymath(at);
    command.args(["finetune", "finetune.toml"]);
    command.arg(format!("run=runs/{run}")).args(settings);
    command
}

/// Checks that a run with the settings of `run` resumes to the same result: kills it after its third step, with a
/// checkpoint every `every` steps, resumes it, and compares weights and metrics.
pub fn assert_resumes(at: &Path, run: &str, every: u32, settings: &[&str]) {
    let every = format!("checkpoint.every={every}");
    let often = [
        "finetune",
        "finetune.toml",
        "run=runs/killed",
        &every,
        "checkpoint.keep=99",
    ];
    let places = ("step-000003/state.json", "step-000020");
    kill_in_the_middle(at, &[&often[..], settings].concat(), "runs/killed", places);
    finetune(at, "killed", settings)
        .arg("--resume")
        .assert()
        .success();
    let [whole, killed] = [run, "killed"].map(|run| at.join("runs").join(run));
    assert_eq!(sha_of_weights(&whole), sha_of_weights(&killed));
    assert_eq!(records(&whole), records(&killed));
}

/// Returns the content of a run's folder by path: the targets of links and the SHA-256 of files. Files that contain
/// times or a process id are left out.
pub fn files(run: &Path) -> std::collections::BTreeMap<String, String> {
    use sha2::Digest;
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().display().to_string();
            let timed = ["tensorboard", ".lock", "metrics.jsonl", "environment.json"]
                .contains(&name.as_str())
                || name.ends_with("state.json");
            if timed {
                continue;
            }
            if let Ok(target) = std::fs::read_link(&path) {
                found.insert(name, target.display().to_string());
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let digest = sha2::Sha256::digest(std::fs::read(&path).unwrap());
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                found.insert(name, digest);
            }
        }
    }
    found
}
