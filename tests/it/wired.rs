//! Checks that settings have an effect: those of `[training]` in both phases, by the metrics of the first steps; those
//! of a niche of raw text, by its dataset; and those of retention.

use std::path::Path;

use predicates::str::contains;
use serde_json::{Value, json};

use crate::support::fixture::{
    PREPARE, PRETRAIN, finetune, polymath, prepare, prepare_data, read_json, records, succeed,
    write, write_corpus,
};

/// Trains a short run with these settings and returns the metrics of each step.
fn steps(at: &Path, phase: &str, settings: &[&str]) -> Vec<Value> {
    let folder = at.join("runs/wired");
    let _ = std::fs::remove_dir_all(&folder);
    let few = ["training.steps=3", "evaluation.every=3"];
    let mut command = match phase {
        "pretrain" => {
            let mut command = polymath(at);
            command.args(["pretrain", "pretrain.toml", "run=runs/wired"]);
            command
        }
        _ => finetune(at, "wired", &[]),
    };
    command.args(few).args(settings).assert().success();
    let lines = records(&folder).into_iter();
    lines.filter(|line| line.get("loss").is_some()).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap()
}

#[test]
fn settings_of_training_reach_both_phases() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    // Removes the learning rate from both configs.
    for config in ["pretrain.toml", "finetune.toml"] {
        let text = std::fs::read_to_string(at.join(config)).unwrap();
        std::fs::write(at.join(config), text.replace("learning_rate = 1e-2\n", "")).unwrap();
    }
    for (phase, peak) in [("pretrain", 1e-3), ("finetune", 1e-3)] {
        let plain = steps(
            at,
            phase,
            &["training.warmup_steps=2", "training.schedule=constant"],
        );
        let rates: Vec<f64> = plain
            .iter()
            .map(|line| number(line, "learning_rate"))
            .collect();
        for (found, share) in rates.iter().zip([0.5, 1.0, 1.0]) {
            assert!((found - share * peak).abs() < 1e-12, "{phase}: {rates:?}");
        }

        let same = ["training.warmup_steps=2", "training.schedule=constant"];
        let with = |setting: &str| steps(at, phase, &[same[0], same[1], setting]);
        // The z-loss is part of the loss: its weight times the mean squared log-sum-exp.
        let squared = number(&with("training.z_loss=0.01")[0], "loss") - number(&plain[0], "loss");
        let doubled = number(&with("training.z_loss=0.02")[0], "loss") - number(&plain[0], "loss");
        assert!(squared > 0.01, "{phase}: {squared}");
        assert!(
            (doubled - 2.0 * squared).abs() < 1e-4 * doubled,
            "{phase}: {doubled} {squared}"
        );

        // Rounded to bf16, the loss is almost the same.
        let rounded = number(&with("training.precision=bf16")[0], "loss");
        let off = (rounded / number(&plain[0], "loss") - 1.0).abs();
        assert!(off > 0.0 && off < 0.02, "{phase}: {off}");

        // Accumulation and recomputation change only the order of sums.
        for setting in ["training.accumulation_steps=2", "training.recompute=block"] {
            for (line, same) in with(setting).iter().zip(&plain) {
                let off = number(line, "loss") / number(same, "loss") - 1.0;
                assert!(off.abs() < 1e-5, "{phase}, {setting}: {off}");
            }
        }

        // The norm is logged before clipping, and a clipped run differs.
        let norm = number(&plain[0], "gradient_norm");
        let clipped = with(&format!("training.gradient_clip={}", norm / 1e6));
        assert_eq!(number(&clipped[0], "gradient_norm"), norm, "{phase}");
        let other = with("seed=77");
        assert_ne!(
            number(&other[0], "loss"),
            number(&plain[0], "loss"),
            "{phase}"
        );
    }
}

/// Writes a folder with 60 questions and a broken line, 45 notes in one file, and a file of another extension. No two
/// documents are near-duplicates.
fn write_niche(at: &Path) {
    let words = |number: usize| {
        let word = |place: usize| {
            let letter = char::from(b'a' + ((number * 7 + place * 3) % 26) as u8);
            format!("{letter}{}", (number * 31 + place * 17) % 97)
        };
        (0..12).map(word).collect::<Vec<_>>().join(" ")
    };
    let asked: String = (0..60)
        .map(|number| json!({"ask": words(number), "say": words(number + 300)}).to_string() + "\n")
        .collect();
    write(at, "own/asked.jsonl", &(asked + "no JSON\n"));
    let notes: Vec<String> = (100..145).map(words).collect();
    write(at, "own/notes.log", &notes.join("\n%%\n"));
    write(at, "own/left.md", "of another extension");
}

/// Checks that every key of a niche of raw text reaches its preparation, that the run's seed does not choose what is
/// held out, that the run is resumed by its own config, and that a run without a length makes passes over the training
/// text.
#[test]
fn keys_of_a_raw_niche_reach_its_preparation() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write_niche(at);
    let config = |run: &str| {
        format!(
            "base = \"runs/base/best\"\ntexts = [\"own\"]\nextensions = [\"jsonl\", \"log\"]\nseparator = \"%%\"\n\
             on_bad_record = \"skip\"\nheldout_groups = 30\nseed = 9\nrun = \"runs/{run}\"\n\
             [fields]\nprompt = \"ask\"\nresponse = \"say\"\n[evaluation]\nevery = 2\nmax_tokens = 200\n"
        )
    };
    let short = "[training]\nsteps = 2\nbatch_size = 2\n";
    write(at, "niche.toml", &(config("niche") + short));
    succeed(at, &["finetune", "niche.toml"]);
    let manifest = read_json(&at.join("runs/niche.dataset/dataset.json"));
    let domains = manifest["domains"].as_object().unwrap();
    let niche = domains.values().next().unwrap();
    assert_eq!(
        (&niche["read"], &niche["bad_records_dropped"]),
        (&json!(105), &json!(1))
    );
    let held_out = niche["heldout"]["groups"].as_u64().unwrap();
    assert!((30..=35).contains(&held_out), "{held_out}");
    assert_eq!(
        (&manifest["seed"], &manifest["heldout_fraction"]),
        (&json!(0), &json!(0.05))
    );
    succeed(at, &["finetune", "runs/niche/run.toml", "--resume"]);
    // Without a length: three passes over the niche's training text.
    write(at, "free.toml", &config("free"));
    let tokens = niche["train"]["tokens"].as_u64().unwrap();
    let length = format!(
        "length: {} tokens, 3 passes over {tokens} of the niche",
        3 * tokens
    );
    succeed(at, &["finetune", "free.toml", "--dry-run"]).stdout(contains(length));
}

/// Checks that settings of retention reach the run: the weights of the domains, which count by their ratio, the weight
/// of replayed rows, the temperature of distillation, and a cache of no more rows than the run replays.
#[test]
fn settings_of_retention_reach_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let run = |settings: &[&str]| steps(at, "finetune", settings);
    let ewc = |counting: u8, letters: u8| {
        let weights = [("counting", counting), ("letters", letters)];
        let weights =
            weights.map(|(name, weight)| format!("retention.ewc.weights.{name}={weight}.0"));
        let settings = ["retention.ewc.strength=100.0", "retention.ewc.tokens=500"];
        run(&[settings[0], settings[1], &weights[0], &weights[1]])
    };
    let (apart, same) = (ewc(1, 3), ewc(2, 6));
    assert_eq!(apart, same);
    let pulled = |steps: &[Value]| steps[2]["penalties"]["ewc"].as_f64().unwrap();
    assert!(pulled(&apart) > 0.0 && pulled(&apart) != pulled(&ewc(1, 1)));
    // The base is evaluated before the first step.
    let first = &records(&at.join("runs/wired"))[0];
    assert_eq!(
        (&first["step"], first.get("loss")),
        (&json!(0), None),
        "{first}"
    );

    let replay = |more: &[&str]| run(&[&["retention.replay.share=0.5"], more].concat());
    let norm = |steps: &[Value]| number(&steps[0], "gradient_norm");
    assert_ne!(
        norm(&replay(&[])),
        norm(&replay(&["retention.replay.weight=3.0"]))
    );
    let distilled = |temperature: &str| {
        let strength = "retention.distill.strength=1.0";
        let steps = replay(&[
            strength,
            &format!("retention.distill.temperature={temperature}"),
        ]);
        steps[2]["penalties"]["distill"].as_f64().unwrap()
    };
    assert_ne!(distilled("1.0"), distilled("2.0"));
    // Half of 3 steps of 4 rows.
    finetune(
        at,
        "cached",
        &["training.steps=3", "retention.replay.share=0.5"],
    )
    .args([
        "retention.distill.strength=1.0",
        "retention.distill.cache=top-k",
    ])
    .assert()
    .success()
    .stderr(contains("tokens for 6 rows"));
}

/// Checks that a pretraining is chosen by the mean of the domains that it trains on, and not by one that is only
/// watched.
#[test]
fn a_pretraining_is_chosen_by_the_mean_of_its_domains() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let few = ["training.steps=2", "evaluation.every=2"];
    let ended = succeed(at, &["pretrain", "pretrain.toml", few[0], few[1]]);
    let lines = records(&at.join("runs/base"));
    let bits = &lines.last().unwrap()["heldout_bits_per_byte"];
    let mean = f64::midpoint(number(bits, "counting"), number(bits, "letters"));
    ended.stdout(contains(format!(
        "{mean:.4} bits per byte of the mean of 2 domains"
    )));
}

/// Checks that a run warns of domains whose held-out text is all scored during the run, so that none is left for the
/// result.
#[test]
fn domains_without_a_split_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    let mut config = "output = \"data\"\n[tokenizer]\nvocab_size = 300\n".to_owned();
    // One held-out document each: by their digests, those of `asked` and `counting` are in the test split.
    for (domain, words) in [
        ("asked", "what is it "),
        ("counting", "one two three "),
        ("letters", "alpha beta gamma "),
    ] {
        let line = serde_json::json!({ "text": words.repeat(20) });
        write(
            at,
            &format!("raw/held-{domain}.jsonl"),
            &format!("{line}\n"),
        );
        config += &format!(
            "[domains.{domain}]\npaths = [\"raw/{domain}.jsonl\"]\nheldout_paths = [\"raw/held-{domain}.jsonl\"]\n"
        );
    }
    write(at, "prepare.toml", &config);
    succeed(at, &PREPARE);
    let warning = contains("`asked`, `counting` has no held-out document in the dev split");
    succeed(at, &[&PRETRAIN[..], &["training.steps=2"]].concat()).stderr(warning.clone());
    finetune(at, "full", &["training.steps=2"])
        .assert()
        .success()
        .stderr(warning);
}
