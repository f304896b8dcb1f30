//! Heat map: a table whose cells are colored by the change that they show.

use super::svg::{Anchor, Caption, Point, Size, Svg, fit};
use crate::wording::{interval, signed};
use polymath_eval::statistics::Figure;

const CELL: (f64, f64) = (92.0, 40.0);
const NAMES: f64 = 150.0;
const HEADING: f64 = 54.0;
/// Gap between two cells, in pixels.
const GAP: f64 = 2.0;
/// Number of color shades on each side of zero.
const DEPTHS: usize = 5;
/// Height of the legend below the table and size of its color samples, in pixels.
const LEGEND: f64 = 36.0;
const SWATCH: (f64, f64) = (26.0, 14.0);

/// Cell of a heat map.
#[derive(Clone)]
pub struct Cell {
    /// Value that decides the color. Positive is worse.
    pub value: f64,
    pub text: String,
    /// True if the change is significant. Other cells have no color.
    pub sure: bool,
    /// Text of the tooltip, which screen readers read too.
    pub title: String,
    /// True if the cell has a frame.
    pub framed: bool,
}

impl Cell {
    /// Makes a cell from a change with its 95 % interval. The change is significant if the interval excludes 0.
    /// `what` describes it in the tooltip.
    pub fn of(what: &str, change: Figure) -> Self {
        Self {
            value: change.value,
            text: signed(change.value),
            sure: change
                .interval
                .is_some_and(|[low, high]| low > 0.0 || high < 0.0),
            title: format!(
                "{what}: {} {}",
                signed(change.value),
                interval(change.interval)
            ),
            framed: false,
        }
    }

    /// Sets whether the cell has a frame.
    pub fn framed(self, framed: bool) -> Self {
        Self { framed, ..self }
    }
}

/// Content of a heat map: rows and columns of cells. A cell that is `None` stays empty.
pub struct Heatmap<'a> {
    /// Id that is unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// Titles of the rows and of the columns.
    pub axes: (&'a str, &'a str),
    pub cells: Vec<Vec<Option<Cell>>>,
    pub colors: Colors,
}

/// Rule for the value that gets the deepest color.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// The largest absolute change.
    Largest,
    /// The largest increase; larger decreases get the same depth. Otherwise a niche's own large gain would make all
    /// other cells pale.
    LargestIncrease,
    /// The largest absolute value, in a map whose cells show the negated value.
    Negated,
}

/// Draws the heat map: increases in the color of losses and decreases in the color of gains, deeper for larger
/// changes.
pub fn heatmap(map: &Heatmap) -> String {
    let width = NAMES + map.columns.len() as f64 * CELL.0;
    let bottom = HEADING + map.rows.len() as f64 * CELL.1;
    let height = bottom + LEGEND;
    let cells = map.cells.iter().flatten().flatten();
    let said: Vec<&str> = cells.map(|cell| cell.title.as_str()).collect();
    let most = deepest(map);
    let mut svg = Svg::new(
        map.id,
        Size { width, height },
        Caption {
            title: map.title,
            description: &said.join("; "),
        },
    );
    let corner = Point {
        x: 0.0,
        y: HEADING - 12.0,
    };
    let (down, across) = map.axes;
    svg.text("tick", corner, Anchor::Start, &format!("{down} ↓"));
    let above = Point { x: NAMES, y: 16.0 };
    svg.text("tick", above, Anchor::Start, &format!("{across} →"));
    for (column, name) in map.columns.iter().enumerate() {
        let middle = Point {
            x: NAMES + (column as f64 + 0.5) * CELL.0,
            y: HEADING - 12.0,
        };
        svg.text("label", middle, Anchor::Middle, &fit(name, CELL.0));
    }
    for (row, name) in map.rows.iter().enumerate() {
        let y = HEADING + row as f64 * CELL.1;
        let beside = Point {
            x: 0.0,
            y: y + CELL.1 / 2.0 + 5.0,
        };
        svg.text("label", beside, Anchor::Start, &fit(name, NAMES - 8.0));
        for (column, cell) in map.cells[row].iter().enumerate() {
            let x = NAMES + column as f64 * CELL.0;
            if let Some(cell) = cell {
                draw(&mut svg, cell, Point { x, y }, most);
            }
        }
    }
    legend(&mut svg, map.colors, most, bottom + 12.0);
    svg.finish()
}

/// Returns the absolute value that gets the deepest color.
fn deepest(map: &Heatmap) -> f64 {
    let colored = || {
        let cells = map.cells.iter().flatten().flatten();
        let values = cells.filter(|cell| cell.sure).map(|cell| cell.value);
        values.filter(|value| value.is_finite())
    };
    let rise = colored().fold(0.0, f64::max);
    if map.colors == Colors::LargestIncrease && rise > 0.0 {
        return rise;
    }
    colored().map(f64::abs).fold(1e-9, f64::max)
}

/// Draws the legend: the colors from gain to loss, with the values at both ends.
fn legend(svg: &mut Svg, colors: Colors, most: f64, y: f64) {
    let (negated, clipped) = (colors == Colors::Negated, colors == Colors::LargestIncrease);
    let most = if negated { -most } else { most };
    let or_less = if clipped { " or less" } else { "" };
    let line = y + SWATCH.1 - 2.0;
    let ends = [
        (NAMES - 8.0, Anchor::End, signed(-most) + or_less),
        (
            NAMES + 2.0 * DEPTHS as f64 * SWATCH.0 + 8.0,
            Anchor::Start,
            signed(most),
        ),
    ];
    for (x, anchor, text) in ends {
        svg.text("tick", Point { x, y: line }, anchor, &text);
    }
    let better = (1..=DEPTHS).rev().map(|depth| format!("better{depth}"));
    let worse = (1..=DEPTHS).map(|depth| format!("worse{depth}"));
    for (number, class) in better.chain(worse).enumerate() {
        let x = NAMES + number as f64 * SWATCH.0;
        let to = Point {
            x: x + SWATCH.0 - GAP,
            y: y + SWATCH.1,
        };
        svg.rectangle(&format!("heat {class}"), Point { x, y }, to);
    }
}

fn draw(svg: &mut Svg, cell: &Cell, corner: Point, most: f64) {
    let depth = ((cell.value.abs() / most * DEPTHS as f64).ceil() as usize).clamp(1, DEPTHS);
    let class = match (cell.sure, cell.value > 0.0) {
        (false, _) => "heat".to_owned(),
        (true, true) => format!("heat worse{depth}"),
        (true, false) => format!("heat better{depth}"),
    };
    let frame = if cell.framed { " framed" } else { "" };
    let from = Point {
        x: corner.x + GAP / 2.0,
        y: corner.y + GAP / 2.0,
    };
    let to = Point {
        x: corner.x + CELL.0 - GAP / 2.0,
        y: corner.y + CELL.1 - GAP / 2.0,
    };
    svg.begin_group("cell", &cell.title);
    svg.rectangle(&format!("{class}{frame}"), from, to);
    let middle = Point {
        x: corner.x + CELL.0 / 2.0,
        y: corner.y + CELL.1 / 2.0 + 5.0,
    };
    let class = if cell.sure { "value" } else { "value unsure" };
    svg.text(class, middle, Anchor::Middle, &cell.text);
    svg.end_group();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the color shows direction and size, and that a change that is not significant has none.
    #[test]
    fn color_follows_the_change() {
        let cell = |value, sure| {
            Some(Cell {
                value,
                text: signed(value),
                sure,
                title: format!("change {value}"),
                framed: false,
            })
        };
        let map = |colors, cells| {
            heatmap(&Heatmap {
                id: "map",
                title: "a map",
                rows: vec!["first".into(), "second".into()],
                columns: vec!["one".into(), "two".into()],
                axes: ("tuned on", "scored on"),
                cells,
                colors,
            })
        };
        let picture = map(
            Colors::Largest,
            vec![
                vec![cell(1.0, true), cell(-0.3, true)],
                vec![cell(9.0, false), None],
            ],
        );
        // Each color is in the legend once.
        let count =
            |picture: &str, class: &str| picture.matches(&format!("\"heat {class}\"")).count() - 1;
        assert_eq!(picture.matches("<rect").count(), 3 + 2 * DEPTHS);
        assert_eq!(
            (count(&picture, "worse5"), count(&picture, "better2")),
            (1, 1)
        );
        assert_eq!(picture.matches("\"heat\"").count(), 1);
        assert!(picture.contains("−0.300") && picture.contains(">+1.000<"));

        // A niche's own gain must not make the other cells pale.
        let cells = vec![
            vec![cell(-5.0, true), cell(0.2, true)],
            vec![cell(-0.2, true)],
        ];
        let picture = map(Colors::LargestIncrease, cells.clone());
        assert_eq!(
            (count(&picture, "better5"), count(&picture, "worse5")),
            (2, 1)
        );
        assert!(picture.contains(">−0.200 or less<") && picture.contains(">+0.200<"));
        let picture = map(Colors::Largest, cells.clone());
        assert_eq!(
            (count(&picture, "better5"), count(&picture, "worse1")),
            (1, 1)
        );
        // With negated colors, the good end of the legend is positive.
        let picture = map(Colors::Negated, cells);
        let legend = picture.rfind(">+5.000<").unwrap();
        assert!(picture[legend..].contains(">−5.000<"), "{picture}");
    }
}
