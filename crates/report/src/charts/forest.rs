//! Forest plots: the gain on each niche, and the change of every retained domain, with intervals, for all runs. Each
//! has an axis of its own: a gain is often ten times as large as what is forgotten.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, class_of_run, fit};
use crate::forgetting::{DomainReport, ForgettingReport, Role};
use crate::wording::{sign, signed};
use polymath_eval::statistics::Verdict;

/// Height of a run's row, in pixels.
const ROW: f64 = 22.0;
/// Space above and below the rows of a domain, in pixels.
const MARGIN: f64 = 9.0;
/// Height of a domain's name above its rows, in pixels.
const HEADING: f64 = 18.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 44.0;

/// Layout of the chart for wide or narrow windows. The page shows the one that fits.
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
    /// Vertical position of the row's middle, in pixels.
    y: f64,
}

/// Choice of the domains that a plot shows.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    /// Niches: the gain, positive if the run is better.
    Niches,
    /// Retained domains and earlier niches: the change, positive if the run is worse.
    Retained,
}

impl Part {
    fn has(self, domain: &DomainReport) -> bool {
        (domain.role == Role::Niche) == (self == Self::Niches)
    }

    /// Returns a change with the sign that the plot shows.
    fn shown(self, change: f64) -> f64 {
        match self {
            // 0 − x, since −x would turn 0 into −0.
            Self::Niches => 0.0 - change,
            Self::Retained => change,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Niches => "gain",
            Self::Retained => "retained",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Niches => "Gain on the niche in bits per byte, with 95 % intervals",
            Self::Retained => {
                "Change of the retained domains in bits per byte, with 95 % intervals"
            }
        }
    }

    /// Returns the captions at both ends of the axis.
    fn ends(self) -> [&'static str; 2] {
        match self {
            Self::Niches => ["← worse than the base", "better →"],
            Self::Retained => ["← better than the base", "worse →"],
        }
    }
}

/// Layout and scale of a plot.
struct Frame<'a> {
    report: &'a ForgettingReport,
    part: Part,
    width: Width,
    axis: Axis,
    bottom: f64,
}

/// Draws a forest plot of the domains that `part` selects (niches or retained domains); `None` if no run has any. A
/// band around the zero line marks the tolerance.
pub fn forest(report: &ForgettingReport, part: Part, width: Width) -> Option<String> {
    let names = domain_names(report, part);
    if names.is_empty() {
        return None;
    }
    let tolerance = report.settings.tolerance;
    let ends = report
        .runs
        .iter()
        .flat_map(|run| run.domains.iter().filter(|domain| part.has(domain)))
        .flat_map(|domain| domain.interval.into_iter().flatten().chain(domain.change))
        .map(|change| part.shown(change));
    let band = match part {
        Part::Niches => 0.0,
        Part::Retained => 1.2 * tolerance,
    };
    let (ticks, layout) = match width {
        Width::Wide => (6.0, "wide"),
        Width::Narrow => (4.0, "narrow"),
    };
    let axis = Axis::new(ends.chain([0.0, band, -band]), ticks, width.plot());
    let group = 2.0 * MARGIN + width.heading() + ROW * report.runs.len() as f64;
    let bottom = TOP + group * names.len() as f64;
    let frame = Frame {
        report,
        part,
        width,
        axis,
        bottom,
    };
    let mut svg = Svg::new(
        &format!("{}-{layout}", part.name()),
        Size {
            width: width.pixels(),
            height: bottom + BOTTOM,
        },
        Caption {
            title: part.title(),
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
    Some(svg.finish())
}

/// Returns the name of every domain of the plot once, by descending change: the largest of any run, where positive is
/// worse.
fn domain_names(report: &ForgettingReport, part: Part) -> Vec<&str> {
    let mut names: Vec<(f64, &str)> = Vec::new();
    for domain in report.runs.iter().flat_map(|run| &run.domains) {
        if !part.has(domain) {
            continue;
        }
        let change = domain.change.unwrap_or(f64::MIN);
        match names.iter_mut().find(|(_, name)| *name == domain.name) {
            Some(known) => known.0 = known.0.max(change),
            None => names.push((change, &domain.name)),
        }
    }
    names.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    names.into_iter().map(|(_, name)| name).collect()
}

impl Frame<'_> {
    fn background(&self, svg: &mut Svg) {
        let tolerance = self.report.settings.tolerance;
        let place = |value: f64, y: f64| Point {
            x: self.axis.at(value),
            y,
        };
        if self.part == Part::Retained {
            svg.rectangle(
                "band",
                place(-tolerance, TOP),
                place(tolerance, self.bottom),
            );
            let above = place(0.0, TOP - 9.0);
            svg.text("tick", above, Anchor::Middle, &format!("±{tolerance}"));
        }
        for tick in self.axis.ticks() {
            svg.line("grid", place(tick, TOP), place(tick, self.bottom));
            let below = place(tick, self.bottom + 17.0);
            svg.text("tick", below, Anchor::Middle, &self.axis.signed_label(tick));
        }
        svg.line("zero", place(0.0, TOP), place(0.0, self.bottom));
        let Pixels { from, to } = self.width.plot();
        let [low, high] = self.part.ends();
        for (x, anchor, text) in [(from, Anchor::Start, low), (to, Anchor::End, high)] {
            let y = self.bottom + 37.0;
            svg.text("tick", Point { x, y }, anchor, text);
        }
    }

    /// Draws the name of a domain, and below or beside it one row for each run.
    fn domain(&self, svg: &mut Svg, name: &str, top: f64) {
        let rows = ROW * self.report.runs.len() as f64;
        match self.width {
            Width::Wide => {
                let x = self.width.plot().from - 16.0;
                let y = top + MARGIN + rows / 2.0 + 5.0;
                svg.text("label", Point { x, y }, Anchor::End, &fit(name, x));
            }
            Width::Narrow => {
                let place = Point {
                    x: 0.0,
                    y: top + MARGIN + 11.0,
                };
                let text = fit(name, self.width.pixels());
                svg.text("label", place, Anchor::Start, &text);
            }
        }
        for (number, run) in self.report.runs.iter().enumerate() {
            let mut domains = run.domains.iter();
            let own = domains.find(|domain| domain.name == name && self.part.has(domain));
            if let Some(domain) = own {
                let y = top + MARGIN + self.width.heading() + ROW * (number as f64 + 0.5);
                let title = format!("{}, {}", run.name, name);
                let row = RunRow {
                    run: number,
                    title: &title,
                    y,
                };
                self.row(svg, row, domain);
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
            let figures = domain.shown_interval();
            let shown = self.part.shown(change);
            let title = format!("{title}: {} {figures}, {word}", signed(shown));
            svg.begin_group(&class_of_run(run), &title);
            if let Some(ends) = domain.interval {
                let [low, high] = ends.map(|end| place(self.part.shown(end)));
                svg.line("whisker", low, high);
            }
            let hollow = domain.verdict == Verdict::Undecided;
            svg.marker(run, hollow, place(shown));
            svg.end_group();
            let before = Point {
                x: after.x - 8.0,
                y: after.y,
            };
            svg.text("value", before, Anchor::End, &signed(shown));
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
