//! `polymath demo`: the whole pipeline on a synthetic corpus, in minutes on a laptop's CPU.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use polymath_data::{PrepareConfig, synthetic};

use super::{finetune, prepare, pretrain, report};
use crate::arguments::{self, Scoring};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::lines;

/// Maximum number of held-out tokens of a domain that an evaluation scores: enough groups of documents for a verdict on
/// every domain.
const EVALUATION_TOKENS: u32 = 16_000;

/// Weights in the pretraining mixture: of the domains with facts, and of the other domains. Facts take longer to learn
/// than skills.
const WEIGHTS: [f64; 2] = [0.3, 0.2];

/// Number of evaluations during each fine-tuning. A fine-tuning with forgetting limits makes more.
const EVALUATIONS: u64 = 4;

/// One of the demo's fine-tunings.
#[derive(Clone, Copy)]
struct Tuning {
    /// Name of the run and of its config.
    name: &'static str,
    /// Words that describe the fine-tuning on the console.
    description: &'static str,
    /// Name of the fine-tuning method in the config.
    method: &'static str,
    /// TOML text of the tables at the end of the config.
    tables: &'static str,
}

/// Bits per byte that a retained domain may lose by the report's verdict. The budget of the third fine-tuning is
/// smaller: a run that ends at its budget needs room for the report's correction, which is for the tests of all runs.
const TOLERANCE: f64 = 0.02;

/// Fine-tunings of the demo: of every parameter, of the last block alone, and of every parameter within a forgetting
/// budget.
const TUNINGS: [Tuning; 3] = [
    Tuning {
        name: "full",
        description: "every parameter",
        method: "full",
        tables: "",
    },
    Tuning {
        name: "frozen",
        description: "the last block alone",
        method: "frozen",
        tables: "\n[frozen]\ntrain_last_layers = 1\n",
    },
    Tuning {
        name: "budget",
        description: "every parameter, within a forgetting budget of 0.015",
        method: "full",
        tables: "\n[retention.limits]\ndefault = 0.015\n",
    },
];

/// Folders that the demo writes to.
struct Folders {
    root: PathBuf,
}

impl Folders {
    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Runs the demo: writes and prepares the synthetic corpus, pretrains on its domains, fine-tunes on the niche by
/// three methods, and writes the report.
pub fn run(arguments: &arguments::Demo, environment: &Environment) -> Result<(), Failure> {
    let folders = Folders {
        root: arguments.output.clone(),
    };
    let say = |text: &str| {
        if !environment.quiet {
            lines::say(&format!("\n{text}"));
        }
    };
    say("1/6  Write and prepare a synthetic corpus.");
    let config = write_corpus(arguments, &folders)?;
    let request = arguments::Prepare {
        config,
        overrides: Vec::new(),
        force: true,
        json: false,
    };
    prepare::run(&request, environment)?;

    say("2/6  Pretrain on its four subjects.");
    let base = folders.at("checkpoints/base");
    let text = pretrain_config(arguments, &folders);
    train_with(&folders.at("pretrain.toml"), &text, |file| {
        pretrain::run(&train_file(file), environment)
    })?;
    let mut tuned = Vec::new();
    for (number, tuning) in TUNINGS.into_iter().enumerate() {
        say(&format!(
            "{}/6  Fine-tune on competition mathematics: {}.",
            number + 3,
            tuning.description
        ));
        fine_tune(arguments, &folders, tuning, environment)?;
        tuned.push(folders.at(&format!("checkpoints/{}", tuning.name)));
    }

    say("6/6  Report what was gained and forgotten.");
    let request = report_request(arguments, &folders, base, tuned);
    report::run(&request, environment)
}

/// Returns the report of the demo: every tuned model against the base, on the corpus that they were trained on.
fn report_request(
    arguments: &arguments::Demo,
    folders: &Folders,
    base: PathBuf,
    tuned: Vec<PathBuf>,
) -> arguments::Report {
    arguments::Report {
        adapter_base: None,
        base,
        tuned,
        scoring: Scoring {
            dataset: vec![folders.at("data")],
            max_tokens: None,
            context: None,
            stride: None,
        },
        split: arguments::SplitFilter::default(),
        tasks: arguments::Tasks::default(),
        generate: None,
        niche: None,
        tolerance: TOLERANCE,
        seed: arguments.seed,
        output: folders.at("report"),
    }
}

/// Fine-tunes the base by one of the demo's methods.
fn fine_tune(
    arguments: &arguments::Demo,
    folders: &Folders,
    tuning: Tuning,
    environment: &Environment,
) -> Result<(), Failure> {
    let text = finetune_config(arguments, folders, tuning);
    let file = folders.at(&format!("finetune-{}.toml", tuning.name));
    let trained = train_with(&file, &text, |file| {
        let request = arguments::Finetune {
            train: train_file(file),
            limits: None,
        };
        finetune::run(&request, environment)
    });
    match trained {
        // The report shows what was kept, also if limits were not.
        Err(Failure::LimitBroken | Failure::LimitUndecided) => Ok(()),
        trained => trained,
    }
}

fn train_file(config: &Path) -> arguments::Train {
    arguments::Train {
        config: config.to_path_buf(),
        overrides: Vec::new(),
        // A demo that was stopped is resumed.
        resume: true,
        limit: arguments::TimeLimit::default(),
        dry_run: false,
        dashboard: false,
    }
}

/// Writes the config `text` to `file` and trains with it. Does nothing if the run is finished, so that the demo can
/// be run again.
fn train_with(
    file: &Path,
    text: &str,
    train: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    write_config(file, text)?;
    train(file)
}

/// Writes a config of the demo. Fails if the file exists with other content.
fn write_config(file: &Path, text: &str) -> Result<(), Failure> {
    match polymath_base::read(file) {
        Ok(before) if before == text.as_bytes() => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(polymath_base::write(file, text.as_bytes())?)
        }
        _ => Err(Failure::usage(anyhow!(
            "`{}` exists and is not of this demo: choose another `--output`, or remove it",
            file.display()
        ))),
    }
}

fn write_corpus(arguments: &arguments::Demo, folders: &Folders) -> Result<PathBuf, Failure> {
    let raw = folders.at("raw");
    let config = synthetic::SyntheticConfig {
        seed: arguments.seed,
        bytes_per_domain: arguments.megabytes * 1_000_000,
    };
    let prepare = PrepareConfig {
        seed: arguments.seed,
        ..synthetic::prepare_config(&raw, &folders.at("data"))
    };
    let file = folders.at("prepare.toml");
    std::fs::create_dir_all(&folders.root)?;
    write_config(&file, &toml::to_string(&prepare)?)?;
    synthetic::write(&config, &raw)?;
    Ok(file)
}

fn pretrain_config(arguments: &arguments::Demo, folders: &Folders) -> String {
    let subjects: Vec<String> = synthetic::DOMAINS
        .iter()
        .filter(|name| **name != synthetic::NICHE)
        .map(|name| {
            let weight = WEIGHTS[usize::from(!synthetic::has_knowledge(name))];
            format!("{name} = {weight}")
        })
        .collect();
    format!(
        "dataset = {data:?}\nrun = {run:?}\nseed = {seed}\n\n[mixture]\nweights = {{ {subjects} }}\n\n\
         [model]\nhidden_size = 128\nnum_hidden_layers = 4\nnum_attention_heads = 4\n\n\
         [training]\nsteps = {steps}\nbatch_size = 8\nsequence_length = 256\noptimizer = \"muon\"\nlearning_rate = 3e-3\n\n\
         [evaluation]\nevery = {every}\nmax_tokens = {EVALUATION_TOKENS}\n",
        data = folders.at("data"),
        run = folders.at("checkpoints/base"),
        seed = arguments.seed,
        subjects = subjects.join(", "),
        steps = arguments.steps,
        every = (arguments.steps / 5).max(1),
    )
}

fn finetune_config(arguments: &arguments::Demo, folders: &Folders, tuning: Tuning) -> String {
    format!(
        "base = {base:?}\ndataset = {data:?}\ndomain = \"{niche}\"\nretain = {data:?}\nrun = {run:?}\nmethod = \"{method}\"\nseed = {seed}\n\n\
         [training]\nsteps = {steps}\nbatch_size = 8\noptimizer = \"muon\"\nlearning_rate = 2e-3\n\n\
         [evaluation]\nevery = {every}\nmax_tokens = {EVALUATION_TOKENS}\n{tables}",
        base = folders.at("checkpoints/base"),
        data = folders.at("data"),
        niche = synthetic::NICHE,
        run = folders.at(&format!("checkpoints/{}", tuning.name)),
        method = tuning.method,
        tables = tuning.tables,
        seed = arguments.seed,
        steps = (arguments.steps / 10).max(1),
        every = (arguments.steps / 10 / EVALUATIONS).max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that seed, size, steps and output of the demo reach each of its steps.
    #[test]
    fn settings_reach_every_step() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("demo");
        let arguments = arguments::Demo {
            output: root.clone(),
            megabytes: 1,
            steps: 400,
            seed: 7,
        };
        let folders = Folders { root: root.clone() };
        let config = write_corpus(&arguments, &folders).unwrap();
        assert_eq!(config, root.join("prepare.toml"));
        let text = std::fs::read_to_string(&config).unwrap();
        let prepared: PrepareConfig = toml::from_str(&text).unwrap();
        assert_eq!((prepared.seed, prepared.output), (7, root.join("data")));
        let names: Vec<&str> = prepared.domains.keys().map(String::as_str).collect();
        let mut expected = synthetic::DOMAINS.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let same = synthetic::SyntheticConfig {
            seed: 7,
            bytes_per_domain: 1_000_000,
        };
        let beside = folder.path().join("beside");
        synthetic::write(&same, &beside).unwrap();
        for name in synthetic::DOMAINS {
            let path = &prepared.domains[name].paths[0];
            let file = Path::new(path).strip_prefix(root.join("raw")).unwrap();
            let text = std::fs::read(path).unwrap();
            assert!(text.len() >= 1_000_000, "{name}: {}", text.len());
            assert!(text == std::fs::read(beside.join(file)).unwrap(), "{name}");
        }

        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let pretraining = table(&pretrain_config(&arguments, &folders));
        assert_eq!(pretraining["seed"].as_integer(), Some(7));
        assert_eq!(pretraining["training"]["steps"].as_integer(), Some(400));
        assert_eq!(pretraining["evaluation"]["every"].as_integer(), Some(80));
        let base = root.join("checkpoints/base");
        assert_eq!(pretraining["run"].as_str(), base.to_str());
        let weights = pretraining["mixture"]["weights"].as_table().unwrap();
        assert!(!weights.contains_key(synthetic::NICHE) && weights.len() == 4);
        for (name, weight) in weights {
            let expected = if synthetic::has_knowledge(name) {
                0.3
            } else {
                0.2
            };
            assert_eq!(weight.as_float(), Some(expected), "{name}");
        }
        for tuning in TUNINGS {
            let tuned = table(&finetune_config(&arguments, &folders, tuning));
            assert_eq!(tuned["seed"].as_integer(), Some(7));
            assert_eq!(tuned["base"].as_str(), base.to_str());
            assert_eq!(tuned["training"]["steps"].as_integer(), Some(40));
            assert_eq!(tuned["evaluation"]["every"].as_integer(), Some(10));
            assert_eq!(tuned["method"].as_str(), Some(tuning.method));
            let run = root.join("checkpoints").join(tuning.name);
            assert_eq!(tuned["run"].as_str(), run.to_str());
        }
        let tuned = vec![root.join("checkpoints/full")];
        let report = report_request(&arguments, &folders, base.clone(), tuned.clone());
        assert_eq!((report.base, report.tuned), (base, tuned));
        assert_eq!((report.seed, report.tolerance), (7, 0.02));
        assert_eq!(report.output, root.join("report"));
        assert_eq!(report.scoring.dataset, [root.join("data")]);
    }
}
