//! Checks that the settings of `[training]` have an effect in both phases, by the metrics of the first steps.

use std::path::Path;

use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, records};

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
