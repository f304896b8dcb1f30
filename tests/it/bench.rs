//! Tests of `polymath bench` and of its report of a training step's memory.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use crate::support::fixture;

fn bench(device: &str, overrides: &[&str]) -> Value {
    report(&["--device", device, "bench", "--steps", "1"], overrides)
}

/// Returns the report of a command on the reference config.
fn report(command: &[&str], overrides: &[&str]) -> Value {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/pretrain/reference.toml");
    let output = Command::cargo_bin("polymath")
        .unwrap()
        .args(command)
        .arg(config)
        .args(["--json", "--vocabulary", "64"])
        .args(overrides)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Checks that the JSON report contains every number that scripts read, with plausible values.
#[test]
fn the_report_has_every_figure() {
    let small = [
        "model.hidden_size=32",
        "model.intermediate_size=88",
        "training.batch_size=2",
    ];
    let report = bench(&fixture::device(), &small);
    for key in [
        "tokens_per_second",
        "scoring_tokens_per_second",
        "gflops",
        "peak_gflops",
        "peak_share",
        "step_seconds",
    ] {
        let value = report[key].as_f64().unwrap();
        assert!(value.is_finite() && value > 0.0, "{key}: {value}");
    }
    // Six operations for each weight of a product, also the 64 · 32 of the output, and for each of 6 layers 6 · 32 for
    // each of the 256 tokens of a row.
    let weights = 6 * (4 * 32 * 32 + 3 * 32 * 88) + 64 * 32;
    let of_token = f64::from(6 * weights + 6 * 6 * 32 * 256);
    let number = |key: &str| report[key].as_f64().unwrap();
    let phases = ["data", "forward", "backward", "optimizer"];
    let phases = phases.map(|phase| number(&format!("{phase}_seconds")));
    for (found, expected) in [
        (
            number("gflops") * 1e9,
            of_token * number("tokens_per_second"),
        ),
        (
            number("peak_share"),
            number("gflops") / number("peak_gflops"),
        ),
        (number("tokens_per_second") * number("step_seconds"), 512.0),
        (number("step_seconds"), phases.iter().sum()),
    ] {
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} {expected}: {report}"
        );
    }
}

/// Checks that `recompute = "block"` at least halves the memory of a deep model, as reported on the CPU, and that bf16
/// keeps less for the backward pass.
#[cfg(target_os = "linux")]
#[test]
fn recomputing_layers_saves_memory() {
    let deep = [
        "model.hidden_size=64",
        "model.intermediate_size=176",
        "model.num_hidden_layers=32",
        "model.num_attention_heads=2",
        "training.batch_size=8",
    ];
    let peak =
        |overrides: &[&str]| bench("cpu", overrides)["peak_rss_bytes"].as_f64().unwrap() / 1e6;
    let kept = peak(&deep);
    let again = peak(&[&deep[..], &["training.recompute=block"]].concat());
    assert!(again < 0.5 * kept, "{again:.0} MB against {kept:.0} MB");
    let halved = peak(&[&deep[..], &["training.precision=bf16"]].concat());
    // The process itself and its scratch memory take as much as in f32.
    assert!(halved < 0.95 * kept, "{halved:.0} MB against {kept:.0} MB");
}

/// Checks that a counted step names its kernels, and adds them up to a forecast that says so.
#[cfg(unix)]
#[test]
fn a_step_is_counted_without_a_gpu() {
    let small = [
        "--count",
        "model.hidden_size=64",
        "model.intermediate_size=176",
        "model.num_attention_heads=2",
        "training.batch_size=2",
        "training.sequence_length=128",
        "training.precision=\"bf16\"",
    ];
    let report = report(&["bench"], &small);
    assert!(
        report["note"]
            .as_str()
            .unwrap()
            .contains("nothing ran on a GPU")
    );
    let kernels = report["kernels"].as_array().unwrap();
    let named = |name: &str| {
        let found = kernels.iter().find(|kernel| kernel["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`: {kernels:?}"))
    };
    for name in ["attention_forward", "attention_dkdv"] {
        assert_eq!(named(name)["launches"], 6, "{name}");
        assert!(named(name)["flops"].as_f64().unwrap() > 0.0, "{name}");
    }
    assert_eq!(named("adamw")["launches"], 1);
    let sum = |key: &str| -> f64 {
        kernels
            .iter()
            .map(|kernel| kernel[key].as_f64().unwrap())
            .sum()
    };
    for (total, key) in [
        ("launches", "launches"),
        ("moved_bytes", "moved_bytes"),
        ("flops", "flops"),
    ] {
        assert_eq!(report[total].as_f64().unwrap(), sum(key), "{key}");
    }
    assert!(report["moved_bytes"].as_f64() > report["roofline_bytes"].as_f64());
    for gpu in report["forecast"].as_array().unwrap() {
        let (forecast, least) = (&gpu["step_seconds"], &gpu["roofline_step_seconds"]);
        assert!(
            forecast.as_f64() > least.as_f64() && least.as_f64() > Some(0.0),
            "{gpu}"
        );
    }
    let muon = Command::cargo_bin("polymath")
        .unwrap()
        .args(["bench", "configs/pretrain/reference.toml", "--count"])
        .arg("training.optimizer=\"muon\"")
        .output()
        .unwrap();
    assert_eq!(muon.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&muon.stderr).contains("adamw"));
}
