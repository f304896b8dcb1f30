//! Learning curves and circumstances of the synthetic runs.

use super::*;

/// Returns the settings and circumstances of a run with a method.
pub fn provenance(method: &str, seconds: f64) -> Provenance {
    let own = match method {
        "lora" => vec![("lora.rank", "16"), ("lora.alpha", "32")],
        "frozen" => vec![("frozen.train_last_layers", "2")],
        _ => Vec::new(),
    };
    let shared = [
        ("method", method),
        ("training.learning_rate", "0.0003"),
        ("training.sequence_length", "256"),
        ("training.tokens", "400000"),
    ];
    let settings = shared.into_iter().chain(own);
    Provenance {
        settings: settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        step: Some(800),
        steps: Some(800),
        tokens: Some(400_000),
        seconds: Some(seconds),
        seed: Some(1),
        begun: Some("2026-11-30 09:00 UTC".into()),
        version: Some("0.1.0".into()),
        machine: Some("AMD EPYC 9R14, 16 threads, Linux x86_64".into()),
    }
}

/// Returns the curve of the base's own training: every domain falls to its end.
pub fn curve_of_base() -> Vec<CurvePoint> {
    let point = |step: u64| {
        let share = (-(step as f64) / 300.0).exp();
        let bits = DOMAINS
            .iter()
            .map(|(name, _, base)| ((*name).to_owned(), base + 1.8 * share));
        CurvePoint {
            step,
            heldout_bits_per_byte: bits.collect(),
        }
    };
    (0..=16).map(|at| point(at * 100)).collect()
}

pub fn curve(changes: &[f64]) -> Vec<CurvePoint> {
    let point = |step: u64| {
        let share = 1.0 - (-(step as f64) / 220.0).exp();
        let of_domain = DOMAINS.iter().zip(changes).enumerate();
        let heldout_bits_per_byte = of_domain.map(|(at, ((name, _, base), change))| {
            let noise = if step == 0 {
                0.0
            } else {
                0.01 * waves(at + step as usize, 5)
            };
            ((*name).to_owned(), base + change * share + noise)
        });
        CurvePoint {
            step,
            heldout_bits_per_byte: heldout_bits_per_byte.collect(),
        }
    };
    (0..=16).map(|at| point(at * 50)).collect()
}
