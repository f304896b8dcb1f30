//! Bytes of stored tokens. Unlike the tokenizer library's decoder, this table is fast, and tokens that are parts of
//! one character can be joined.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::Document;
use crate::tokenizer::words::letter;

/// Table of the bytes of every token in a vocabulary.
#[derive(Debug, Clone)]
pub struct TokenBytes {
    /// Bytes of each token, by ID; empty for special tokens.
    bytes: Vec<Box<[u8]>>,
}

impl TokenBytes {
    /// Builds the table of bytes for a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).unwrap_or_default();
        let is_byte_level = |value: &Value| value["type"] == "ByteLevel";
        let byte_level = is_byte_level(&decoder)
            || decoder["decoders"]
                .as_array()
                .is_some_and(|decoders| decoders.iter().any(is_byte_level));
        let letters: HashMap<char, u8> = (0..=255).map(|byte| (letter(byte), byte)).collect();
        let added = tokenizer.get_added_tokens_decoder();
        let vocabulary = tokenizer.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let mut bytes = vec![Box::default(); size];
        for (name, id) in vocabulary {
            bytes[id as usize] = match added.get(&id) {
                Some(token) if token.special => Box::default(),
                Some(_) => name.as_bytes().into(),
                None if byte_level => spell(&name, &letters),
                None => spell_pieces(&name),
            };
        }
        Self { bytes }
    }

    /// Returns the UTF-8 bytes of a token, which may be only a part of a character; empty for special tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], AsRef::as_ref)
    }

    /// Returns true if any token begins with these bytes.
    pub fn some_begin_with(&self, bytes: &[u8]) -> bool {
        self.bytes.iter().any(|token| token.starts_with(bytes))
    }

    /// Returns the text of a stored document, including its prompt.
    pub fn text(&self, document: &Document<'_>) -> String {
        let mut tokens = Vec::with_capacity(document.len());
        document.copy_tokens(0..document.len(), &mut tokens);
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| self.bytes(*token))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Decodes a token of a byte-level vocabulary, in which each character stands for a byte.
fn spell(name: &str, letters: &HashMap<char, u8>) -> Box<[u8]> {
    name.chars()
        .filter_map(|letter| letters.get(&letter))
        .copied()
        .collect()
}

/// Decodes a token of a SentencePiece vocabulary: `▁` is a space, `<0x0A>` is a byte.
fn spell_pieces(name: &str) -> Box<[u8]> {
    let byte = name
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match byte {
        Some(byte) => [byte].into(),
        None => name.replace('▁', " ").into_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that text is detokenized exactly, byte by byte, with characters cut at any byte, and that special
    /// tokens are empty.
    #[test]
    fn text_comes_back() {
        let text = "It's naïve: 中文 🙂\n\tjump_over(13)";
        let tokenizer = crate::tokenizer::training::train(300, vec![text.repeat(3)]).unwrap();
        let token_bytes = TokenBytes::of(&tokenizer);
        let encoded = tokenizer
            .encode_fast("🙂 or é? <|endoftext|>", false)
            .unwrap();
        let bytes: Vec<u8> = encoded
            .get_ids()
            .iter()
            .flat_map(|id| token_bytes.bytes(*id))
            .copied()
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), "🙂 or é? ");
        assert_eq!(token_bytes.bytes(u32::MAX), b"");
        assert_eq!(&*spell_pieces("▁the"), b" the");
        assert_eq!(&*spell_pieces("<0x0A>"), b"\n");
    }
}
