//! Snapshot tests of frames during a run.

use std::time::Duration;

use polymath_train::{EvaluationMetrics, Metrics, StepMetrics};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::{Moment, draw};
use crate::dashboard::state::{About, DashboardState, Group};

const SCIENCE: [&str; 4] = ["chemistry", "literature", "mathematics", "physics"];

fn pretraining() -> DashboardState {
    let about = About {
        title: "pretraining".into(),
        run: "checkpoints/small".into(),
        groups: vec![
            Group::new("trained on", SCIENCE),
            Group::new("only watched", ["competition"]),
        ],
    };
    DashboardState::new(about, 4e7, 2e11)
}

fn finetuning(retained: impl IntoIterator<Item = String>) -> DashboardState {
    let about = About {
        title: "fine-tuning".into(),
        run: "checkpoints/small-competition".into(),
        groups: vec![
            Group::new("niche", ["competition"]),
            Group::new("retained", retained),
        ],
    };
    DashboardState::new(about, 4e7, 2e11)
}

/// Returns metrics of a step, with a falling loss and reproducible noise.
fn step(step: u64) -> StepMetrics {
    let noise = (step.wrapping_mul(2_654_435_761) >> 7) % 100;
    let loss = 3.0 + 5.0 * (-(step as f64) / 60.0).exp() + noise as f64 / 300.0;
    let mut metrics: StepMetrics = serde_json::from_value(json!({
        "step": step, "tokens": step * 4096, "seconds": step as f64 * 1.5, "loss": loss, "learning_rate": 9.8e-4,
        "gradient_norm": 0.82, "tokens_per_second": 2570.0,
    }))
    .unwrap();
    metrics.seconds_left = (500 - step) as f64 * 1.5;
    metrics
}

/// Returns an evaluation of every domain in the state, shifted by `change`.
fn evaluation(state: &DashboardState, step: u64, change: f64) -> EvaluationMetrics {
    let names = state.about.groups.iter().flat_map(|group| &group.domains);
    let bits: serde_json::Map<String, serde_json::Value> = names
        .enumerate()
        .map(|(at, name)| (name.clone(), json!(2.0 + at as f64 / 8.0 + change)))
        .collect();
    serde_json::from_value(json!({
        "step": step, "tokens": step * 4096, "seconds": step, "heldout_bits_per_byte": bits,
    }))
    .unwrap()
}

fn moment<'a>(state: &'a DashboardState, log: &'a [String]) -> Moment<'a> {
    Moment {
        state,
        log,
        elapsed: Duration::from_secs(754),
        stopping: false,
    }
}

fn picture((width, height): (u16, u16), moment: &Moment) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, moment)).unwrap();
    terminal.backend().to_string()
}

fn trained(mut state: DashboardState, steps: std::ops::RangeInclusive<u64>) -> DashboardState {
    steps.for_each(|number| state.after_step(&step(number)));
    state
}

/// Checks the frame before the first step: title of the run and its domains.
#[test]
fn beginning() {
    let state = pretraining();
    insta::assert_snapshot!(picture((80, 24), &moment(&state, &[])));
}

/// Checks the frame in the middle of a run: loss, domains with their changes, throughput, learning rate, time left
/// and saved checkpoint.
#[test]
fn middle() {
    let mut state = pretraining();
    state.begin(0, 500, Vec::new());
    state.after_evaluation(&evaluation(&state, 0, 0.0), false);
    let mut state = trained(state, 1..=250);
    state.after_evaluation(&evaluation(&state, 250, -0.75), true);
    state.after_checkpoint("checkpoints/small/step-000250".as_ref());
    let log = ["WARN the text gives a vocabulary of 900 tokens only, not 1024".to_owned()];
    insta::assert_snapshot!("half_way", picture((80, 24), &moment(&state, &log)));
    insta::assert_snapshot!("half_way_wide", picture((132, 43), &moment(&state, &log)));
}

/// Checks the frames while held-out text is scored, and after `q`.
#[test]
fn scoring_and_stopping() {
    let mut state = pretraining();
    state.begin(0, 500, Vec::new());
    let mut state = trained(state, 1..=3);
    state.evaluating(4300, 10_000);
    let moment = Moment {
        stopping: true,
        ..moment(&state, &[])
    };
    insta::assert_snapshot!(picture((80, 24), &moment));
}

/// Checks that the progress of generating text is shown before the first step, and that it ends.
#[test]
fn generated_text_is_counted() {
    let mut state = pretraining();
    state.preparing(12_500, 50_000);
    let frame = picture((80, 24), &moment(&state, &[]));
    assert!(
        frame.contains("generating text: 12500 of 50000 tokens"),
        "{frame}"
    );
    state.preparing(50_000, 50_000);
    let frame = picture((80, 24), &moment(&state, &[]));
    assert!(frame.contains("starting"), "{frame}");
}

/// Checks that a resumed run shows the curve and the first evaluation of its earlier part.
#[test]
fn resumed() {
    let mut state = pretraining();
    let mut earlier = vec![Metrics::Evaluation(evaluation(&state, 0, 0.0))];
    earlier.extend((1..=100).map(|number| Metrics::Step(step(number))));
    earlier.push(Metrics::Evaluation(evaluation(&state, 100, -0.5)));
    state.begin(100, 500, earlier);
    let log = ["resumed after step 100 of 500".to_owned()];
    insta::assert_snapshot!(picture((80, 24), &moment(&state, &log)));
}

/// Checks a frame of 80 columns and 24 rows with twelve domains, penalties and a controller.
#[test]
fn twelve_domains() {
    let mut state = finetuning((1..=11).map(|number| format!("subject-{number:02}")));
    state.begin(0, 500, Vec::new());
    state.after_evaluation(&evaluation(&state, 0, 0.0), false);
    let mut last = step(40);
    last.penalties = [("ewc".to_owned(), 0.0213), ("distill".to_owned(), 0.004)].into();
    state.after_step(&last);
    let mut found = evaluation(&state, 40, 0.021);
    *found.heldout_bits_per_byte.get_mut("competition").unwrap() -= 0.9;
    found.control = [
        ("strength".to_owned(), 2.0),
        ("worst_share_of_limit".to_owned(), 1.31),
    ]
    .into();
    state.after_evaluation(&found, true);
    let note = "limits: subject-07 +0.0210 bits per byte, at most +0.0262 with its interval, of 0.02 allowed (outside); \
                strength × 2.00 from here";
    let log = [note.to_owned()];
    insta::assert_snapshot!("twelve_domains", picture((80, 24), &moment(&state, &log)));
    insta::assert_snapshot!(
        "twelve_domains_low",
        picture((80, 16), &moment(&state, &log))
    );
}

/// Checks that small windows show the most important parts, and that a frame of any size can be drawn.
#[test]
fn small_windows() {
    let mut state = finetuning((1..=11).map(|number| format!("subject-{number:02}")));
    state.begin(0, 500, Vec::new());
    state.after_evaluation(&evaluation(&state, 0, 0.0), false);
    let state = trained(state, 1..=30);
    let log = ["a line that is longer than the window is wide".to_owned()];
    let moment = moment(&state, &log);
    insta::assert_snapshot!("small", picture((40, 10), &moment));
    insta::assert_snapshot!("narrow", picture((40, 30), &moment));
    insta::assert_snapshot!("tiny", picture((24, 3), &moment));
    for width in 0..70 {
        for height in 0..26 {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &moment)).unwrap();
        }
    }
}

/// Checks that only printable characters of a domain's name, a path, or a log line reach the terminal.
#[test]
fn control_sequences_in_names_are_not_sent() {
    let name = "\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}evil";
    let mut state = finetuning([name.to_owned()]);
    state.about.run = name.into();
    state.begin(0, 500, Vec::new());
    state.after_evaluation(&evaluation(&state, 0, 0.0), false);
    let log = [name.to_owned()];
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    terminal
        .draw(|frame| draw(frame, &moment(&state, &log)))
        .unwrap();
    let cells = terminal.backend().buffer().content().iter();
    let shown: String = cells.map(|cell| cell.symbol()).collect();
    assert!(shown.contains("evil"), "{shown}");
    let obeyed = |sign: char| sign.is_control() || sign == '\u{202e}';
    assert!(!shown.contains(obeyed), "{shown:?}");
}
