//! Trade-off chart: gain on the niche against mean forgetting.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, class_of_run, fit, spread};
use crate::wording::signed;
use polymath_eval::statistics::Figure;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 304.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 430.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 254.0;
/// Maximum width of a name in pixels.
const NAME: f64 = 180.0;
/// Vertical distance between a label and its point from which a leader line connects them, in pixels.
const LEADER: f64 = 6.0;
/// Minimum vertical distance between two names, in pixels.
const GAP: f64 = 17.0;

/// Gain and forgetting of a run or method, as a point of the chart.
pub struct TradeoffPoint<'a> {
    /// Number of the run or method, which decides marker and color.
    pub number: usize,
    pub name: &'a str,
    pub gain: Figure,
    pub forgetting: Figure,
    /// Text beside the point: the run's name, or a number that the legend explains.
    pub label: String,
    /// True if the report recommends the run or method: its label is bold.
    pub marked: bool,
    /// Points (gain, forgetting) on the path from the base to the model.
    pub path: Vec<(f64, f64)>,
}

/// Axes of the chart: gain from left to right, forgetting from top to bottom.
struct Axes {
    across: Axis,
    down: Axis,
}

impl Axes {
    fn at(&self, gain: f64, forgetting: f64) -> Point {
        Point {
            x: self.across.at(gain),
            y: self.down.at(forgetting),
        }
    }
}

/// Draws the chart, or returns `None` without points.
pub fn tradeoff(trades: &[TradeoffPoint], tolerance: f64) -> Option<String> {
    if trades.is_empty() {
        return None;
    }
    let mut trades: Vec<&TradeoffPoint> = trades.iter().collect();
    // Sorted from top to bottom, as the names are placed.
    trades.sort_by(|a, b| b.forgetting.value.total_cmp(&a.forgetting.value));
    let path = || trades.iter().flat_map(|trade| &trade.path);
    let gains = trades.iter().flat_map(|trade| ends(trade.gain));
    let gains = gains.chain(path().map(|point| point.0)).chain([0.0]);
    let across = Axis::new(
        gains,
        5.0,
        Pixels {
            from: LEFT,
            to: RIGHT,
        },
    );
    let losses = trades.iter().flat_map(|trade| ends(trade.forgetting));
    let losses = losses.chain(path().map(|point| point.1));
    let down = Axis::new(
        losses.chain([-tolerance, tolerance]),
        5.0,
        Pixels {
            from: BOTTOM,
            to: TOP,
        },
    );
    let said: Vec<String> = trades.iter().map(|trade| describe(trade)).collect();
    let mut svg = Svg::new(
        "tradeoff",
        Size {
            width: WIDTH,
            height: HEIGHT,
        },
        Caption {
            title: "Gain on the niche against mean forgetting",
            description: &said.join(" "),
        },
    );
    let axes = Axes { across, down };
    background(&mut svg, &axes, tolerance);
    for trade in &trades {
        trail(&mut svg, &axes, trade);
    }
    let heights = trades
        .iter()
        .map(|trade| axes.down.at(trade.forgetting.value));
    let mut heights: Vec<f64> = heights.collect();
    spread(&mut heights, GAP, BOTTOM);
    for ((trade, text), height) in trades.iter().zip(&said).zip(heights) {
        point(&mut svg, &axes, trade, text, height);
    }
    Some(svg.finish())
}

/// Returns the range that a figure covers in the chart: its interval, or the value alone if it has none.
fn ends(figure: Figure) -> [f64; 2] {
    figure.interval.unwrap_or([figure.value; 2])
}

fn describe(trade: &TradeoffPoint) -> String {
    format!(
        "{}: gain {}, mean forgetting {}.",
        trade.name,
        signed(trade.gain.value),
        signed(trade.forgetting.value)
    )
}

/// Draws the path from the base to a point as a line.
fn trail(svg: &mut Svg, axes: &Axes, trade: &TradeoffPoint) {
    if trade.path.is_empty() {
        return;
    }
    let end = (trade.gain.value, trade.forgetting.value);
    let mut points = vec![(0.0, 0.0)];
    points.extend(trade.path.iter().copied().chain([end]));
    let points: Vec<Point> = points
        .into_iter()
        .map(|(gain, forgetting)| axes.at(gain, forgetting))
        .collect();
    let title = format!("{}: mixed with the base", trade.name);
    svg.begin_group(&format!("{} trail", class_of_run(trade.number)), &title);
    svg.polyline("line", &points);
    for place in &points[1..points.len() - 1] {
        svg.dot(*place);
    }
    svg.end_group();
}

fn background(svg: &mut Svg, axes: &Axes, tolerance: f64) {
    let Axes { across, down } = axes;
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

/// Draws a marker with the intervals of gain and forgetting and, at `height`, its label on the side with more room. A
/// label that does not stand beside its point has a leader to it.
fn point(svg: &mut Svg, axes: &Axes, trade: &TradeoffPoint, title: &str, height: f64) {
    let place = |gain: f64, forgetting: f64| axes.at(gain, forgetting);
    let (gain, forgetting) = (trade.gain, trade.forgetting);
    svg.begin_group(&class_of_run(trade.number), title);
    if let Some([low, high]) = gain.interval {
        svg.line(
            "whisker",
            place(low, forgetting.value),
            place(high, forgetting.value),
        );
    }
    if let Some([low, high]) = forgetting.interval {
        svg.line("whisker", place(gain.value, low), place(gain.value, high));
    }
    let middle = place(gain.value, forgetting.value);
    svg.marker(trade.number, false, middle);
    let ends = ends(gain).map(|end| axes.across.at(end));
    let (x, anchor, room) = if middle.x < (LEFT + RIGHT) / 2.0 {
        let x = ends[1].max(middle.x + 4.0) + 8.0;
        (x, Anchor::Start, RIGHT - x)
    } else {
        let x = ends[0].min(middle.x - 4.0) - 8.0;
        (x, Anchor::End, x - LEFT)
    };
    if (height - middle.y).abs() > LEADER {
        svg.line("leader", Point { x, y: height }, middle);
    }
    let beside = Point { x, y: height + 5.0 };
    let class = if trade.marked {
        "label own strong"
    } else {
        "label own"
    };
    svg.text(class, beside, anchor, &fit(&trade.label, room.min(NAME)));
    svg.end_group();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a label that had to be moved away from its point has a leader to it, and that one beside its point
    /// has none.
    #[test]
    fn moved_labels_have_leaders() {
        let figure = |value: f64| Figure {
            value,
            interval: None,
        };
        let trade = |number: usize, forgetting: f64| TradeoffPoint {
            number,
            name: "method",
            gain: figure(0.1 * number as f64),
            forgetting: figure(forgetting),
            label: number.to_string(),
            marked: false,
            path: Vec::new(),
        };
        let leaders = |forgetting: [f64; 3]| {
            let trades = [0, 1, 2].map(|number| trade(number, forgetting[number]));
            let picture = tradeoff(&trades, 0.02).unwrap();
            picture.matches("class=\"leader\"").count()
        };
        assert_eq!(leaders([0.0, 0.2, 0.4]), 0);
        assert_eq!(leaders([0.1, 0.1, 0.4]), 1);
    }
}
