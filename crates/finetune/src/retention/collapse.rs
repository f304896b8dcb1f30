//! Check of generated text for collapse. Text that the base wrote is replayed in place of its training data, which
//! works only if the text is diverse and not one repetition.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use polymath_model::SampledDocument;

/// Length n of the n-grams whose repetition is measured.
const N: usize = 4;
/// Minimum number of generated tokens of a document that is checked; shorter documents are ignored.
const FEWEST_TOKENS: usize = 8;
/// Minimum share of all generated tokens that must be in documents of at least [`FEWEST_TOKENS`].
const LEAST_IN_DOCUMENTS: f64 = 0.1;
/// Minimum share of distinct n-grams within a document (mean over all n-grams) in text that has not collapsed. Ordinary
/// text has more than 0.9, endless repetition nearly 0.
const LEAST_DISTINCT: f64 = 0.3;
/// Minimum share of distinct documents in text that has not collapsed.
const LEAST_DISTINCT_DOCUMENTS: f64 = 0.5;
/// Minimum mean entropy of the base's next-token distributions in text that has not collapsed, in nats.
const LEAST_ENTROPY: f64 = 0.05;
/// Allowed range of the ratio surprise / entropy: the mean −ln p of the tokens under the base, divided by the mean
/// entropy of the base's distributions. Text sampled from the base has the expectation 1; a lower ratio means that the
/// text is more uniform than the base.
const SURPRISE: RangeInclusive<f64> = 0.5..=2.0;

/// Measures of the diversity of generated text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// Share of the tokens that are in documents long enough to be checked.
    pub in_documents: f64,
    /// Share of distinct 4-grams within a document, in the mean over all 4-grams.
    pub distinct: f64,
    /// Share of distinct documents among those that are checked.
    pub distinct_documents: f64,
    /// Mean entropy of the base's next-token distributions, in nats.
    pub entropy: f64,
    /// Mean surprise of the tokens under the base (−ln p), in nats.
    pub surprise: f64,
}

impl Diversity {
    /// Measures the diversity of documents that a base generated.
    pub fn of(documents: &[SampledDocument]) -> Self {
        let drawn: Vec<Vec<u32>> = documents
            .iter()
            .map(SampledDocument::drawn_tokens)
            .collect();
        let tokens: usize = drawn.iter().map(Vec::len).sum();
        let long: Vec<&Vec<u32>> = drawn
            .iter()
            .filter(|tokens| tokens.len() >= FEWEST_TOKENS)
            .collect();
        let (mut all, mut distinct) = (0, 0);
        for tokens in &long {
            all += tokens.len() + 1 - N;
            distinct += tokens.windows(N).collect::<HashSet<_>>().len();
        }
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let mean = |sum: f64| sum / tokens.max(1) as f64;
        Self {
            in_documents: share(long.iter().map(|tokens| tokens.len()).sum(), tokens),
            distinct: share(distinct, all),
            distinct_documents: share(long.iter().collect::<HashSet<_>>().len(), long.len()),
            entropy: mean(documents.iter().map(|document| document.entropy).sum()),
            surprise: mean(documents.iter().map(|document| document.surprise).sum()),
        }
    }

    /// Returns the first reason why the text counts as collapsed, with the measured value and its limit. Returns `None`
    /// for diverse text.
    pub fn collapse(&self) -> Option<String> {
        let ratio = self.surprise / self.entropy;
        if self.in_documents < LEAST_IN_DOCUMENTS {
            return Some(format!(
                "{:.0} % of its tokens are in documents of {FEWEST_TOKENS} tokens or more: expected at least {:.0} %",
                100.0 * self.in_documents,
                100.0 * LEAST_IN_DOCUMENTS
            ));
        }
        if self.distinct < LEAST_DISTINCT {
            return Some(format!(
                "{:.0} % of the {N}-grams of a document are distinct: expected at least {:.0} %",
                100.0 * self.distinct,
                100.0 * LEAST_DISTINCT
            ));
        }
        if self.distinct_documents < LEAST_DISTINCT_DOCUMENTS {
            return Some(format!(
                "{:.0} % of its documents are distinct: expected at least {:.0} %",
                100.0 * self.distinct_documents,
                100.0 * LEAST_DISTINCT_DOCUMENTS
            ));
        }
        if self.entropy < LEAST_ENTROPY {
            return Some(format!(
                "the base's entropy is {:.3} nats for each token: expected at least {LEAST_ENTROPY}",
                self.entropy
            ));
        }
        (!SURPRISE.contains(&ratio)).then(|| {
            format!(
                "its surprise to the base is {ratio:.2} times the base's entropy: expected {} to {}",
                SURPRISE.start(),
                SURPRISE.end()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a document of the given tokens, each with an entropy and a surprise of 2 nats.
    fn document(tokens: Vec<u32>) -> SampledDocument {
        let nats = 2.0 * tokens.len() as f64;
        SampledDocument {
            drawn: vec![true; tokens.len()],
            tokens,
            surprise: nats,
            entropy: nats,
        }
    }

    fn documents(tokens: impl Fn(u32) -> Vec<u32>) -> Vec<SampledDocument> {
        (0..40).map(|number| document(tokens(number))).collect()
    }

    fn reason(documents: &[SampledDocument]) -> String {
        Diversity::of(documents).collapse().unwrap_or_default()
    }

    /// Checks each measure of diversity on text that fails this measure alone, and that diverse text passes.
    #[test]
    fn each_kind_of_collapse_is_named() {
        let diverse = documents(|number| (0..30).map(|at| at * at + number).collect());
        assert_eq!(reason(&diverse), "");
        let looped = documents(|number| (0..30).map(|at| at % 3 + 10 * number).collect());
        assert!(reason(&looped).starts_with("11 % of the 4-grams"));
        let same = documents(|number| (0..30).map(|at| at + number % 4).collect());
        assert!(reason(&same).starts_with("10 % of its documents are distinct"));
        let short = documents(|number| vec![number, 0]);
        assert!(reason(&short).starts_with("0 % of its tokens"));
        let with = |entropy: f64, surprise: f64| {
            let mut all = diverse.clone();
            for document in &mut all {
                document.entropy *= entropy;
                document.surprise *= surprise;
            }
            reason(&all)
        };
        assert!(with(0.01, 0.01).starts_with("the base's entropy is 0.020 nats"));
        assert!(with(1.0, 0.2).starts_with("its surprise to the base is 0.20 times"));
        assert_eq!(with(1.0, 0.6), "");
    }

    /// Checks the measures of two long documents and a short one by hand. Of 8, 11 and 6 tokens, the first two count:
    /// 5 + 8 4-grams, of which the first document has 5 distinct ones and the second, with a period of 3, has 3.
    #[test]
    fn measures_are_those_by_hand() {
        let documents = [
            document((0..8).collect()),
            document((0..11).map(|at| at % 3).collect()),
            SampledDocument {
                entropy: 3.0,
                surprise: 1.0,
                ..document((0..6).collect())
            },
        ];
        let found = Diversity::of(&documents);
        let expected = Diversity {
            in_documents: 19.0 / 25.0,
            distinct: 8.0 / 13.0,
            distinct_documents: 1.0,
            entropy: (16.0 + 22.0 + 3.0) / 25.0,
            surprise: (16.0 + 22.0 + 1.0) / 25.0,
        };
        assert_eq!(found, expected);
        assert_eq!(found.collapse(), None);
        let nothing = Diversity::of(&[]);
        assert_eq!((nothing.in_documents, nothing.distinct), (0.0, 0.0));
    }

    /// Checks that each measure passes exactly at its limit, and that the reason gives the value and the limit in
    /// percent or nats.
    #[test]
    fn limits_of_diversity_are_inclusive() {
        let least = Diversity {
            in_documents: LEAST_IN_DOCUMENTS,
            distinct: LEAST_DISTINCT,
            distinct_documents: LEAST_DISTINCT_DOCUMENTS,
            entropy: LEAST_ENTROPY,
            surprise: 0.5 * LEAST_ENTROPY,
        };
        let with = |change: fn(&mut Diversity)| {
            let mut changed = least;
            change(&mut changed);
            changed.collapse()
        };
        assert_eq!(with(|_| ()), None);
        assert_eq!(with(|found| found.surprise *= 4.0), None);
        for (found, expected) in [
            (
                with(|found| found.in_documents = 0.0746),
                "7 % of its tokens are in documents of 8 tokens or more: expected at least 10 %",
            ),
            (
                with(|found| found.distinct = 0.2548),
                "25 % of the 4-grams of a document are distinct: expected at least 30 %",
            ),
            (
                with(|found| found.distinct_documents = 0.4849),
                "48 % of its documents are distinct: expected at least 50 %",
            ),
            (
                with(|found| found.entropy = 0.0496),
                "the base's entropy is 0.050 nats for each token: expected at least 0.05",
            ),
            (
                with(|found| found.surprise *= 4.2),
                "its surprise to the base is 2.10 times the base's entropy: expected 0.5 to 2",
            ),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    /// Checks that the tokens that a chat template writes around each message, which repeat in all conversations, do
    /// not count as repetition.
    #[test]
    fn the_frame_of_a_conversation_does_not_count() {
        let mut all = documents(|number| (0..30).map(|at| at * at + number).collect());
        for document in &mut all {
            document.tokens.extend([7; 200]);
            document.drawn.extend([false; 200]);
        }
        assert_eq!(reason(&all), "");
    }
}
