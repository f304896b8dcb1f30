//! The report's table for a terminal.

use super::{ForgettingReport, Role, interval, plain, signed};

/// One block a run, its columns aligned.
pub fn render(report: &ForgettingReport) -> String {
    let mut text = format!("base: {}\n", report.base);
    for run in &report.runs {
        text += &format!("\n{} ({})\n", run.path, run.method);
        let mut rows = vec![
            [
                "domain",
                "",
                "base",
                "tuned",
                "change",
                "95 % interval",
                "verdict",
            ]
            .map(str::to_owned),
        ];
        for domain in &run.domains {
            rows.push([
                domain.name.clone(),
                if domain.role == Role::Niche {
                    "niche".into()
                } else {
                    String::new()
                },
                plain(domain.base_bits_per_byte),
                plain(domain.tuned_bits_per_byte),
                signed(domain.change),
                interval(domain.interval),
                domain.verdict.word().into(),
            ]);
        }
        text += &align(&rows);
        for questions in &run.questions {
            text += &format!(
                "  {}: {:.1} % → {:.1} % of {} questions (p = {})\n",
                questions.domain,
                questions.base_accuracy * 100.0,
                questions.tuned_accuracy * 100.0,
                questions.count,
                Short(questions.p_value),
            );
        }
    }
    text
}

/// A probability in two significant digits.
pub(crate) struct Short(pub f64);

impl std::fmt::Display for Short {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >= 0.001 {
            write!(formatter, "{:.3}", self.0)
        } else {
            write!(formatter, "{:.0e}", self.0)
        }
    }
}

fn align(rows: &[[String; 7]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            // Words to the left, numbers to the right.
            line += &if [0, 1, 6].contains(&column) {
                format!("{cell}{padding}  ")
            } else {
                format!("{padding}{cell}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
