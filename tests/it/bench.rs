//! Tests of `polymath bench` and of its report of a training step's memory.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use crate::support::fixture;

fn bench(device: &str, overrides: &[&str]) -> Value {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/pretrain/reference.toml");
    let output = Command::cargo_bin("polymath")
        .unwrap()
        .args(["--device", device, "bench"])
        .arg(config)
        .args(["--json", "--steps", "1", "--vocabulary", "64"])
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
    assert!(halved < 0.8 * kept, "{halved:.0} MB against {kept:.0} MB");
}
