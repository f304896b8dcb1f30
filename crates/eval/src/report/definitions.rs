//! What the report's words mean, beside every figure that uses them.

use std::collections::BTreeMap;

use super::Settings;

/// By word.
pub fn definitions(settings: &Settings) -> BTreeMap<String, String> {
    let tolerance = settings.tolerance;
    let limit = settings.overlap_limit * 100.0;
    let entries = [
        (
            "bits per byte",
            "The sum of −log₂ p over the tokens of a domain's held-out documents, divided by the sum of their UTF-8 \
             bytes. Lower is better. It does not depend on the tokenizer."
                .to_owned(),
        ),
        (
            "change",
            "Bits per byte of the tuned model minus those of the base, on the same documents: forgetting where it is \
             positive, gain where it is negative. Relative: as a share of the base's figure."
                .to_owned(),
        ),
        (
            "interval",
            format!(
                "95 %, of a paired bootstrap over documents ({} resamples, seed {}): percentile, expanded for few or \
                 very unequal documents. In simulations it holds the truth in 93–97 % of cases; where a few documents \
                 lose far more than the rest, in about 84–93 %, and then it mostly lies too low.",
                settings.resamples, settings.seed
            ),
        ),
        (
            "verdict",
            format!(
                "Old domains: kept if the whole interval lies below {tolerance}, forgotten if it lies above \
                 {tolerance}, else undecided. The niche: gained if the whole interval lies below 0, lost if above 0, \
                 else undecided. Withheld if more than {limit:.0} % of a domain's held-out text stands in training text."
            ),
        ),
        (
            "mean forgetting",
            "The mean change over the old domains, each counting the same; withheld ones are left out. Its interval \
             combines theirs (Zou & Donner 2008)."
                .to_owned(),
        ),
        (
            "accuracy",
            "The share of held-out questions whose exact answer, and the end of its line or text, greedy decoding \
             gives; p is of McNemar's exact test, two-sided, over the same questions, with Holm's correction over the \
             domains."
                .to_owned(),
        ),
    ];
    entries
        .map(|(word, text)| (word.to_owned(), text))
        .into_iter()
        .collect()
}
