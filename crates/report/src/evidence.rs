//! What was forgotten: the documents and tokens that lost most, rare against frequent tokens, questions answered before
//! and not after.

use std::collections::HashMap;

use polymath_data::{Dataset, Question, Spelling, Split};
use serde::{Deserialize, Serialize};

use crate::ReportError;
use polymath_eval::statistics::PairedBootstrap;
use polymath_eval::{DocumentScore, DomainScores, TokenScores};

/// Documents that are shown of a domain.
const DOCUMENTS: usize = 3;
/// Tokens that are shown of a document.
pub(crate) const WINDOW: usize = 120;
/// Where a document is chosen by what it lost a byte, shorter ones would be mere accidents.
const SHORTEST: u64 = 200;
/// Training tokens whose frequencies are counted at most: the first so many of the domain.
const COUNTED: u64 = 20_000_000;
/// Questions that are listed of a domain.
const QUESTIONS: usize = 20;
/// Resamples of the intervals over token groups.
const RESAMPLES: usize = 1000;
/// The groups by frequency: from so many times in a million training tokens on.
const GROUPS: [(f64, &str); 5] = [
    (10_000.0, "over 10 000"),
    (1_000.0, "1 000 to 10 000"),
    (100.0, "100 to 1 000"),
    (10.0, "10 to 100"),
    (0.0, "under 10, or never"),
];

/// What one domain lost in one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainEvidence {
    /// The documents that lost most a byte, the worst first; none where none lost.
    pub documents: Vec<WorstDocument>,
    /// From frequent to rare.
    pub frequencies: Vec<FrequencyGroup>,
    /// How many questions the base answers and the tuned model does not.
    pub questions_lost: usize,
    /// Some of them.
    pub questions: Vec<Question>,
}

/// A document that lost much, and its worst stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstDocument {
    /// Its place among the domain's held-out documents, from 0.
    pub document: u32,
    /// The file and the line, row or text in it that it was read from; null where the data set does not store it.
    #[serde(default)]
    pub source: Option<String>,
    /// UTF-8 bytes of its scored text.
    pub bytes: u64,
    /// Its change in bits per byte.
    pub change: f64,
    /// The first token that is shown, from 0.
    pub from: usize,
    /// How many tokens it has.
    pub tokens: usize,
    /// The stretch that lost most: pieces of text, each of one token, or of the few that make up a character together.
    pub pieces: Vec<Piece>,
}

/// A piece of text and what it lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Rise of its −log₂ p, in bits; null where it is not scored (a prompt).
    pub change: Option<f64>,
}

/// Tokens of like frequency in the domain's training text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrequencyGroup {
    /// How often each comes in a million training tokens.
    pub frequency: String,
    /// How many held-out tokens are of the group.
    pub tokens: u64,
    /// Their mean change, in bits a token.
    pub change: f64,
    /// 95 %, as for a domain; null where too few documents hold such tokens.
    pub interval: Option<[f64; 2]>,
}

/// A domain as two models scored it, and where its text lies.
pub struct Evidence<'a> {
    /// The data set that holds the domain.
    pub dataset: &'a Dataset,
    /// Its name.
    pub domain: &'a str,
    /// The base's scores, with those of single tokens.
    pub base: &'a DomainScores,
    /// The tuned model's, with those of single tokens.
    pub tuned: &'a DomainScores,
    /// Which questions the base and the tuned model answer.
    pub answers: (&'a [bool], &'a [bool]),
    /// Of the intervals.
    pub seed: u64,
}

/// One document's tokens as the base and as the tuned model scored them.
type Scored<'a> = (&'a TokenScores, &'a TokenScores);

impl Evidence<'_> {
    /// Gathers it, from the documents whose tokens' scores were kept of both.
    ///
    /// # Errors
    /// A data set that can't be read; the models were scored on different documents.
    pub fn gather(&self) -> Result<DomainEvidence, ReportError> {
        // Where their tokenizers differ, one may have other tokens of a document.
        let of_tuned: HashMap<u32, &TokenScores> = self
            .tuned
            .tokens_of
            .iter()
            .map(|scores| (scores.document, scores))
            .collect();
        let pairs: Vec<Scored> = self
            .base
            .tokens_of
            .iter()
            .filter_map(|base| Some((base, *of_tuned.get(&base.document)?)))
            .collect();
        let same = |(base, tuned): &Scored| base.nats.len() == tuned.nats.len();
        if !pairs.iter().all(same) {
            return Err(ReportError::Report(format!(
                "base and tuned model were scored on different documents of `{}`: score both with the same data set",
                self.domain
            )));
        }
        let mut questions = self.lost_questions()?;
        let questions_lost = questions.len();
        questions.truncate(QUESTIONS);
        Ok(DomainEvidence {
            frequencies: self.frequencies(&pairs)?,
            documents: self.worst_documents(pairs)?,
            questions_lost,
            questions,
        })
    }

    /// Those that the base answers and the tuned model does not.
    fn lost_questions(&self) -> Result<Vec<Question>, ReportError> {
        let asked = self.dataset.questions(self.domain)?;
        let (before, after) = self.answers;
        let lost = asked
            .into_iter()
            .zip(before.iter().zip(after))
            .filter(|(_, (before, after))| **before && !**after);
        Ok(lost.map(|(question, _)| question).collect())
    }

    /// The documents that lost most a byte, each with its worst stretch.
    fn worst_documents(&self, mut pairs: Vec<Scored>) -> Result<Vec<WorstDocument>, ReportError> {
        let spelling = self.dataset.spelling()?;
        let sources = self.dataset.sources(self.domain)?;
        let shard = self.dataset.shard(self.domain, Split::Heldout)?;
        let bytes = |pair: &Scored| shard.document(pair.0.document as usize).bytes;
        if pairs.iter().any(|pair| bytes(pair) >= SHORTEST) {
            pairs.retain(|pair| bytes(pair) >= SHORTEST);
        }
        let lost = |(base, tuned): &Scored| changes(base, tuned).flatten().sum::<f64>();
        let mut worst: Vec<(f64, Scored)> = pairs
            .into_iter()
            .map(|pair| (lost(&pair) / bytes(&pair).max(1) as f64, pair))
            .filter(|(change, _)| *change > 0.0)
            .collect();
        worst.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown = worst.into_iter().take(DOCUMENTS);
        let document = |(change, (base, tuned)): (f64, Scored)| {
            let document = shard.document(base.document as usize);
            let mut tokens = Vec::new();
            // The token that ends the text has none.
            document.copy_tokens(0..document.len() - 1, &mut tokens);
            let changes: Vec<Option<f64>> = changes(base, tuned).take(tokens.len()).collect();
            let from = worst_stretch(&changes);
            let shown = from..(from + WINDOW).min(tokens.len());
            WorstDocument {
                document: base.document,
                source: sources
                    .source_of(&shard, base.document as usize)
                    .map(|source| source.to_string()),
                bytes: document.bytes,
                change,
                from,
                tokens: tokens.len(),
                pieces: pieces(&spelling, &tokens[shown.clone()], &changes[shown]),
            }
        };
        Ok(shown.map(document).collect())
    }

    /// The mean change of each group of tokens, by a paired bootstrap over groups of documents.
    fn frequencies(&self, pairs: &[Scored]) -> Result<Vec<FrequencyGroup>, ReportError> {
        let group_of = self.groups()?;
        let shard = self.dataset.shard(self.domain, Split::Heldout)?;
        // Of each group, a document's sums; tokens stand where the bytes of a domain's scores do.
        let mut of_base = vec![DomainScores::default(); GROUPS.len()];
        let mut of_tuned = of_base.clone();
        let mut tokens = Vec::new();
        for (base, tuned) in pairs {
            let document = shard.document(base.document as usize);
            tokens.clear();
            document.copy_tokens(0..document.len(), &mut tokens);
            let work = shard.group_of(base.document as usize);
            let mut sums = [(DocumentScore::default(), DocumentScore::default()); GROUPS.len()];
            for ((token, before), after) in tokens.iter().zip(&base.nats).zip(&tuned.nats) {
                if before.is_nan() {
                    continue;
                }
                let group = group_of.get(*token as usize);
                let (base, tuned) =
                    &mut sums[group.map_or(GROUPS.len() - 1, |group| usize::from(*group))];
                for (sum, nats) in [(base, before), (tuned, after)] {
                    sum.nats += f64::from(*nats);
                    sum.bytes += 1;
                }
            }
            for (group, (base, tuned)) in sums.into_iter().enumerate() {
                if base.bytes > 0 {
                    of_base[group].documents.push(base);
                    of_tuned[group].documents.push(tuned);
                    of_base[group].groups.extend(work);
                }
            }
        }
        let mut groups = Vec::new();
        for ((base, tuned), (_, name)) in of_base.iter().zip(&of_tuned).zip(GROUPS) {
            if base.bytes() == 0 {
                continue;
            }
            let change = PairedBootstrap::new(base, tuned, RESAMPLES, self.seed)?.change();
            groups.push(FrequencyGroup {
                frequency: name.to_owned(),
                tokens: base.bytes(),
                change: change.value,
                interval: change.interval,
            });
        }
        Ok(groups)
    }

    /// The group of each token, by how often it comes in the domain's training text.
    fn groups(&self) -> Result<Vec<u8>, ReportError> {
        let shard = self.dataset.shard(self.domain, Split::Train)?;
        let mut counts: Vec<u64> = vec![0; self.dataset.manifest().tokenizer.vocab_size];
        let mut all = 0;
        let mut tokens = Vec::new();
        for index in 0..shard.documents() {
            let document = shard.document(index);
            tokens.clear();
            document.copy_tokens(0..document.len(), &mut tokens);
            for token in &tokens {
                if let Some(count) = counts.get_mut(*token as usize) {
                    *count += 1;
                }
            }
            all += tokens.len() as u64;
            if all >= COUNTED {
                break;
            }
        }
        let group = |count: &u64| {
            let frequency = *count as f64 * 1e6 / all.max(1) as f64;
            let found = GROUPS.iter().position(|(from, _)| frequency >= *from);
            found.unwrap_or(GROUPS.len() - 1) as u8
        };
        Ok(counts.iter().map(group).collect())
    }
}

/// Of each token, the rise of its −log₂ p in bits, where it is scored.
fn changes(base: &TokenScores, tuned: &TokenScores) -> impl Iterator<Item = Option<f64>> {
    base.nats.iter().zip(&tuned.nats).map(|(before, after)| {
        let change = (f64::from(*after) - f64::from(*before)) / std::f64::consts::LN_2;
        change.is_finite().then_some(change)
    })
}

/// Where the [`WINDOW`] tokens begin that lose most together.
fn worst_stretch(changes: &[Option<f64>]) -> usize {
    let last = changes.len().saturating_sub(WINDOW);
    let value = |at: usize| changes[at].unwrap_or(0.0);
    let mut sum: f64 = (0..changes.len().min(WINDOW)).map(value).sum();
    let mut best = (sum, 0);
    for from in 1..=last {
        sum += value(from + WINDOW - 1) - value(from - 1);
        if sum > best.0 {
            best = (sum, from);
        }
    }
    best.1
}

/// Tokens as text. Tokens that are parts of one character are joined, and what they lost is added up; what is cut off at
/// an end of the stretch shows as �.
fn pieces(spelling: &Spelling, tokens: &[u32], changes: &[Option<f64>]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut lost: Option<f64> = None;
    for (at, (token, change)) in tokens.iter().zip(changes).enumerate() {
        bytes.extend(spelling.bytes(*token));
        lost = match (lost, *change) {
            (Some(lost), Some(change)) => Some(lost + change),
            (lost, change) => lost.or(change),
        };
        if at + 1 == tokens.len() || !is_cut(&bytes) {
            pieces.push(Piece {
                text: String::from_utf8_lossy(&bytes).into_owned(),
                // A thousandth of a bit is enough to show, and keeps the report's file small.
                change: lost.take().map(|lost| (lost * 1000.0).round() / 1000.0),
            });
            bytes.clear();
        }
    }
    pieces
}

/// Whether the last character wants more bytes.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
