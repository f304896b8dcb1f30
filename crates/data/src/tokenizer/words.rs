//! Fast encoding with byte-level tokenizers that split text into words as GPT-2 does.
//!
//! The tokenizer library tracks the origin of each character, which training does not need and which costs more than
//! the encoding itself. With these tokenizers, the tokens of a word do not depend on its context. So this module
//! splits text into the same words itself and looks up the tokens of each word; the first time, the tokenizer's own
//! model makes them. A test checks that the tokens are exactly those of the library.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokenizers::{Model, Tokenizer};
use xxhash_rust::xxh3::xxh3_64;

use crate::DataError;
use crate::tokenizer::splitter::Splitter;

/// Maximum number of words in a thread's cache, about 15 MB; when it is full, it is cleared.
const REMEMBERED: usize = 1 << 17;
/// Maximum bytes of a word in the cache; longer ones hardly ever repeat.
const LONGEST: usize = 64;

/// Fast encoder with a cache of the tokens of words, one cache per thread.
pub(crate) struct Words {
    splitter: &'static Splitter,
    memories: Vec<Mutex<Memory>>,
    /// Number of bytes of each token, by ID.
    bytes: Vec<u32>,
}

type Memory = HashMap<Box<str>, Box<[u32]>, BuildHasherDefault<WordHasher>>;

/// Hasher that hashes a word in one step.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(5) ^ xxh3_64(bytes);
    }

    fn write_u8(&mut self, _end_of_text: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Words {
    /// Creates the fast encoder for `tokenizer`, which must treat special tokens as plain text; `None` if this module
    /// does not support the tokenizer's way of splitting text.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Words> {
        let is_byte_level = |value: &Value| {
            value["type"] == "ByteLevel"
                && value["add_prefix_space"] == false
                && value["use_regex"] == true
        };
        let splits = serde_json::to_value(tokenizer.get_pre_tokenizer()).ok()?;
        let lone_digits = json!({"type": "Digits", "individual_digits": true});
        let digits_alone = match splits["pretokenizers"].as_array().map(Vec::as_slice) {
            None if is_byte_level(&splits) => false,
            Some([digits, bytes]) if *digits == lone_digits && is_byte_level(bytes) => true,
            _ => return None,
        };
        let model = serde_json::to_value(tokenizer.get_model()).ok()?;
        let plain = model["type"] == "BPE" && model["dropout"].is_null();
        let added = tokenizer.get_added_tokens_decoder();
        let text_only = added.values().all(|token| token.special);
        if !plain || !text_only || tokenizer.get_normalizer().is_some() {
            return None;
        }
        let memories = (0..rayon::current_num_threads().max(1)).map(|_| Mutex::default());
        let vocabulary = tokenizer.get_vocab(false);
        let ids = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let mut bytes = vec![0; ids];
        for (token, id) in vocabulary {
            bytes[id as usize] = token.chars().count() as u32;
        }
        Some(Words {
            splitter: Splitter::of(digits_alone),
            memories: memories.collect(),
            bytes,
        })
    }

    /// Returns the number of bytes of text that a token stands for.
    pub(crate) fn bytes(&self, token: u32) -> usize {
        self.bytes
            .get(token as usize)
            .map_or(0, |bytes| *bytes as usize)
    }

    /// Appends the tokens of `text` to `tokens`.
    ///
    /// # Errors
    /// Fails if the tokenizer library fails.
    pub(crate) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        tokens: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.memories.len();
        let mut memory = self.memories[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        while at < text.len() {
            let end = self.splitter.word_end(text, at);
            let word = &text[at..end];
            recall(&mut memory, word, tokens, |to| {
                let letters: String = word.bytes().map(letter).collect();
                let found = tokenizer.get_model().tokenize(&letters)?;
                to.extend(found.iter().map(|token| token.id));
                Ok(())
            })?;
            at = end;
        }
        Ok(())
    }
}

/// Appends the tokens of `word` to `tokens`: from the cache, or else made by `make`, the tokenizer's model.
fn recall(
    memory: &mut Memory,
    word: &str,
    tokens: &mut Vec<u32>,
    make: impl FnOnce(&mut Vec<u32>) -> tokenizers::Result<()>,
) -> Result<(), DataError> {
    if let Some(known) = memory.get(word) {
        tokens.extend_from_slice(known);
        return Ok(());
    }
    let before = tokens.len();
    make(tokens).map_err(|error| DataError::Tokenizer(error.to_string()))?;
    if word.len() <= LONGEST {
        if memory.len() >= REMEMBERED {
            memory.clear();
        }
        memory.insert(word.into(), tokens[before..].into());
    }
    Ok(())
}

/// Returns the character that stands for a byte in a byte-level vocabulary: a printable character for itself, the
/// other bytes for the characters from U+0100 on.
pub(crate) fn letter(byte: u8) -> char {
    let code = u32::from(byte);
    let letter = match byte {
        0..=32 => 0x100 + code,
        127..=160 => 0x100 + 33 + code - 127,
        173 => 0x100 + 33 + 34,
        _ => code,
    };
    char::from_u32(letter).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;
    use crate::tokenizer::training::{END_OF_TEXT, train};

    /// Returns two byte-level tokenizers to test, each with its fast encoder: one as this program trains them, and one
    /// that does not split numbers into digits.
    fn tokenizers() -> &'static [(Tokenizer, Words); 2] {
        static TOKENIZERS: OnceLock<[(Tokenizer, Words); 2]> = OnceLock::new();
        TOKENIZERS.get_or_init(|| {
            let text =
                "It's 1887;  they're naïve \u{a0} and we'll\n\n\tjump_over(13, 'dogs'); \r\n été  ";
            let mut ours = train(500, vec![text.repeat(20)]).unwrap();
            ours.set_encode_special_tokens(true);
            let mut theirs = ours.clone();
            theirs.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
            [ours, theirs].map(|tokenizer| {
                let words = Words::of(&tokenizer).unwrap();
                (tokenizer, words)
            })
        })
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        for (tokenizer, words) in tokenizers() {
            let mut tokens = Vec::new();
            words.encode(tokenizer, text, &mut tokens).unwrap();
            let expected = tokenizer.encode_fast(text, false).unwrap();
            prop_assert_eq!(&tokens[..], expected.get_ids(), "{:?}", text);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Checks that the tokens are those of the library, for text from a small set of characters, for ASCII, for
        /// words and for any text.
        #[test]
        fn tokens_are_the_librarys(
            few in "[ \n'sre1a!é\u{a0}\u{2003}中Ⅳ²٣\u{301}]{0,24}",
            ascii in "[\\x00-\\x7f]{0,40}",
            words in "((it's|they'RE|x1|1|22|  |\n|\t|\r\n|[(]|,|été|\u{a0}|<[|]endoftext[|]>| ?[a-z]{1,5}){0,12})",
            any in any::<String>(),
        ) {
            for text in [few, ascii, words, any] {
                check(&text)?;
            }
        }
    }

    /// Checks that a tokenizer that splits text in another way is not supported and left to the library.
    #[test]
    fn other_tokenizers_are_not_guessed_at() {
        let (ours, _) = &tokenizers()[0];
        let mut prefixed = ours.clone();
        prefixed.with_pre_tokenizer(Some(ByteLevel::new(true, true, true)));
        assert!(Words::of(&prefixed).is_none());
        let mut folded = ours.clone();
        let lowercase = Some(tokenizers::normalizers::Lowercase);
        assert!(folded.with_normalizer(lowercase).is_ok());
        assert!(Words::of(&folded).is_none());
        let mut added = ours.clone();
        let token = tokenizers::AddedToken::from("jump_over", false);
        added.add_tokens([token]).unwrap();
        assert!(Words::of(&added).is_none());
        assert_eq!(ours.token_to_id(END_OF_TEXT), Some(0));
    }
}
