//! Figures that the documentation has in tables, and the pictures of them.

use std::error::Error;
use std::path::Path;

use polymath_eval::statistics::Figure;
use polymath_report::ForgettingReport;
use polymath_report::pictures::{Bar, BarPanel, MethodPoint, of_bars, of_methods, of_report};

/// Program, precision, and tokens per second of the shapes in [`SHAPES`]: `docs/experiments/performance.md`.
const SPEEDS: [(&str, [f64; 3]); 6] = [
    ("polymath f32", [9541.0, 2018.0, 56_004.0]),
    ("eager f32", [3674.0, 821.0, 14_235.0]),
    ("compiled f32", [4245.0, 872.0, 20_426.0]),
    ("polymath bf16", [14_934.0, 3307.0, 77_788.0]),
    ("eager bf16", [6407.0, 1882.0, 14_447.0]),
    ("compiled bf16", [8201.0, 2262.0, 23_206.0]),
];
const SHAPES: [&str; 3] = ["reference", "larger", "characters"];
/// Gain and mean forgetting with their intervals: `docs/experiments/forgetting.md`.
const METHODS: [(&str, [f64; 3], [f64; 3]); 6] = [
    ("full", [1.638, 1.622, 1.655], [0.223, 0.205, 0.241]),
    ("replay-1", [1.637, 1.622, 1.652], [0.208, 0.193, 0.224]),
    ("replay-5", [1.630, 1.617, 1.644], [0.161, 0.155, 0.168]),
    ("ewc", [1.630, 1.614, 1.647], [0.185, 0.171, 0.199]),
    ("lora-16", [1.074, 1.063, 1.084], [0.109, 0.096, 0.121]),
    ("full × 0.5", [1.283, 1.266, 1.300], [0.045, 0.042, 0.049]),
];

/// Returns the documented speeds: panels of bars, one per shape.
pub fn speeds() -> Vec<BarPanel> {
    let panel = |(at, shape): (usize, &&str)| BarPanel {
        title: (*shape).to_owned(),
        bars: SPEEDS
            .iter()
            .map(|(name, speeds)| bar(name, speeds[at]))
            .collect(),
    };
    SHAPES.iter().enumerate().map(panel).collect()
}

/// Reads speeds from the results of a comparison.
///
/// # Errors
/// Fails for a file that can't be read or has another form.
#[allow(dead_code, reason = "used by some of the programs")]
pub fn read_speeds(path: &Path) -> Result<Vec<BarPanel>, Box<dyn Error>> {
    let results: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let shapes = results.as_object().ok_or("expected a table of shapes")?;
    let mut panels = Vec::new();
    for (shape, sides) in shapes {
        let sides = sides.as_object().ok_or("expected a table of programs")?;
        let mut bars = Vec::new();
        for (name, side) in sides {
            let speed = side["tokens_per_second"].as_f64();
            bars.push(bar(name, speed.ok_or("expected `tokens_per_second`")?));
        }
        panels.push(BarPanel {
            title: shape.clone(),
            bars,
        });
    }
    Ok(panels)
}

fn bar(name: &str, value: f64) -> Bar {
    Bar {
        name: name.to_owned(),
        value,
        strong: name.starts_with("polymath"),
    }
}

/// Returns the pictures of the documentation by file name.
///
/// # Errors
/// Fails for a picture without content.
pub fn pictures(
    report: &ForgettingReport,
    speeds: &[BarPanel],
) -> Result<[(&'static str, String); 3], Box<dyn Error>> {
    let figure = |[value, low, high]: [f64; 3]| Figure {
        value,
        interval: Some([low, high]),
    };
    let (_, gain, forgetting) = METHODS[METHODS.len() - 1];
    let halfway = (gain[0], forgetting[0]);
    let methods = METHODS.map(|(name, gain, forgetting)| MethodPoint {
        name: name.to_owned(),
        gain: figure(gain),
        forgetting: figure(forgetting),
        path: match name {
            "full" => vec![halfway],
            _ => Vec::new(),
        },
    });
    let title = "Gain on formal proofs against mean forgetting";
    Ok([
        ("report.svg", of_report(report).ok_or("no retained domain")?),
        (
            "frontier.svg",
            of_methods(title, &methods, 0.02).ok_or("no method")?,
        ),
        (
            "compare-torch.svg",
            of_bars("Training speed in tokens per second", speeds),
        ),
    ])
}
