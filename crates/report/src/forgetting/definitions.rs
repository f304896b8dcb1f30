//! What the report's words mean, beside every figure that uses them.

use std::collections::BTreeMap;

use super::Settings;
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS};

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
                "95 %, of a paired bootstrap over groups of documents ({} resamples, seed {}), each domain for itself and \
                 without any correction for how many there are; none below {FEWEST_GROUPS} groups. Documents of one group (a \
                 work, a file) count once, since they are alike. In simulations with documents of very different sizes it \
                 holds the truth in 93–98 % of cases, less where a very few groups hold most of the change or the larger lose \
                 more of each byte: then it mostly lies too low. The page “Evidence” of the documentation has the table.",
                settings.resamples, settings.seed
            ),
        ),
        (
            "verdict",
            format!(
                "Old domains: kept if the upper bound of a test against {tolerance} lies within it and there are \
                 {FEWEST_EFFECTIVE:.0} effective groups (a non-inferiority test), forgotten if the lower bound lies beyond, \
                 else undecided. The niche, and what models between the base and it were tuned for: gained if the change is \
                 below 0 for sure, lost if above 0, else undecided. For sure: p is below 5 %. Withheld if more than \
                 {limit:.0} % of a domain's held-out documents stand in training text."
            ),
        ),
        (
            "p",
            "Of a domain's change against the tolerance (old domains) or against 0 (the niche), two-sided: the smallest \
             level at which a test's bound leaves that limit out. A test's bounds reach further than the interval where a few \
             groups changed far more than the rest, and where there are fewer than 15 effective groups. Then with Holm's \
             correction over all tests of this report (domains, questions and tasks of every run), so that the chance of even \
             one wrong verdict stays below 5 %. So many resamples give no p below 2 / (their number + 1) times that of the \
             tests."
                .to_owned(),
        ),
        (
            "effective groups",
            "How many groups of one size, with normally scattered changes, would tell as much: fewer than there are where a few \
             hold most of the bytes (Kish) or most of what scatters (by the fourth moment)."
                .to_owned(),
        ),
        (
            "worst",
            "The old domain whose change is largest, and the bound that no old domain's change lies above, with 95 % for all of \
             them together: the largest of several estimates alone would be too high on average."
                .to_owned(),
        ),
        (
            "leak ledger",
            format!(
                "The share of a held-out set's documents, and of its distinct 13-word sequences, that stand in training \
                 text, letter case and white space aside: of the data sets' own domains (the largest share), and of the \
                 text that each run was tuned on. The gate of {limit:.0} % is on whole documents: a model that has read \
                 one is not tested by it. The sequences are shown, not judged: phrases that a licence or a form repeats are \
                 part of its language, and finding them again is no leak."
            ),
        ),
        (
            "what was forgotten",
            "Of each old domain the documents of 200 bytes or more that rose most in bits per byte, and in each the 120 \
             tokens that lost most together; a token's change is the rise of its −log₂ p in bits. Tokens by frequency: how \
             often each comes in a million tokens of the domain's training text; the mean change with a 95 % interval by \
             the same bootstrap over groups of documents. Of a large domain, the first two million held-out tokens."
                .to_owned(),
        ),
        (
            "mean forgetting",
            "The mean change over the old domains, each counting the same; withheld ones are left out. Its interval \
             combines theirs (Zou & Donner 2008); none where one of them has none."
                .to_owned(),
        ),
        (
            "accuracy",
            "The share of held-out questions whose exact answer, and the end of its line or text, greedy decoding \
             gives; the change with Newcombe's 95 % interval (1998, method 10); p is McNemar's mid-p-value, two-sided, over \
             the same questions, with Holm's correction over all tests of the report. Where questions name their groups \
             (templates), whole groups are turned in the test, and the interval counts them for what they tell."
                .to_owned(),
        ),
        (
            "acc and acc_norm",
            "Of tasks with choices, scored as lm-evaluation-harness does: the share of items whose right choice is the \
             likeliest after the context (acc), or the likeliest a character of the choice (acc_norm), the first of equals. Of \
             a cloze, which has one choice, acc is the share that greedy decoding gives. Intervals of 95 %: Wilson's score \
             interval, and for the change over the same items Newcombe's (1998, method 10); p is McNemar's mid-p-value, \
             two-sided, with Holm's correction over all tests of the report. Contexts longer than the model's are \
             cut from the left, and counted. Lost and won: the items that only the base answers, and only the tuned model."
                .to_owned(),
        ),
    ];
    entries
        .map(|(word, text)| (word.to_owned(), text))
        .into_iter()
        .collect()
}
