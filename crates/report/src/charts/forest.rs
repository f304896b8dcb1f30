//! Forest plot: the change of every domain with its interval, for all runs.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, class_of_run, fit};
use crate::forgetting::{DomainReport, ForgettingReport, Role};
use crate::wording::{interval, sign, signed};
use polymath_eval::statistics::Verdict;

/// Height of a run's row, in pixels.
const ROW: f64 = 22.0;
/// Space above and below the rows of a domain, in pixels.
const MARGIN: f64 = 9.0;
/// Height of a domain's name above its rows, in pixels.
const HEADING: f64 = 18.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 44.0;

/// Layout of the chart. The page shows the one that fits the window.
#[derive(Clone, Copy, PartialEq)]
pub enum Width {
    /// Domain names on the left and verdicts on the right.
    Wide,
    /// Domain names above their rows.
    Narrow,
}

impl Width {
    fn pixels(self) -> f64 {
        match self {
            Self::Wide => 840.0,
            Self::Narrow => 360.0,
        }
    }

    /// Returns the horizontal range of the axis, in pixels.
    fn plot(self) -> Pixels {
        match self {
            Self::Wide => Pixels {
                from: 150.0,
                to: 670.0,
            },
            Self::Narrow => Pixels {
                from: 6.0,
                to: 276.0,
            },
        }
    }

    fn heading(self) -> f64 {
        match self {
            Self::Wide => 0.0,
            Self::Narrow => HEADING,
        }
    }
}

/// Row of one run in a domain's group.
struct RunRow<'a> {
    /// Index of the run.
    run: usize,
    title: &'a str,
    /// Height of the row's middle.
    y: f64,
}

/// Layout and scale of a plot.
struct Frame<'a> {
    report: &'a ForgettingReport,
    width: Width,
    axis: Axis,
    bottom: f64,
}

/// Draws the chart. The niche is at the top; the band around the zero line is the tolerance.
pub fn forest(report: &ForgettingReport, width: Width) -> String {
    let names = domain_names(report);
    let tolerance = report.settings.tolerance;
    let ends = report
        .runs
        .iter()
        .flat_map(|run| &run.domains)
        .flat_map(|domain| domain.interval.into_iter().flatten().chain(domain.change));
    let (ticks, id) = match width {
        Width::Wide => (6.0, "forest-wide"),
        Width::Narrow => (5.0, "forest-narrow"),
    };
    let axis = Axis::new(
        ends.chain([0.0, 1.2 * tolerance, -1.2 * tolerance]),
        ticks,
        width.plot(),
    );
    let group = 2.0 * MARGIN + width.heading() + ROW * report.runs.len() as f64;
    let bottom = TOP + group * names.len() as f64;
    let frame = Frame {
        report,
        width,
        axis,
        bottom,
    };
    let mut svg = Svg::new(
        id,
        Size {
            width: width.pixels(),
            height: bottom + BOTTOM,
        },
        Caption {
            title: "Change in bits per byte by domain, with 95 % intervals",
            description: &report.headlines().join(" "),
        },
    );
    frame.background(&mut svg);
    for (number, name) in names.iter().enumerate() {
        let top = TOP + group * number as f64;
        if number > 0 {
            let left = Point { x: 0.0, y: top };
            let right = Point {
                x: width.pixels(),
                y: top,
            };
            svg.line("rule", left, right);
        }
        frame.domain(&mut svg, name, top);
    }
    svg.finish()
}

/// Returns the name of every domain once, niches first.
fn domain_names(report: &ForgettingReport) -> Vec<&str> {
    let mut names: Vec<(bool, &str)> = Vec::new();
    for domain in report.runs.iter().flat_map(|run| &run.domains) {
        let retained = domain.role == Role::Retained;
        match names.iter_mut().find(|(_, name)| *name == domain.name) {
            Some(known) => known.0 &= retained,
            None => names.push((retained, &domain.name)),
        }
    }
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name).collect()
}

impl Frame<'_> {
    fn background(&self, svg: &mut Svg) {
        let tolerance = self.report.settings.tolerance;
        let place = |value: f64, y: f64| Point {
            x: self.axis.at(value),
            y,
        };
        svg.rectangle(
            "band",
            place(-tolerance, TOP),
            place(tolerance, self.bottom),
        );
        for tick in self.axis.ticks() {
            svg.line("grid", place(tick, TOP), place(tick, self.bottom));
            let below = place(tick, self.bottom + 17.0);
            svg.text("tick", below, Anchor::Middle, &self.axis.signed_label(tick));
        }
        svg.line("zero", place(0.0, TOP), place(0.0, self.bottom));
        let Pixels { from, to } = self.width.plot();
        let ends = [
            (from, Anchor::Start, "← better than the base"),
            (to, Anchor::End, "worse →"),
        ];
        for (x, anchor, text) in ends {
            let y = self.bottom + 37.0;
            svg.text("tick", Point { x, y }, anchor, text);
        }
        let above = place(0.0, TOP - 9.0);
        svg.text("tick", above, Anchor::Middle, &format!("±{tolerance}"));
    }

    /// Draws the name of a domain, and a row for each run.
    fn domain(&self, svg: &mut Svg, name: &str, top: f64) {
        let of_run = |run: &'_ crate::forgetting::RunReport| {
            run.domains.iter().position(|domain| domain.name == name)
        };
        let niche = self
            .report
            .runs
            .iter()
            .any(|run| of_run(run).is_some_and(|at| run.domains[at].role == Role::Niche));
        let class = if niche { "label strong" } else { "label" };
        let rows = ROW * self.report.runs.len() as f64;
        match self.width {
            Width::Wide => {
                let x = self.width.plot().from - 16.0;
                let middle = top + MARGIN + rows / 2.0;
                let y = if niche { middle - 2.0 } else { middle + 5.0 };
                svg.text(class, Point { x, y }, Anchor::End, &fit(name, x));
                if niche {
                    svg.text("tick", Point { x, y: y + 15.0 }, Anchor::End, "niche");
                }
            }
            Width::Narrow => {
                let place = Point {
                    x: 0.0,
                    y: top + MARGIN + 11.0,
                };
                let text = if niche {
                    format!("{name} (niche)")
                } else {
                    name.to_owned()
                };
                svg.text(
                    class,
                    place,
                    Anchor::Start,
                    &fit(&text, self.width.pixels()),
                );
            }
        }
        for (number, run) in self.report.runs.iter().enumerate() {
            if let Some(at) = of_run(run) {
                let y = top + MARGIN + self.width.heading() + ROW * (number as f64 + 0.5);
                let title = format!("{}, {}", run.name, name);
                let row = RunRow {
                    run: number,
                    title: &title,
                    y,
                };
                self.row(svg, row, &run.domains[at]);
            }
        }
    }

    /// Draws the interval, marker and verdict of a run, or only the verdict if the result is withheld.
    fn row(&self, svg: &mut Svg, row: RunRow, domain: &DomainReport) {
        let RunRow { run, title, y } = row;
        let word = domain.verdict.word();
        let place = |value: f64| Point {
            x: self.axis.at(value),
            y,
        };
        let after = Point {
            x: self.width.plot().to + 70.0,
            y: y + 5.0,
        };
        if let Some(change) = domain.change {
            let figures = interval(domain.interval);
            let title = format!("{title}: {} {figures}, {word}", signed(change));
            svg.begin_group(&class_of_run(run), &title);
            if let Some([low, high]) = domain.interval {
                svg.line("whisker", place(low), place(high));
            }
            let hollow = domain.verdict == Verdict::Undecided;
            svg.marker(run, hollow, place(change));
            svg.end_group();
            let before = Point {
                x: after.x - 8.0,
                y: after.y,
            };
            svg.text("value", before, Anchor::End, &signed(change));
        }
        let class = format!("value {word}");
        match (self.width, domain.verdict) {
            (Width::Wide, verdict) => {
                let text = format!("{} {word}", sign(verdict));
                svg.text(&class, after, Anchor::Start, &text);
            }
            (Width::Narrow, Verdict::Withheld) => {
                let end = Point {
                    x: self.width.pixels(),
                    y: after.y,
                };
                svg.text(&class, end, Anchor::End, word);
            }
            (Width::Narrow, verdict) => svg.text(&class, after, Anchor::Start, sign(verdict)),
        }
    }
}
