//! Definitions of the terms that a forgetting report uses, such as "kept" and "groups".

use std::collections::BTreeMap;

use super::ReportSettings;
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS};

/// Returns the definition of each term, by the term.
pub fn definitions(settings: &ReportSettings) -> BTreeMap<String, String> {
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
            "Bits per byte of the tuned model minus bits per byte of the base, on the same documents: a positive change is \
            forgetting, a negative one is a gain. Relative: as a share of the base's bits per byte."
            .to_owned(),
        ),
        (
            "interval",
            format!(
                "95 % interval of a paired bootstrap over groups of documents ({} resamples, seed {}), per domain and not \
                corrected for the number of domains; none with fewer than {FEWEST_GROUPS} groups. Documents of one group (a \
                work, a file) are similar and count once. In simulations with documents of very different sizes, it \
                covers the truth in 93–98 % of cases, and in fewer if very few groups contain most of the change or larger \
                ones lose more per byte: then it is mostly too low. The page “Evidence” of the documentation has the table.",
                settings.resamples, settings.seed
            ),
        ),
        (
            "verdict",
            format!(
                "Retained domains: kept if the upper bound of a test against {tolerance} is within it and there are \
                {FEWEST_EFFECTIVE:.0} effective groups (a non-inferiority test), forgotten if the lower bound is above it, \
                improved if its change is also significantly below 0, else undecided. The niche, and niches of the models between base and run: gained if the change is \
                significantly below 0, lost if significantly above 0, else undecided. Significant: corrected p below 5 %. \
                Withheld if more than {limit:.0} % of a domain's held-out documents are in training text."
            ),
        ),
        (
            "p",
            "Two-sided p-value of a domain's change against the tolerance (retained domains) or against 0 (the niche): the \
            smallest level at which the bound of the test excludes that limit. The bounds of the test are wider than the \
            interval if a few groups changed far more than the rest, and with fewer than 15 effective groups. Corrected by \
            Holm's method over all tests of this report (domains, questions and tasks of every run), so that the probability \
            of even one wrong verdict stays below 5 %. With R resamples and m tests, p is at least 2 m / (R + 1)."
            .to_owned(),
        ),
        (
            "effective groups",
            "Number of equally large groups with normally distributed changes that would give the same precision: lower than \
            the number of groups if a few contain most of the bytes (Kish) or most of the variance (by the fourth moment)."
            .to_owned(),
        ),
        (
            "worst",
            "The retained domain with the largest change, and the 95 % bound on the changes of all retained domains together: \
            the largest of several estimates alone would be too high on average."
                .to_owned(),
        ),
        (
            "leak ledger",
            format!(
                "Share of a domain's held-out documents, and of their distinct 13-word sequences, that are in training text, \
                ignoring letter case and white space: text of the datasets' own domains (the largest share), and the \
                fine-tuning text of each run. The limit of {limit:.0} % is on whole documents, since a document that a model \
                was trained on does not test it. The sequences are shown but not judged: phrases that a license or a form \
                repeats are part of its language, and are not a leak."
            ),
        ),
        (
            "step of the base's training",
            "The last evaluation of the base's own training at which a domain was as bad as it is now. That training evaluated other \
            documents, so the change is added to the curve's value at the base's step, and the sum is looked up on the curve, by a \
            straight line between two evaluations."
                .to_owned(),
        ),
        (
            "what was forgotten",
            "The documents of each retained domain, of 200 bytes or more, with the largest increase in bits per byte, and the \
            120 tokens of each with the largest total loss; the change of a token is the increase of its −log₂ p in bits. \
            Tokens by frequency: occurrences per million training tokens of the domain; mean change with a 95 % interval \
            of the same bootstrap over groups of documents. In a large domain, the first two million held-out tokens."
                .to_owned(),
        ),
        (
            "mean forgetting",
            "Mean change over the retained domains with equal weights, without withheld ones. Its interval combines theirs \
            (Zou & Donner 2008); none if one of them has none."
                .to_owned(),
        ),
        (
            "accuracy",
            "Share of held-out questions that greedy decoding answers exactly, up to the end of the line or text; the change \
            with Newcombe's 95 % interval (1998, method 10); p is McNemar's two-sided mid-p-value over the same questions, \
            with Holm's correction over all tests of the report. If questions name their groups (templates), the test \
            permutes whole groups, and the interval uses their effective number; below five groups there is none."
                .to_owned(),
        ),
        (
            "acc and acc_norm",
            "Accuracies on multiple-choice tasks, scored as by lm-evaluation-harness: share of items whose right choice has \
            the highest likelihood after the context (acc), or the highest likelihood per character (acc_norm); the first of \
            equals counts. For a cloze with a single choice, acc is the share that greedy decoding gives. 95 % intervals: \
            Wilson's score interval, and for the change over the same items Newcombe's (1998, method 10); p is McNemar's \
            two-sided mid-p-value with Holm's correction over all tests of the report. Contexts longer than the model's are \
            cut on the left and counted. Lost and won: items that only the base, or only the tuned model, answers."
                .to_owned(),
        ),
    ];
    entries
        .map(|(word, text)| (word.to_owned(), text))
        .into_iter()
        .collect()
}
