//! The report's charts as SVG. Drawn here, since no charting library draws a forest plot that follows the page's colours,
//! light and dark; colours and type are the page's own style sheet's, by class.

use std::fmt::Write;

use super::{ForgettingReport, Role, RunReport, interval, signed};
use crate::statistics::Verdict;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 24.0;
const ROW: f64 = 30.0;

/// A scale from values to pixels, with round ticks.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let span = (high - low).max(1e-3);
        let rough = span / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|unit| unit * power)
            .find(|step| *step >= rough)
            .unwrap_or(power);
        Self {
            low: ((low - 0.04 * span) / step).floor() * step,
            high: ((high + 0.04 * span) / step).ceil() * step,
            from,
            to,
            step,
        }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|tick| self.low + tick as f64 * self.step)
    }

    fn label(&self, value: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 4.0) as usize;
        let value = if value.abs() < self.step / 1e3 {
            0.0
        } else {
            value
        };
        format!("{value:.digits$}").replace('-', "−")
    }
}

fn begin(height: f64, title: &str, description: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{}</title><desc>{}</desc>",
        escape(title),
        escape(description)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Vertical grid lines with their labels below.
fn grid(svg: &mut String, axis: &Axis, (top, bottom): (f64, f64), caption: &str) {
    for tick in axis.ticks() {
        let x = axis.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/><text class=\"tick\" \
             x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            axis.label(tick)
        );
    }
    let middle = (axis.from + axis.to) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"caption\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{caption}</text>",
        bottom + 34.0
    );
}

/// The change of every domain with its interval, beside the zero line and the band of tolerance.
pub fn forest(report: &ForgettingReport, run: &RunReport) -> String {
    let tolerance = report.settings.tolerance;
    let ends = report
        .runs
        .iter()
        .flat_map(|run| &run.domains)
        .filter_map(|domain| domain.interval)
        .flatten();
    let axis = Axis::new(
        ends.chain([0.0, tolerance, -tolerance]),
        (LEFT, WIDTH - RIGHT),
    );
    let (top, bottom) = (8.0, 8.0 + ROW * run.domains.len() as f64);
    let mut svg = begin(
        bottom + 42.0,
        &format!("Change in bits per byte by domain: {}", run.name()),
        &run.headline(),
    );
    let (low, high) = (axis.at(-tolerance), axis.at(tolerance));
    let _ = write!(
        svg,
        "<rect class=\"band\" x=\"{low:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\"/>",
        high - low,
        bottom - top
    );
    grid(
        &mut svg,
        &axis,
        (top, bottom),
        "change in bits per byte (← gained · forgotten →)",
    );
    let zero = axis.at(0.0);
    let _ = write!(
        svg,
        "<line class=\"zero\" x1=\"{zero:.1}\" y1=\"{top}\" x2=\"{zero:.1}\" y2=\"{bottom}\"/>"
    );
    for (row, domain) in run.domains.iter().enumerate() {
        let y = top + ROW * (row as f64 + 0.5);
        let weight = if domain.role == Role::Niche {
            " niche"
        } else {
            ""
        };
        let _ = write!(
            svg,
            "<text class=\"label{weight}\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            y + 5.0,
            escape(&domain.name)
        );
        let (Some(change), Some([from, to])) = (domain.change, domain.interval) else {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">withheld: its held-out text leaks</text>",
                zero + 8.0,
                y + 4.0
            );
            continue;
        };
        let class = domain.verdict.word();
        let _ = write!(
            svg,
            "<g class=\"{class}\"><title>{}: {} {}, {class}</title><line class=\"whisker\" x1=\"{:.1}\" y1=\"{y}\" \
             x2=\"{:.1}\" y2=\"{y}\"/>{}</g>",
            escape(&domain.name),
            signed(Some(change)),
            interval(domain.interval),
            axis.at(from),
            axis.at(to),
            mark(domain.verdict, axis.at(change), y)
        );
    }
    svg + "</svg>"
}

/// A shape for each verdict, so that colour is not the only sign.
fn mark(verdict: Verdict, x: f64, y: f64) -> String {
    match verdict {
        Verdict::Forgotten => format!(
            "<path class=\"mark\" d=\"M{:.1} {:.1}h11l-5.5 -10z\" transform=\"rotate(90 {x:.1} {y:.1})\"/>",
            x - 5.5,
            y + 5.0
        ),
        Verdict::Gained => format!(
            "<path class=\"mark\" d=\"M{:.1} {:.1}h11l-5.5 -10z\" transform=\"rotate(-90 {x:.1} {y:.1})\"/>",
            x - 5.5,
            y + 5.0
        ),
        Verdict::Undecided => format!(
            "<rect class=\"mark hollow\" x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"/>",
            x - 4.5,
            y - 4.5
        ),
        Verdict::Kept | Verdict::Withheld => {
            format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>")
        }
    }
}

/// Forgetting of every domain over the steps of a run; `None` where the run has no evaluations.
pub fn curve(report: &ForgettingReport, run: &RunReport) -> Option<String> {
    let start = &run.curve.first()?.heldout_bits_per_byte;
    let lines: Vec<(&String, Vec<(f64, f64)>)> = start
        .iter()
        .map(|(name, begin)| {
            let points = run.curve.iter().filter_map(|point| {
                Some((
                    point.step as f64,
                    point.heldout_bits_per_byte.get(name)? - begin,
                ))
            });
            (name, points.collect())
        })
        .collect();
    let (top, bottom, right) = (10.0, 250.0, WIDTH - 150.0);
    let of_all_runs = report.runs.iter().flat_map(|run| {
        let start = run.curve.first().map(|point| &point.heldout_bits_per_byte);
        run.curve.iter().flat_map(move |point| {
            let start = start.cloned().unwrap_or_default();
            point
                .heldout_bits_per_byte
                .iter()
                .filter_map(move |(name, value)| Some(value - start.get(name)?))
                .collect::<Vec<_>>()
        })
    });
    let down = Axis::new(of_all_runs.chain([0.0]), (bottom, top));
    let across = Axis {
        low: 0.0,
        high: run.curve.last()?.step.max(1) as f64,
        from: 64.0,
        to: right,
        step: 1.0,
    };
    let mut svg = begin(
        bottom + 46.0,
        &format!("Change over the run: {}", run.name()),
        "Held-out change in bits per byte of every domain since the run began.",
    );
    for tick in down.ticks() {
        let y = down.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"64\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"56\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            down.label(tick)
        );
    }
    let zero = down.at(0.0);
    let _ = write!(
        svg,
        "<line class=\"zero\" x1=\"64\" y1=\"{zero:.1}\" x2=\"{right}\" y2=\"{zero:.1}\"/>"
    );
    for quarter in 0..=4 {
        let step = across.high * f64::from(quarter) / 4.0;
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{step:.0}</text>",
            across.at(step),
            bottom + 18.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"caption\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>",
        (64.0 + right) / 2.0,
        bottom + 38.0
    );
    // Labels at the lines' ends, pushed apart where they would overlap.
    let mut ends: Vec<(f64, usize)> = lines
        .iter()
        .enumerate()
        .map(|(number, (_, points))| (points.last().map_or(zero, |point| down.at(point.1)), number))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = f64::MIN;
    for (y, _) in &mut ends {
        *y = y.max(below + 15.0);
        below = *y;
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let path: Vec<String> = points
            .iter()
            .map(|(step, change)| format!("{:.1} {:.1}", across.at(*step), down.at(*change)))
            .collect();
        let label = ends
            .iter()
            .find(|(_, of)| *of == number)
            .map_or(zero, |(y, _)| *y);
        let niche = run
            .domains
            .iter()
            .any(|domain| domain.name == **name && domain.role == Role::Niche);
        let _ = write!(
            svg,
            "<g class=\"series s{}{}\"><polyline class=\"line\" points=\"{}\"/><text class=\"label\" x=\"{}\" y=\"{:.1}\">{}</text></g>",
            number % 8,
            if niche { " niche" } else { "" },
            path.join(" "),
            right + 8.0,
            label + 4.0,
            escape(name)
        );
    }
    Some(svg + "</svg>")
}

/// Each run as a point: what it gained on the niche against what it forgot on average.
pub fn trade(report: &ForgettingReport) -> String {
    let points: Vec<(String, f64, f64)> = report
        .runs
        .iter()
        .filter_map(|run| {
            Some((
                format!("{} ({})", run.name(), run.method),
                run.niche_gain?,
                run.mean_forgetting?,
            ))
        })
        .collect();
    let (top, bottom) = (12.0, 260.0);
    let across = Axis::new(
        points.iter().map(|point| point.1).chain([0.0]),
        (64.0, WIDTH - 160.0),
    );
    let down = Axis::new(
        points.iter().map(|point| point.2).chain([0.0]),
        (bottom, top),
    );
    let mut svg = begin(
        bottom + 46.0,
        "Gain against forgetting of the runs",
        "Right is more gained on the niche, up is more forgotten on average; the best place is bottom right.",
    );
    for tick in down.ticks() {
        let y = down.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"64\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"56\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 160.0,
            y + 4.0,
            down.label(tick)
        );
    }
    grid(
        &mut svg,
        &across,
        (top, bottom),
        "niche gain in bits per byte (mean forgetting upwards)",
    );
    for (number, (name, gain, forgetting)) in points.iter().enumerate() {
        let (x, y) = (across.at(*gain), down.at(*forgetting));
        let _ = write!(
            svg,
            "<g class=\"series s{}\"><title>{}: gain {gain:.3}, mean forgetting {}</title><circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"/><text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            number % 8,
            escape(name),
            signed(Some(*forgetting)),
            x + 11.0,
            y + 5.0,
            escape(name)
        );
    }
    svg + "</svg>"
}
