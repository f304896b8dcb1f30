//! Points of an interpolation, the rule that chooses one of them, and their table.

use std::collections::BTreeMap;

use polymath_eval::Shares;
use polymath_report::aligned;
use polymath_report::untrusted::inline;
use polymath_report::worst_increase;
use serde::Serialize;

use super::search::Curve;
use crate::StudyError;

/// Bits per byte of each domain.
pub type BitsPerByte = BTreeMap<String, f64>;

/// Model between the base and the tuned model, with its scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of the tuned weights, if it is the same for all blocks.
    pub alpha: Option<f64>,
    /// Share of the tuned weights in each block.
    pub shares: Shares,
    /// Mean increase in bits per byte over the retained domains, relative to the base, on the dev split.
    pub mean_increase: f64,
    /// Bits per byte of each domain on the dev split.
    pub dev: BitsPerByte,
    /// Mean increase in bits per byte over the retained domains, relative to the base, on the test split.
    pub test_mean_increase: f64,
    /// Bits per byte of each domain on the test split.
    pub test: BitsPerByte,
}

/// Returns the values of α to try, ascending: the given ones, 0 and 1. The base (α = 0) is the reference of all
/// increases.
///
/// # Errors
/// Fails if a value is outside 0 to 1.
pub fn grid(alphas: &[f64]) -> Result<Vec<f64>, StudyError> {
    if let Some(alpha) = alphas.iter().find(|alpha| !(0.0..=1.0).contains(*alpha)) {
        return Err(StudyError::Config(format!(
            "`--alphas` has `{alpha}`: expected shares of the tuned model from 0 to 1"
        )));
    }
    let mut grid = [alphas, &[0.0, 1.0]].concat();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    Ok(grid)
}

/// Rule that chooses a point: the best niche among the points whose mean increase over the retained domains is within
/// the limit, or else the smallest increase.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Domain of the fine-tuning. All other domains are retained domains.
    pub niche: String,
    /// Maximum mean increase over the retained domains, in bits per byte.
    pub limit: f64,
}

impl Rule {
    /// Returns the mean increase in bits per byte from `before` to `after` over the retained domains.
    pub fn mean_increase(&self, before: &BitsPerByte, after: &BitsPerByte) -> f64 {
        let rises: Vec<f64> = before
            .iter()
            .filter(|(name, _)| **name != self.niche)
            .map(|(name, before)| after[name] - before)
            .collect();
        rises.iter().sum::<f64>() / rises.len().max(1) as f64
    }

    /// Returns true if the point's increase is within the limit.
    pub fn keeps(&self, point: &Point) -> bool {
        point.mean_increase <= self.limit
    }

    /// Returns true if the rule strictly prefers point `a` to point `b`.
    pub fn prefers(&self, a: &Point, b: &Point) -> bool {
        match (self.keeps(a), self.keeps(b)) {
            (true, true) => a.dev[&self.niche] < b.dev[&self.niche],
            (false, false) => a.mean_increase < b.mean_increase,
            (kept, _) => kept,
        }
    }

    /// Returns the index of the best point; among equal points, the first.
    pub fn choose(&self, points: &[Point]) -> usize {
        let mut best = 0;
        for at in 1..points.len() {
            if self.prefers(&points[at], &points[best]) {
                best = at;
            }
        }
        best
    }
}

impl Curve {
    /// Formats the sentence and a Markdown table with a line per point: its gain on the niche and the mean increase of
    /// the retained domains on both splits.
    pub fn markdown(&self, rule: &Rule) -> String {
        let mut text = format!("{}\n", inline(&self.sentence(rule)));
        let rows = self.rows(rule);
        let Some((head, rows)) = rows.split_first() else {
            return text;
        };
        let head: Vec<String> = head.iter().map(|cell| inline(cell)).collect();
        text += &format!("\n| {} |\n|---|--:|--:|--:|--:|---|\n", head.join(" | "));
        for row in rows {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }

    /// Formats the sentence and the table of points for a terminal.
    pub fn table(&self, rule: &Rule) -> String {
        format!("{}\n{}\n", aligned(&self.rows(rule)), self.sentence(rule))
    }

    /// Returns a sentence that says which point to take, and whether it keeps the limit on the test split.
    pub fn sentence(&self, rule: &Rule) -> String {
        let point = &self.points[self.chosen];
        let what = point
            .alpha
            .map_or("the mixture per block".to_owned(), |alpha| match alpha {
                0.0 => "the base".into(),
                1.0 => "the tuned model as it is".into(),
                alpha => format!("the mixture at α = {alpha:.2}"),
            });
        let figures = format!(
            "it gains {} bits per byte on {}, and the retained domains rise by {} on average on the test split{}",
            signed(self.gain(&self.points[0].test, &point.test, rule)),
            rule.niche,
            signed(point.test_mean_increase),
            self.worst(point, rule)
        );
        let limit = rule.limit;
        match (self.within_limit, point.test_mean_increase > limit) {
            (true, false) => format!("Take {what}: {figures}, within the limit of {limit}."),
            (true, true) => format!(
                "Take {what} with care: {figures}. It was within the limit of {limit} on the dev split, but is beyond it on the test split: \
                 choose a smaller limit, or hold out more."
            ),
            (false, _) => format!(
                "No point keeps the mean increase within {limit} on the dev split. The nearest is {what}: {figures}."
            ),
        }
    }

    /// Returns the words on the retained domain that rises most on the test split.
    fn worst(&self, point: &Point, rule: &Rule) -> String {
        let base = self.points[0].test.iter();
        let rises = base.filter(|(name, _)| **name != rule.niche);
        let rises = rises.map(|(name, before)| (name.clone(), point.test[name] - before));
        worst_increase(&rises.collect(), rule.limit, signed)
    }

    fn gain(&self, before: &BitsPerByte, after: &BitsPerByte, rule: &Rule) -> f64 {
        // 0 − x, since −x would turn 0 into −0.
        0.0 - (after[&rule.niche] - before[&rule.niche])
    }

    /// Returns the cells of the table of points, column titles first.
    fn rows(&self, rule: &Rule) -> Vec<Vec<String>> {
        let gain = |split: &str| format!("gain on {}, {split}", rule.niche);
        let mut rows = vec![vec![
            "α".to_owned(),
            gain("dev"),
            "retained, dev".into(),
            gain("test"),
            "retained, test".into(),
            String::new(),
        ]];
        let base = &self.points[0];
        for (at, point) in self.points.iter().enumerate() {
            let breaks = point.test_mean_increase > rule.limit;
            let mark = match (at == self.chosen, self.within_limit, breaks) {
                (false, _, _) => "",
                (true, true, false) => "take this",
                (true, true, true) => "chosen, beyond the limit on test",
                (true, false, _) => "least bad",
            };
            rows.push(vec![
                point
                    .alpha
                    .map_or("per block".to_owned(), |alpha| format!("{alpha:.2}")),
                signed(self.gain(&base.dev, &point.dev, rule)),
                signed(point.mean_increase),
                signed(self.gain(&base.test, &point.test, rule)),
                signed(point.test_mean_increase),
                mark.to_owned(),
            ]);
        }
        rows
    }
}

/// Formats bits per byte with a sign.
fn signed(value: f64) -> String {
    format!("{value:+.4}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(limit: f64, test: f64) -> (Curve, Rule) {
        let bits = |law: f64| BitsPerByte::from([("chat".into(), 2.0), ("law".into(), law)]);
        let point = |alpha: f64, gain: f64, mean_increase: f64, test_mean_increase: f64| {
            let mut dev = bits(1.0 + mean_increase);
            dev.insert("chat".into(), 2.0 - gain);
            Point {
                alpha: Some(alpha),
                shares: Shares::new(),
                mean_increase,
                test: dev.clone(),
                dev,
                test_mean_increase,
            }
        };
        let rule = Rule {
            niche: "chat".into(),
            limit,
        };
        let points = vec![
            point(0.0, 0.0, 0.0, 0.0),
            point(0.5, 0.3, 0.01, test),
            point(1.0, 0.5, 0.1, 0.1),
        ];
        let chosen = rule.choose(&points);
        let within_limit = rule.keeps(&points[chosen]);
        let curve = Curve {
            points,
            chosen,
            within_limit,
        };
        (curve, rule)
    }

    /// Checks that a hyphen in a domain's name stays one, and that only numbers get a minus sign.
    #[test]
    fn names_keep_their_hyphens() {
        let (mut found, mut rule) = curve(0.02, -0.015);
        rule.niche = "small-talk".into();
        for point in &mut found.points {
            for bits in [&mut point.dev, &mut point.test] {
                let niche = bits.remove("chat").unwrap();
                bits.insert("small-talk".into(), niche);
                bits.insert("case-law".into(), 1.0);
            }
            point.test.insert("case-law".into(), 1.5);
        }
        found.points[0].test.insert("case-law".into(), 1.0);
        let said = found.sentence(&rule);
        assert!(
            said.contains("on small-talk, and the retained domains rise by −0.0150"),
            "{said}"
        );
        assert!(
            said.contains("(case-law most, by +0.5000, which alone is beyond the limit)"),
            "{said}"
        );
    }

    /// Checks that the sentence says what to take, and a choice that is beyond its limit on the test split has a
    /// word, in both forms.
    #[test]
    fn a_choice_beyond_its_limit_is_said() {
        let (found, rule) = curve(0.02, 0.015);
        for text in [found.table(&rule), found.markdown(&rule)] {
            assert!(
                text.contains("at α = 0.50: it gains +0.3000 bits per byte on chat"),
                "{text}"
            );
            assert!(
                text.contains("take this") && !text.contains("beyond"),
                "{text}"
            );
        }
        assert!(
            found
                .table(&rule)
                .contains("\n  0.50            +0.3000        +0.0100"),
            "{}",
            found.table(&rule)
        );
        let (broken, rule) = curve(0.02, 0.03);
        for text in [broken.table(&rule), broken.markdown(&rule)] {
            assert!(
                text.contains("but is beyond it on the test split"),
                "{text}"
            );
            assert!(text.contains("chosen, beyond the limit on test"), "{text}");
        }
    }

    /// Checks that the sentence names the retained domain that rises most, and says if it is beyond the limit of the
    /// mean.
    #[test]
    fn the_worst_domain_is_named() {
        let said = |code: f64| {
            let (mut found, rule) = curve(0.02, 0.015);
            for (point, rise) in found.points.iter_mut().zip([0.0, code, 0.4]) {
                point.test.insert("code".into(), 3.0 + rise);
            }
            found.sentence(&rule)
        };
        let beyond = said(0.025);
        assert!(
            beyond.contains("on the test split (code most, by +0.0250, which alone is beyond the limit), within the limit of 0.02."),
            "{beyond}"
        );
        let within = said(0.005);
        assert!(
            within.contains("on the test split (law most, by +0.0100), within"),
            "{within}"
        );
    }
}
