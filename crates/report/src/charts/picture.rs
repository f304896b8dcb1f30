//! Charts as standalone SVG pictures in the style of the pages, for light and dark backgrounds.

use super::svg::{Anchor, Point, Size, Svg, class_of_run, size};

/// Margin around a picture, in pixels.
const MARGIN: f64 = 16.0;
/// Height of a line of text, in pixels.
const LINE: f64 = 24.0;
/// Width of a letter in 14 px type, in pixels.
const LETTER: f64 = 7.6;

/// Entry of a legend: the number of a run or method, and its name.
pub struct Legend<'a> {
    pub number: usize,
    pub name: &'a str,
}

/// Turns a chart into a standalone picture, with lines of text and a legend above it. Its colors follow the reader's
/// preference for light or dark.
pub fn standalone(chart: &str, lines: &[String], legend: &[Legend]) -> String {
    let Size { width, height } = size(chart);
    let mut head = Svg::part();
    let mut y = MARGIN;
    for line in lines {
        y += LINE;
        head.text(
            "label strong",
            Point {
                x: MARGIN,
                y: y - 7.0,
            },
            Anchor::Start,
            line,
        );
    }
    if !legend.is_empty() {
        y += LINE;
        let mut x = MARGIN;
        for entry in legend {
            head.begin_group(&class_of_run(entry.number), entry.name);
            let middle = Point {
                x: x + 6.0,
                y: y - 12.0,
            };
            head.marker(entry.number, false, middle);
            head.end_group();
            let at = Point {
                x: x + 18.0,
                y: y - 7.0,
            };
            head.text("label", at, Anchor::Start, entry.name);
            x += 18.0 + LETTER * entry.name.chars().count() as f64 + 22.0;
        }
    }
    let (all, below) = (width + 2.0 * MARGIN, y + height + 2.0 * MARGIN);
    let placed = chart.replacen(
        "<svg ",
        &format!(
            "<svg x=\"{MARGIN}\" y=\"{:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" ",
            y + MARGIN
        ),
        1,
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all:.0} {below:.0}\" width=\"{all:.0}\" height=\"{below:.0}\">\
         <style>{} svg {{ font: 14px system-ui, sans-serif; }} .page {{ fill: var(--page); }}</style>\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>{}{placed}</svg>\n",
        include_str!("../style.css"),
        head.finish_part()
    )
}

#[cfg(test)]
mod tests {
    use super::super::svg::Caption;
    use super::*;

    /// Checks that a picture has the size of its chart with margins and lines, and is one SVG that needs no page.
    #[test]
    fn a_picture_needs_no_page() {
        let frame = Size {
            width: 100.0,
            height: 50.0,
        };
        let caption = Caption {
            title: "title",
            description: "description",
        };
        let chart = Svg::new("a", frame, caption).finish();
        let legend = [Legend {
            number: 1,
            name: "<full>",
        }];
        let picture = standalone(&chart, &["A & B".into()], &legend);
        assert!(picture.starts_with("<svg xmlns="), "{picture}");
        assert!(picture.contains("viewBox=\"0 0 132 146\""), "{picture}");
        assert!(picture.contains("A &amp; B") && picture.contains("&lt;full&gt;"));
        assert!(picture.contains("prefers-color-scheme: dark") && !picture.contains("<full>"));
    }
}
