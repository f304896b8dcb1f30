//! Chart of a run over its steps: the gain on the niche, and the change of every other domain, each on its own axis.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, fit, spread};
use crate::forgetting::{ForgettingReport, RunReport};
use polymath_eval::statistics::Verdict;

const WIDTH: f64 = 400.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 288.0;
/// Space above a panel for its caption, in pixels.
const CAPTION: f64 = 24.0;
/// Space below the last panel for the axis of steps, in pixels.
const BELOW: f64 = 44.0;
/// Height of the niche's panel, in pixels.
const GAIN: f64 = 70.0;
/// Height of the panel of the other domains, in pixels.
const CHANGES: f64 = 200.0;
/// Distance between two labels at the ends of lines, in pixels.
const GAP: f64 = 15.0;

/// Line of a domain: its change since the run's first evaluation; for a niche, its gain.
struct Line<'a> {
    name: &'a str,
    points: Vec<(u64, f64)>,
}

impl Line<'_> {
    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.1)
    }
}

/// One plot of the chart, above the axis of steps.
struct Panel<'a> {
    caption: &'a str,
    lines: Vec<Line<'a>>,
    down: Axis,
    top: f64,
    bottom: f64,
}

/// Draws the chart of one run, on the same scales for all runs; `None` with fewer than two evaluations.
///
/// Highlights the retained domain that ends highest above the tolerance; other lines are gray. Names stand at the line
/// ends, since eight colors would need a legend.
pub fn curve(report: &ForgettingReport, number: usize) -> Option<String> {
    let run = &report.runs[number];
    if run.curve.len() < 2 || lines(run, false).is_empty() && lines(run, true).is_empty() {
        return None;
    }
    let mut panels = Vec::new();
    let mut top = 0.0;
    let parts = [
        (true, GAIN, "gain on the niche, bits per byte"),
        (false, CHANGES, "change of the other domains"),
    ];
    for (of_niche, height, caption) in parts {
        let lines = lines(run, of_niche);
        if lines.is_empty() {
            continue;
        }
        top += CAPTION;
        let bottom = top + height;
        panels.push(Panel {
            caption,
            lines,
            down: scale(
                report,
                of_niche,
                Pixels {
                    from: bottom,
                    to: top,
                },
            ),
            top,
            bottom,
        });
        top = bottom;
    }
    let last = report.runs.iter().filter_map(|run| run.curve.last());
    let last = last.map(|point| point.step).max().unwrap_or(1);
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
            height: top + BELOW,
        },
        Caption {
            title: &title,
            description: &description(&panels),
        },
    );
    for panel in &panels {
        background(&mut svg, panel);
        draw(&mut svg, panel, &across, run, report.settings.tolerance);
    }
    steps(&mut svg, &across, top);
    Some(svg.finish())
}

/// Returns the vertical axis for the niche or for the other domains. It is the same in the charts of all runs.
fn scale(report: &ForgettingReport, of_niche: bool, pixels: Pixels) -> Axis {
    let values = report.runs.iter().flat_map(|run| {
        let lines = lines(run, of_niche).into_iter();
        lines.flat_map(|line| line.points.into_iter().map(|point| point.1))
    });
    let ticks = if of_niche { 2.0 } else { 5.0 };
    Axis::new(values.chain([0.0]), ticks, pixels)
}

/// Draws the lines of a panel with their names.
fn draw(svg: &mut Svg, panel: &Panel, across: &Axis, run: &RunReport, tolerance: f64) {
    let niche = run.niche().map(|domain| domain.name.as_str());
    let lines = panel.lines.iter();
    let worst = lines
        .filter(|line| Some(line.name) != niche && line.last() > tolerance)
        .max_by(|a, b| a.last().total_cmp(&b.last()))
        .map(|line| line.name);
    let labels = label_places(panel);
    for (line, label) in panel.lines.iter().zip(labels) {
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
                y: panel.down.at(*change),
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
            let name = fit(line.name, WIDTH - text.x);
            svg.text("label", text, Anchor::Start, &name);
        }
        svg.end_group();
    }
}

/// Returns a run's lines: that of the niche, or those of all other domains that are not withheld.
fn lines(run: &RunReport, of_niche: bool) -> Vec<Line<'_>> {
    let Some(start) = run.curve.first() else {
        return Vec::new();
    };
    let niche = run.niche().map(|domain| domain.name.as_str());
    let sign = if of_niche { -1.0 } else { 1.0 };
    let of_part = start.heldout_bits_per_byte.iter();
    let of_part = of_part.filter(|(name, _)| (Some(name.as_str()) == niche) == of_niche);
    let lines = of_part.map(|(name, begin)| {
        let points = run.curve.iter().filter_map(|point| {
            let change = point.heldout_bits_per_byte.get(name)? - begin;
            change.is_finite().then_some((point.step, sign * change))
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

/// Returns a text description for screen readers.
fn description(panels: &[Panel]) -> String {
    let ends: Vec<String> = panels
        .iter()
        .flat_map(|panel| &panel.lines)
        .map(|line| format!("{} {:+.3}", line.name, line.last()))
        .collect();
    format!("At the end: {}.", ends.join(", "))
}

fn background(svg: &mut Svg, panel: &Panel) {
    for tick in panel.down.ticks() {
        let y = panel.down.at(tick);
        let class = if tick == 0.0 { "zero" } else { "grid" };
        svg.line(class, Point { x: LEFT, y }, Point { x: RIGHT, y });
        let beside = Point {
            x: LEFT - 8.0,
            y: y + 4.0,
        };
        svg.text("tick", beside, Anchor::End, &panel.down.signed_label(tick));
    }
    let above = Point {
        x: 0.0,
        y: panel.top - 9.0,
    };
    svg.text("tick", above, Anchor::Start, panel.caption);
}

/// Draws the axis of steps below the last panel.
fn steps(svg: &mut Svg, across: &Axis, bottom: f64) {
    for tick in across.ticks() {
        let x = across.at(tick);
        let y = bottom + 4.0;
        svg.line("grid", Point { x, y: bottom }, Point { x, y });
        let below = Point { x, y: y + 15.0 };
        svg.text("tick", below, Anchor::Middle, &across.label(tick));
    }
    let caption = Point {
        x: (LEFT + RIGHT) / 2.0,
        y: bottom + BELOW - 6.0,
    };
    svg.text("tick", caption, Anchor::Middle, "step");
}

/// Returns the label positions at the line ends, moved apart where they would overlap.
fn label_places(panel: &Panel) -> Vec<f64> {
    let lines = &panel.lines;
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|a, b| lines[*b].last().total_cmp(&lines[*a].last()));
    let heights = order.iter().map(|at| panel.down.at(lines[*at].last()));
    let mut places: Vec<f64> = heights.collect();
    spread(&mut places, GAP, panel.bottom + 4.0);
    let mut of_line = vec![0.0; lines.len()];
    for (at, place) in order.into_iter().zip(places) {
        of_line[at] = place;
    }
    of_line
}
