//! Chart of the change of every domain during a run.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, fit, spread};
use crate::forgetting::{ForgettingReport, RunReport};
use polymath_eval::statistics::Verdict;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 288.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 226.0;
/// Minimum distance between two labels at line ends, in pixels.
const GAP: f64 = 15.0;

/// Line of one domain: its change since the first evaluation, by step.
struct Line<'a> {
    name: &'a str,
    points: Vec<(u64, f64)>,
}

impl Line<'_> {
    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.1)
    }
}

/// Draws the chart of one run, on the same scale as those of all runs. Returns `None` with fewer than two
/// evaluations.
///
/// The niche and the retained domain with the highest end above the tolerance are highlighted; other lines are gray.
/// Names are placed at the line ends, since eight colors would need a legend.
pub fn curve(report: &ForgettingReport, number: usize) -> Option<String> {
    let run = &report.runs[number];
    let lines = lines(run);
    if run.curve.len() < 2 || lines.is_empty() {
        return None;
    }
    let values = report.runs.iter().flat_map(|run| {
        let lines = self::lines(run).into_iter();
        lines.flat_map(|line| line.points.into_iter().map(|point| point.1))
    });
    let last = report.runs.iter().filter_map(|run| run.curve.last());
    let last = last.map(|point| point.step).max().unwrap_or(1);
    let down = Axis::new(
        values.chain([0.0]),
        5.0,
        Pixels {
            from: BOTTOM,
            to: TOP,
        },
    );
    let across = Axis::of_steps(
        last,
        4.0,
        Pixels {
            from: LEFT,
            to: RIGHT,
        },
    );
    let title = format!("Change in bits per byte over the steps of {}", run.name);
    let mut svg = Svg::new(
        &format!("curve-{number}"),
        Size {
            width: WIDTH,
            height: HEIGHT,
        },
        Caption {
            title: &title,
            description: &description(&lines),
        },
    );
    background(&mut svg, &across, &down);
    let niche = run.niche().map(|domain| domain.name.as_str());
    let worst = lines
        .iter()
        .filter(|line| Some(line.name) != niche && line.last() > report.settings.tolerance)
        .max_by(|a, b| a.last().total_cmp(&b.last()))
        .map(|line| line.name);
    let labels = label_places(&lines, &down);
    for (line, label) in lines.iter().zip(labels) {
        let class = match Some(line.name) {
            name if name == niche => "of-niche",
            name if name == worst => "of-worst",
            _ => "of-rest",
        };
        let points: Vec<Point> = line
            .points
            .iter()
            .map(|(step, change)| Point {
                x: across.at(*step as f64),
                y: down.at(*change),
            })
            .collect();
        svg.begin_group(&format!("series {class}"), line.name);
        svg.polyline("line", &points);
        if let Some(end) = points.last() {
            let beside = Point {
                x: RIGHT + 10.0,
                y: label,
            };
            svg.line("leader", *end, beside);
            let text = Point {
                x: beside.x + 3.0,
                y: label + 4.5,
            };
            svg.text(
                "label",
                text,
                Anchor::Start,
                &fit(line.name, WIDTH - text.x),
            );
        }
        svg.end_group();
    }
    Some(svg.finish())
}

/// Returns the lines of the domains whose results are not withheld.
fn lines(run: &RunReport) -> Vec<Line<'_>> {
    let Some(start) = run.curve.first() else {
        return Vec::new();
    };
    let lines = start.heldout_bits_per_byte.iter().map(|(name, begin)| {
        let points = run.curve.iter().filter_map(|point| {
            let change = point.heldout_bits_per_byte.get(name)? - begin;
            change.is_finite().then_some((point.step, change))
        });
        Line {
            name,
            points: points.collect(),
        }
    });
    let withheld = |name: &str| {
        let of_name = run.domains.iter().find(|domain| domain.name == name);
        of_name.is_some_and(|domain| domain.verdict == Verdict::Withheld)
    };
    lines
        .filter(|line| !line.points.is_empty() && !withheld(line.name))
        .collect()
}

/// Returns a description for screen readers.
fn description(lines: &[Line]) -> String {
    let ends: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {:+.3}", line.name, line.last()))
        .collect();
    format!("At the end: {}.", ends.join(", "))
}

fn background(svg: &mut Svg, across: &Axis, down: &Axis) {
    for tick in down.ticks() {
        let y = down.at(tick);
        let class = if tick == 0.0 { "zero" } else { "grid" };
        svg.line(class, Point { x: LEFT, y }, Point { x: RIGHT, y });
        let beside = Point {
            x: LEFT - 8.0,
            y: y + 4.0,
        };
        svg.text("tick", beside, Anchor::End, &down.signed_label(tick));
    }
    for tick in across.ticks() {
        let x = across.at(tick);
        let y = BOTTOM + 4.0;
        svg.line("grid", Point { x, y: BOTTOM }, Point { x, y });
        let below = Point { x, y: y + 15.0 };
        svg.text("tick", below, Anchor::Middle, &across.label(tick));
    }
    let caption = Point {
        x: (LEFT + RIGHT) / 2.0,
        y: HEIGHT - 6.0,
    };
    svg.text("tick", caption, Anchor::Middle, "step");
}

/// Returns the vertical positions of the labels at the line ends, moved apart where they would overlap.
fn label_places(lines: &[Line], down: &Axis) -> Vec<f64> {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|a, b| lines[*b].last().total_cmp(&lines[*a].last()));
    let mut places: Vec<f64> = order.iter().map(|at| down.at(lines[*at].last())).collect();
    spread(&mut places, GAP, HEIGHT - 12.0);
    let mut of_line = vec![0.0; lines.len()];
    for (at, place) in order.into_iter().zip(places) {
        of_line[at] = place;
    }
    of_line
}
