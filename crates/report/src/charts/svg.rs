//! Basic SVG shapes.

use std::fmt::{Display, Write};

/// Number of marker shapes and of colors. Further runs reuse the shapes in other colors.
const MARKERS: usize = 6;
/// Radius of a marker in pixels.
const RADIUS: f64 = 5.5;

/// Approximate width of a character in the charts' 14 px type, in pixels.
const LETTER: f64 = 8.2;

/// Point in pixels.
#[derive(Clone, Copy)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// Size of a picture in pixels.
#[derive(Clone, Copy)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

/// Texts of a picture for screen readers.
#[derive(Clone, Copy)]
pub struct Caption<'a> {
    pub title: &'a str,
    pub description: &'a str,
}

/// Alignment of a text relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// SVG picture that is being drawn.
pub struct Svg(String);

impl Svg {
    /// Starts a picture. `id` must be unique on the page.
    pub fn new(id: &str, size: Size, caption: Caption) -> Self {
        let Size { width, height } = size;
        Self(format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\
             <title id=\"{id}-title\">{}</title><desc id=\"{id}-description\">{}</desc>",
            escape(caption.title),
            escape(caption.description)
        ))
    }

    /// Starts shapes that become a part of another picture. Ends with [`Svg::finish_part`].
    pub fn part() -> Self {
        Self(String::new())
    }

    pub fn finish_part(self) -> String {
        self.0
    }

    pub fn line(&mut self, class: &str, from: Point, to: Point) {
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.x, from.y, to.x, to.y
        ));
    }

    /// Draws a rectangle between two opposite corners.
    pub fn rectangle(&mut self, class: &str, from: Point, to: Point) {
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            from.x.min(to.x),
            from.y.min(to.y),
            (to.x - from.x).abs(),
            (to.y - from.y).abs()
        ));
    }

    pub fn text(&mut self, class: &str, at: Point, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.x,
            at.y,
            escape(text)
        ));
    }

    pub fn polyline(&mut self, class: &str, points: &[Point]) {
        let points: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", point.x, point.y))
            .collect();
        self.push(format_args!(
            "<polyline class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        ));
    }

    /// Draws the marker of run number `run`, hollow if its result is undecided.
    pub fn marker(&mut self, run: usize, hollow: bool, at: Point) {
        self.push(format_args!("{}", marker(run, hollow, at)));
    }

    /// Draws a dot on a line.
    pub fn dot(&mut self, at: Point) {
        self.push(format_args!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
            at.x, at.y
        ));
    }

    /// Starts a group of shapes with a class. `title` is its tooltip. [`Svg::end_group`] ends the group.
    pub fn begin_group(&mut self, class: &str, title: &str) {
        self.push(format_args!(
            "<g class=\"{class}\"><title>{}</title>",
            escape(title)
        ));
    }

    pub fn end_group(&mut self) {
        self.push(format_args!("</g>"));
    }

    pub fn finish(self) -> String {
        self.0 + "</svg>"
    }

    fn push(&mut self, text: impl Display) {
        // Writing to a string can't fail.
        let _ = write!(self.0, "{text}");
    }
}

/// Returns the width and height of a picture.
pub fn size(picture: &str) -> Size {
    let frame = picture.split("viewBox=\"0 0 ").nth(1).unwrap_or_default();
    let frame = frame.split('"').next().unwrap_or_default();
    let mut numbers = frame.split(' ').filter_map(|number| number.parse().ok());
    Size {
        width: numbers.next().unwrap_or_default(),
        height: numbers.next().unwrap_or_default(),
    }
}

/// Returns the CSS class that sets the color of run number `run`.
pub fn class_of_run(run: usize) -> String {
    format!("run{}", (run + run / MARKERS) % MARKERS)
}

/// Returns a small SVG picture of a run's marker, for a legend.
pub fn key(run: usize) -> String {
    let middle = Point { x: 8.0, y: 8.0 };
    format!(
        "<svg class=\"key {}\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{}</svg>",
        class_of_run(run),
        marker(run, false, middle)
    )
}

fn marker(run: usize, hollow: bool, at: Point) -> String {
    let Point { x, y } = at;
    let r = RADIUS;
    let class = if hollow { "mark hollow" } else { "mark" };
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> = points
            .iter()
            .map(|(right, down)| format!("{:.1},{:.1}", x + right * r, y + down * r))
            .collect();
        format!(
            "<polygon class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        )
    };
    match run % MARKERS {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        3 => polygon(&[(0.0, -1.2), (1.2, 0.9), (-1.2, 0.9)]),
        4 => polygon(&[(0.0, 1.2), (1.2, -0.9), (-1.2, -0.9)]),
        _ => polygon(&[(-1.2, 0.0), (0.9, -1.2), (0.9, 1.2)]),
    }
}

/// Returns the text, cut off if it does not fit into `room` pixels.
pub fn fit(text: &str, room: f64) -> String {
    let most = (room / LETTER) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

/// Moves ascending positions apart to a distance of at least `gap`, with none beyond `limit`.
pub fn spread(places: &mut [f64], gap: f64, limit: f64) {
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + gap);
    }
    let mut above = limit;
    for place in places.iter_mut().rev() {
        *place = place.min(above);
        above = *place - gap;
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that names from elsewhere can't break out of the picture.
    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::new(
            "a",
            Size {
                width: 10.0,
                height: 10.0,
            },
            Caption {
                title: "<b>",
                description: "\"&",
            },
        );
        svg.text("label", Point { x: 1.0, y: 1.0 }, Anchor::Start, "<script>");
        let text = svg.finish();
        assert!(!text.contains("<script>") && !text.contains("<b>"));
        assert!(text.contains("&lt;script&gt;") && text.contains("&quot;&amp;"));
    }

    /// Checks that labels neither overlap nor leave the picture.
    #[test]
    fn labels_are_spread() {
        let mut places = [10.0, 11.0, 12.0, 90.0, 99.0, 99.5];
        spread(&mut places, 10.0, 100.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 10.0));
        assert!(places[5] <= 100.0);
    }
}
