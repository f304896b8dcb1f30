//! Tokenizer of a dataset: a byte-level BPE trained on a sample of the text.

use polymath_tokenizer::DocumentEnds;
use rayon::prelude::*;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::DataError;
use crate::tokenizer::splitter::Splitter;

/// Token that begins and ends every document; ID 0 in trained tokenizers.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";

/// Trains a byte-level BPE on `texts`. Each digit is a token of its own, so that numbers are tokenized the same in
/// any context.
///
/// # Errors
/// Fails if the tokenizer library fails.
pub(crate) fn train(vocab_size: usize, texts: Vec<String>) -> Result<Tokenizer, DataError> {
    let failed = |error: tokenizers::Error| DataError::Tokenizer(error.to_string());
    let pre_tokenizer = Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(pre_tokenizer))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let texts = texts.iter().flat_map(|text| bounded(text));
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    let json = tokenizer.to_string(true).map_err(failed)?;
    json.parse()
        .map_err(|error: tokenizers::Error| DataError::Tokenizer(error.to_string()))
}

/// Maximum bytes of a word for training. The trainer's time is quadratic in the length of a word, and a genome,
/// Base64 or minified code can be one word, so longer words are cut. This changes little, since tokens of this length
/// are hardly ever learned.
const LONGEST_WORD: usize = 256;

/// Splits the text such that no word has more than [`LONGEST_WORD`] bytes. Shorter words are not cut.
fn bounded(text: &str) -> Vec<&str> {
    let splitter = Splitter::of(true);
    let mut stretches = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < text.len() {
        let end = splitter.word_end(text, at);
        while end - at > LONGEST_WORD {
            let cut = text.floor_char_boundary(at + LONGEST_WORD);
            stretches.push(&text[from..cut]);
            (from, at) = (cut, cut);
        }
        at = end;
    }
    stretches.push(&text[from..]);
    stretches
}

/// Returns the tokens that begin and end documents, for a trained tokenizer.
pub(crate) fn trained_ends() -> DocumentEnds {
    DocumentEnds {
        begin: 0,
        end: 0,
        begin_source: "the trained tokenizer".into(),
        end_source: "the trained tokenizer".into(),
    }
}

/// Minimum bytes of a long word plus one. Long words hardly ever repeat, and each costs the trainer about fifty times
/// its bytes of memory.
const LONG_WORD: usize = 32;
/// Factor by which each byte of a long word counts.
const LONG_WORD_COST: u64 = 4;

/// Drops some of the texts, evenly, until their cost to the trainer is within `bytes`. Text with many distinct words
/// (in a script without spaces) costs more, since the trainer's memory is proportional to the number of distinct
/// words. The first text is always kept. Returns the bytes that are left.
pub(crate) fn thin(texts: &mut Vec<String>, bytes: u64) -> u64 {
    let costs: Vec<u64> = texts.par_iter().map(|text| cost(text)).collect();
    let total: u64 = costs.iter().sum();
    let mut costs = costs.into_iter();
    let (mut seen, mut kept) = (0, 0);
    texts.retain(|_| {
        let cost = costs.next().unwrap_or_default();
        // At each point, the kept cost differs from the budget's share of the seen cost by less than one text.
        let due = u128::from(kept) * u128::from(total) <= u128::from(seen) * u128::from(bytes);
        seen += cost;
        kept += if due { cost } else { 0 };
        due || total <= bytes
    });
    texts.iter().map(|text| text.len() as u64).sum()
}

/// Returns the cost of a text: its bytes, with those of long words counted several times.
fn cost(text: &str) -> u64 {
    let splitter = Splitter::of(true);
    let (mut at, mut cost) = (0, 0);
    while at < text.len() {
        let end = splitter.word_end(text, at);
        let length = (end - at) as u64;
        cost += if end - at > LONG_WORD {
            LONG_WORD_COST * length
        } else {
            length
        };
        at = end;
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only long words are cut, and that no text is lost.
    #[test]
    fn long_words_are_cut_for_the_trainer() {
        let plain = "A rose, is\n\n a rose: 1887. ".repeat(100);
        assert_eq!(bounded(&plain), [&plain[..]]);
        let genome = "acgt".repeat(1000);
        let text = format!("It is {genome} and {}.", "é".repeat(300));
        let stretches = bounded(&text);
        assert_eq!(stretches.concat(), text);
        assert!(stretches.len() > 17);
        let splitter = Splitter::of(true);
        for stretch in stretches {
            let mut at = 0;
            while at < stretch.len() {
                let end = splitter.word_end(stretch, at);
                assert!(end - at <= LONGEST_WORD);
                at = end;
            }
        }
        assert_eq!(bounded(""), [""]);
    }

    /// Checks that training on words of 300 kB takes about as long as on the same text in short words, and learns the
    /// same merges.
    #[test]
    fn training_is_linear_in_the_length_of_words() {
        let mut state = 1u64;
        let mut letters = || {
            state = polymath_base::mix(state);
            ["a", "c", "g", "t"][(state % 4) as usize]
        };
        let texts: Vec<String> = (0..10)
            .map(|_| (0..300_000).map(|_| letters()).collect())
            .collect();
        let begun = std::time::Instant::now();
        let trained = train(600, texts).unwrap();
        assert!(trained.token_to_id("acgt").is_some());
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }

    /// Checks that ordinary text is kept whole, that a quarter of text without spaces is kept, evenly, and that at
    /// least one text is kept.
    #[test]
    fn costly_words_thin_the_sample() {
        let mut plain = vec!["a rose is a rose ".repeat(60); 100];
        assert_eq!(thin(&mut plain, 102_000), 102_000);
        let sign = |number: u32| char::from_u32(0x4e00 + number).unwrap();
        let texts: Vec<String> = (0..400)
            .map(|text| (0..100).map(|at| sign(text * 40 + at)).collect())
            .collect();
        let mut thinned = texts.clone();
        let left = thin(&mut thinned, 120_000);
        assert!((29_000..=31_000).contains(&left), "{left}");
        let last = texts
            .iter()
            .position(|text| text == thinned.last().unwrap());
        assert!(last.unwrap() > 390, "from all over");
        let mut one = texts[..1].to_vec();
        assert_eq!(thin(&mut one, 10), 300);
    }
}
