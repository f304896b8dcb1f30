//! Bar chart: one panel per group of bars, each with its own scale.

use super::axis::{Axis, Pixels};
use super::svg::{Anchor, Caption, Point, Size, Svg, fit};
use crate::wording::count;

/// Height of a bar, and distance from one bar to the next, in pixels.
const BAR: (f64, f64) = (18.0, 25.0);
const WIDTH: f64 = 280.0;
const NAMES: f64 = 124.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 14.0;
/// Distance between two panels, in pixels.
const GAP: f64 = 26.0;
/// Width reserved for the number beside the longest bar, in pixels.
const FIGURE: f64 = 62.0;

/// A bar of the chart.
pub struct Bar {
    /// Name that is written beside the bar.
    pub name: String,
    /// Length of the bar, 0 or more.
    pub value: f64,
    /// True if the bar is drawn in a stronger color.
    pub strong: bool,
}

/// Panel of a bar chart: bars on a common scale.
pub struct BarPanel {
    /// Title above the bars.
    pub title: String,
    /// Bars from top to bottom.
    pub bars: Vec<Bar>,
}

/// Draws the panels beside each other.
pub fn bars(title: &str, panels: &[BarPanel]) -> String {
    let rows = panels.iter().map(|panel| panel.bars.len()).max();
    let height = TOP + BAR.1 * rows.unwrap_or(0) as f64 + BOTTOM;
    let width = (WIDTH + GAP) * panels.len() as f64 - GAP;
    let figures: Vec<String> = panels
        .iter()
        .flat_map(|panel| &panel.bars)
        .map(|bar| format!("{} {}", bar.name, count(bar.value as u64)))
        .collect();
    let caption = Caption {
        title,
        description: &figures.join(", "),
    };
    let mut svg = Svg::new("bars", Size { width, height }, caption);
    for (number, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, (WIDTH + GAP) * number as f64);
    }
    svg.finish()
}

fn draw(svg: &mut Svg, panel: &BarPanel, left: f64) {
    let at = Point { x: left, y: 16.0 };
    svg.text("label strong", at, Anchor::Start, &panel.title);
    let from = left + NAMES;
    let longest = panel.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let axis = Axis::from_zero(
        longest,
        Pixels {
            from,
            to: left + WIDTH - FIGURE,
        },
    );
    for (row, bar) in panel.bars.iter().enumerate() {
        let top = TOP + BAR.1 * row as f64;
        let middle = top + BAR.0 / 2.0 + 5.0;
        let name = Point {
            x: from - 8.0,
            y: middle,
        };
        svg.text("label", name, Anchor::End, &fit(&bar.name, NAMES - 8.0));
        let class = if bar.strong { "bar own" } else { "bar" };
        let end = axis.at(bar.value);
        let corners = (
            Point { x: from, y: top },
            Point {
                x: end,
                y: top + BAR.0,
            },
        );
        svg.rectangle(class, corners.0, corners.1);
        let figure = Point {
            x: end + 6.0,
            y: middle,
        };
        svg.text("value", figure, Anchor::Start, &count(bar.value as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each panel has its own scale: its longest bar has the full length, and others their share of it.
    #[test]
    fn each_panel_has_its_own_scale() {
        let bar = |name: &str, value| Bar {
            name: name.into(),
            value,
            strong: false,
        };
        let panel = |values: [f64; 2]| BarPanel {
            title: "shape".into(),
            bars: vec![bar("a", values[0]), bar("b", values[1])],
        };
        let picture = bars("speed", &[panel([1000.0, 500.0]), panel([2.0, 2.0])]);
        let widths: Vec<f64> = picture
            .split("<rect class=\"bar\"")
            .skip(1)
            .map(|rest| {
                let width = rest.split("width=\"").nth(1).unwrap();
                width.split('"').next().unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(widths.len(), 4);
        assert!((widths[1] - widths[0] / 2.0).abs() < 0.11, "{widths:?}");
        assert_eq!([widths[2], widths[3]], [widths[0]; 2]);
    }
}
