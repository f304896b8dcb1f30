//! Number formats shared by all pages, tables and sentences.

use std::collections::BTreeMap;

use crate::forgetting::{QuestionReport, Worst};
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::Verdict;

/// Formats a number with its sign, without a sign if it rounds to zero.
pub fn signed(value: f64) -> String {
    let text = format!("{value:+.3}");
    if text.trim_start_matches(['+', '-']) == "0.000" {
        "0.000".into()
    } else {
        text.replace('-', "−")
    }
}

/// Formats a number with its sign, or `None` as a dash.
pub fn signed_or_dash(value: Option<f64>) -> String {
    value.map_or("–".into(), signed)
}

/// Formats an interval, or `None` as a dash.
pub fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("–".into(), |[low, high]| {
        format!("[{}, {}]", signed(low), signed(high))
    })
}

/// Formats a figure with its interval, if it has one.
pub fn figure(figure: &Figure) -> String {
    match figure.interval {
        Some(ends) => format!("{} {}", signed(figure.value), interval(Some(ends))),
        None => signed(figure.value),
    }
}

/// Formats a number without a sign, or `None` as a dash.
pub fn plain(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// Formats a share in percent with its sign, or `None` as a dash.
pub fn relative(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| {
        format!("{:+.1} %", share * 100.0).replace('-', "−")
    })
}

/// Returns the words, in parentheses, on the domain that rises most, for a limit on the mean of all; empty for a
/// single domain. `signed` formats the rise.
pub fn worst_increase(
    increases: &BTreeMap<String, f64>,
    limit: f64,
    signed: impl Fn(f64) -> String,
) -> String {
    let worst = increases.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let Some((name, rise)) = worst.filter(|_| increases.len() > 1) else {
        return String::new();
    };
    let alone = match *rise > limit {
        true => ", which alone is beyond the limit",
        false => "",
    };
    format!(" ({name} most, by {}{alone})", signed(*rise))
}

/// Formats a share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Formats the interval of a share in percent.
pub fn share_interval(figure: Figure) -> String {
    figure.interval.map_or("–".into(), |[low, high]| {
        format!("[{:.1}, {:.1}]", low * 100.0, high * 100.0)
    })
}

/// Formats a change of a share in percentage points with its sign, without a sign if it rounds to zero.
pub fn points(change: f64) -> String {
    let text = format!("{:+.1}", change * 100.0);
    if text.trim_start_matches(['+', '-']) == "0.0" {
        "0.0".into()
    } else {
        text.replace('-', "−")
    }
}

/// Formats the interval of a change of a share in percentage points.
pub fn points_interval(figure: Figure) -> String {
    figure.interval.map_or("–".into(), |[low, high]| {
        format!("[{}, {}]", points(low), points(high))
    })
}

/// Formats a probability.
pub fn probability(value: f64) -> String {
    if value < 0.001 {
        "< 0.001".into()
    } else {
        format!("{value:.3}")
    }
}

/// Formats a probability, or `None` as a dash.
pub fn probability_or_dash(value: Option<f64>) -> String {
    value.map_or("–".into(), probability)
}

/// Formats a count with thin spaces between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Note for a run that tokenizes the text differently than its base.
pub const OTHER_CONTEXT: &str = "This run reads the held-out text in other tokens than its base: the same number of context tokens covers another length \
    of text, which may cause part of the change in bits per byte.";

/// Describes the 95 % upper bound on the change of all retained domains; empty if it is unknown.
pub fn bound(worst: &Worst) -> String {
    worst.bound.map_or(String::new(), |bound| {
        format!(", no retained domain above {} (95 %)", signed(bound))
    })
}

/// Formats the number of questions, and of their groups if the questions are not all independent.
pub fn asked(questions: &QuestionReport) -> String {
    count(questions.count as u64) + &in_groups(questions)
}

/// Formats the number of questions with their noun, and of their groups if the questions are not all independent.
pub fn questions_asked(questions: &QuestionReport) -> String {
    counted(questions.count as u64, "question") + &in_groups(questions)
}

fn in_groups(questions: &QuestionReport) -> String {
    if questions.groups == questions.count {
        return String::new();
    }
    format!(" in {}", counted(questions.groups as u64, "group"))
}

/// Returns a number with its noun, whose plural ends in `s`: `1 document`, `3 documents`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Returns a symbol for a verdict, so that the color does not carry the information alone.
pub fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "●",
        Verdict::Forgotten | Verdict::Lost => "▲",
        Verdict::Gained | Verdict::Improved => "▼",
        Verdict::Undecided => "◇",
        Verdict::Withheld => "–",
    }
}

/// Formats a duration given in seconds.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the formats of numbers, durations and sizes.
    #[test]
    fn numbers_are_readable() {
        assert_eq!(signed(0.1234), "+0.123");
        assert_eq!(signed(-0.1236), "−0.124");
        assert_eq!(signed(-0.0001), "0.000");
        assert_eq!(interval(Some([-0.1, 0.2])), "[−0.100, +0.200]");
        assert_eq!(plain(None), "–");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123), "123");
        assert_eq!(probability(1e-9), "< 0.001");
        let change = Figure {
            value: -0.0004,
            interval: Some([-0.062, 0.0512]),
        };
        assert_eq!(points(change.value), "0.0");
        assert_eq!(points_interval(change), "[−6.2, +5.1]");
    }
}
