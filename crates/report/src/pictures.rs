//! Charts as SVG pictures of their own, in light and dark: for documents and slides.

pub use crate::charts::{Bar, BarPanel};

use crate::charts::{Legend, Part, TradeoffPoint, Width, bars, forest, standalone, tradeoff};
use crate::forgetting::ForgettingReport;
use polymath_eval::statistics::Figure;

/// Method as a point in a picture of gain against forgetting.
#[derive(Debug, Clone)]
pub struct MethodPoint {
    /// Name of the method.
    pub name: String,
    /// Gain on the niche in bits per byte.
    pub gain: Figure,
    /// Mean forgetting of the retained domains in bits per byte.
    pub forgetting: Figure,
    /// Points (gain, forgetting) on the path from the base to the model.
    pub path: Vec<(f64, f64)>,
}

/// Draws a picture of a report: its main answer, and the changes of the retained domains. `None` if it has no retained
/// domains.
pub fn of_report(report: &ForgettingReport) -> Option<String> {
    let chart = forest(report, Part::Retained, Width::Wide)?;
    let legend: Vec<Legend> = report
        .runs
        .iter()
        .enumerate()
        .map(|(number, run)| Legend {
            number,
            name: &run.name,
        })
        .collect();
    let lines = wrapped(&report.answer().sentence, LETTERS);
    Some(standalone(&chart, &lines, &legend))
}

/// Draws a picture of methods by gain and forgetting; `None` without methods. A band marks forgetting from −`limit` to
/// `limit` bits per byte.
pub fn of_methods(title: &str, methods: &[MethodPoint], limit: f64) -> Option<String> {
    let trade = |(number, method): (usize, &'_ MethodPoint)| TradeoffPoint {
        number,
        name: "",
        gain: method.gain,
        forgetting: method.forgetting,
        label: method.name.clone(),
        marked: false,
        path: method.path.clone(),
    };
    let trades: Vec<TradeoffPoint> = methods.iter().enumerate().map(trade).collect();
    let chart = tradeoff(&trades, limit)?;
    Some(standalone(&chart, &[title.to_owned()], &[]))
}

/// Draws panels of bars.
pub fn of_bars(title: &str, panels: &[BarPanel]) -> String {
    standalone(&bars(title, panels), &[title.to_owned()], &[])
}

/// Maximum number of letters in a line of text above a wide chart.
const LETTERS: usize = 104;

/// Breaks a sentence into lines of at most `letters` characters.
fn wrapped(sentence: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                *line += &format!(" {word}");
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
