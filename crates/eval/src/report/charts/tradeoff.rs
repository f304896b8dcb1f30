//! What every run gained against what it forgot.

use super::axis::Axis;
use super::svg::{Anchor, Point, Svg, class_of_run, fit, spread};
use crate::report::wording::signed;
use crate::report::{Figure, ForgettingReport};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 304.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 430.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 254.0;
/// More runs are told apart by the legend alone.
const MOST_NAMES: usize = 5;
/// Of a name, in pixels.
const NAME: f64 = 180.0;
/// Between two names.
const GAP: f64 = 17.0;

struct Run<'a> {
    number: usize,
    name: &'a str,
    gain: Figure,
    forgetting: Figure,
}

/// The chart; `None` where no run has both figures.
pub fn tradeoff(report: &ForgettingReport) -> Option<String> {
    let mut runs: Vec<Run> = report
        .runs
        .iter()
        .enumerate()
        .filter_map(|(number, run)| {
            Some(Run {
                number,
                name: &run.name,
                gain: run.summary.niche_gain?,
                forgetting: run.summary.mean_forgetting?,
            })
        })
        .collect();
    if runs.is_empty() {
        return None;
    }
    // From the top of the picture down, as their names are laid out.
    runs.sort_by(|a, b| b.forgetting.value.total_cmp(&a.forgetting.value));
    let gains = runs.iter().flat_map(|run| run.gain.interval);
    let across = Axis::new(gains.chain([0.0]), 5.0, (LEFT, RIGHT));
    let losses = runs.iter().flat_map(|run| run.forgetting.interval);
    let tolerance = report.settings.tolerance;
    let down = Axis::new(losses.chain([-tolerance, tolerance]), 5.0, (BOTTOM, TOP));
    let said: Vec<String> = runs.iter().map(describe).collect();
    let mut svg = Svg::new(
        "tradeoff",
        (WIDTH, HEIGHT),
        ("Gain on the niche against mean forgetting", &said.join(" ")),
    );
    background(&mut svg, &across, &down, tolerance);
    let mut names: Vec<f64> = runs
        .iter()
        .map(|run| down.at(run.forgetting.value))
        .collect();
    spread(&mut names, GAP, BOTTOM);
    let named = runs.len() <= MOST_NAMES;
    for ((run, text), name) in runs.iter().zip(&said).zip(names) {
        point(
            &mut svg,
            (&across, &down),
            (run, text),
            named.then_some(name),
        );
    }
    Some(svg.finish())
}

fn describe(run: &Run) -> String {
    format!(
        "{}: gain {}, mean forgetting {}.",
        run.name,
        signed(run.gain.value),
        signed(run.forgetting.value)
    )
}

fn background(svg: &mut Svg, across: &Axis, down: &Axis, tolerance: f64) {
    let row = |value: f64, x: f64| Point {
        x,
        y: down.at(value),
    };
    svg.rectangle("band", row(tolerance, LEFT), row(-tolerance, RIGHT));
    for tick in down.ticks() {
        let class = if tick == 0.0 { "zero" } else { "grid" };
        svg.line(class, row(tick, LEFT), row(tick, RIGHT));
        let beside = Point {
            x: LEFT - 8.0,
            y: down.at(tick) + 4.0,
        };
        svg.text("tick", beside, Anchor::End, &down.signed_label(tick));
    }
    for tick in across.ticks() {
        let x = across.at(tick);
        let class = if tick == 0.0 { "zero" } else { "grid" };
        svg.line(class, Point { x, y: TOP }, Point { x, y: BOTTOM });
        let y = BOTTOM + 17.0;
        svg.text(
            "tick",
            Point { x, y },
            Anchor::Middle,
            &across.signed_label(tick),
        );
    }
    let captions = [
        (
            LEFT,
            TOP - 14.0,
            Anchor::Start,
            "↑ mean forgetting, bits per byte",
        ),
        (
            RIGHT,
            HEIGHT - 12.0,
            Anchor::End,
            "gain on the niche, bits per byte →",
        ),
        (
            LEFT,
            HEIGHT - 12.0,
            Anchor::Start,
            "lower right is better ↘",
        ),
    ];
    for (x, y, anchor, text) in captions {
        svg.text("tick", Point { x, y }, anchor, text);
    }
}

/// A run's marker with the whiskers of both figures, and, at the height `name`, its name on the side that has room.
fn point(
    svg: &mut Svg,
    (across, down): (&Axis, &Axis),
    (run, title): (&Run, &str),
    name: Option<f64>,
) {
    let place = |gain: f64, forgetting: f64| Point {
        x: across.at(gain),
        y: down.at(forgetting),
    };
    let (gain, forgetting) = (run.gain, run.forgetting);
    svg.begin_group(&class_of_run(run.number), title);
    let [low, high] = gain.interval;
    svg.line(
        "whisker",
        place(low, forgetting.value),
        place(high, forgetting.value),
    );
    let [low, high] = forgetting.interval;
    svg.line("whisker", place(gain.value, low), place(gain.value, high));
    let middle = place(gain.value, forgetting.value);
    svg.marker(run.number, false, middle);
    if let Some(name) = name {
        let ends = gain.interval.map(|end| across.at(end));
        let (x, anchor, room) = if middle.x < (LEFT + RIGHT) / 2.0 {
            let x = ends[1].max(middle.x + 4.0) + 8.0;
            (x, Anchor::Start, RIGHT - x)
        } else {
            let x = ends[0].min(middle.x - 4.0) - 8.0;
            (x, Anchor::End, x - LEFT)
        };
        let beside = Point { x, y: name + 5.0 };
        svg.text("label own", beside, anchor, &fit(run.name, room.min(NAME)));
    }
    svg.end_group();
}
