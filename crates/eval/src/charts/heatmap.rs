//! A table of changes in colour.

use super::svg::{Anchor, Point, Svg, fit};
use crate::report::Figure;
use crate::wording::{interval, signed};

const CELL: (f64, f64) = (92.0, 40.0);
const NAMES: f64 = 150.0;
const HEADING: f64 = 54.0;
/// Between two cells.
const GAP: f64 = 2.0;
/// Depths of colour on either side of nothing.
const DEPTHS: usize = 5;

/// One change.
#[derive(Clone)]
pub struct Cell {
    /// What decides its colour: above 0 is worse.
    pub value: f64,
    pub text: String,
    /// Whether it is there for sure; else it is not coloured.
    pub sure: bool,
    /// What is shown under the pointer and read aloud.
    pub title: String,
    /// Drawn with a frame.
    pub framed: bool,
}

impl Cell {
    /// Of a change with its 95 % interval: sure where that does not hold 0. `what` says whose change it is.
    pub fn of(what: &str, change: Figure) -> Self {
        let [low, high] = change.interval;
        Self {
            value: change.value,
            text: signed(change.value),
            sure: low > 0.0 || high < 0.0,
            title: format!(
                "{what}: {} {}",
                signed(change.value),
                interval(Some(change.interval))
            ),
            framed: false,
        }
    }

    /// With a frame, or without.
    pub fn framed(self, framed: bool) -> Self {
        Self { framed, ..self }
    }
}

/// All of the picture; a cell that is `None` stays empty.
pub struct Heatmap<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub title: &'a str,
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// What rows and columns are, for their corner.
    pub axes: (&'a str, &'a str),
    pub cells: Vec<Vec<Option<Cell>>>,
}

/// Rises in the colour of loss, falls in that of gain, the deeper the larger.
pub fn heatmap(map: &Heatmap) -> String {
    let width = NAMES + map.columns.len() as f64 * CELL.0;
    let height = HEADING + map.rows.len() as f64 * CELL.1;
    let cells = || map.cells.iter().flatten().flatten();
    let said: Vec<&str> = cells().map(|cell| cell.title.as_str()).collect();
    let most = cells()
        .map(|cell| cell.value.abs())
        .filter(|value| value.is_finite())
        .fold(1e-9, f64::max);
    let mut svg = Svg::new(map.id, (width, height), (map.title, &said.join("; ")));
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
    svg.finish()
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

    /// The colour says the direction and the size, and nothing where nothing is sure.
    #[test]
    fn colour_follows_the_change() {
        let cell = |value, sure| {
            Some(Cell {
                value,
                text: signed(value),
                sure,
                title: format!("change {value}"),
                framed: false,
            })
        };
        let picture = heatmap(&Heatmap {
            id: "map",
            title: "a map",
            rows: vec!["first".into(), "second".into()],
            columns: vec!["one".into(), "two".into()],
            axes: ("tuned on", "scored on"),
            cells: vec![
                vec![cell(1.0, true), cell(-0.3, true)],
                vec![cell(0.9, false), None],
            ],
        });
        assert_eq!(picture.matches("<rect").count(), 3);
        assert!(picture.contains("heat worse5") && picture.contains("heat better2"));
        assert_eq!(picture.matches("\"heat\"").count(), 1);
        assert!(picture.contains("−0.300"));
    }
}
