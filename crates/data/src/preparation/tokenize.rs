//! Tokenization of documents by an [`Encoder`].

use std::ops::Range;

use crate::DataError;
use crate::preparation::encode::{Encoder, Token};
use crate::preparation::spool::Spool;
use crate::sources::document::{Part, own_text};
use crate::tokenizer::special_tokens::Substituted;
use crate::tokenizer::words::Words;

impl Encoder {
    /// Returns the tokens of a document's whole text. Their byte ranges are valid only if the document has several
    /// parts.
    pub(super) fn tokenize(&self, parts: &[Part]) -> Result<Vec<Token>, DataError> {
        let failed = |error: tokenizers::Error| DataError::Tokenizer(error.to_string());
        if let [part] = parts
            && !part.from_template
        {
            return self.tokenize_alone(&part.text);
        }
        let text: String = parts.iter().map(|part| part.text.as_str()).collect();
        let meant: Vec<Token> = template_stretches(parts)
            .into_iter()
            .flat_map(|stretch| self.special.find(&text, stretch))
            .collect();
        if let Some(words) = &self.words {
            return self.by_words(words, &text, &meant);
        }
        let is_conversation = parts.iter().any(|part| part.from_template);
        // A message may contain the text of a special token, alone or together with the text around it.
        if is_conversation && self.special.find(&text, 0..text.len()) != meant {
            let substituted = self
                .substituted
                .get_or_init(|| Substituted::new(&self.tokenizer));
            let substituted = substituted
                .as_ref()
                .map_err(|error| DataError::Tokenizer(error.to_string()))?;
            return substituted.encode(&text, &meant).map_err(failed);
        }
        let tokenizer = match is_conversation {
            true => &self.with_special_tokens,
            false => &self.tokenizer,
        };
        let encoding = tokenizer.encode(text.as_str(), false).map_err(failed)?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(tokens
            .map(|(id, (from, to))| Token {
                id: *id,
                from: *from,
                to: *to,
            })
            .collect())
    }

    /// Returns the tokens of a text that is one part, without their byte ranges.
    fn tokenize_alone(&self, text: &str) -> Result<Vec<Token>, DataError> {
        let mut ids = Vec::new();
        match &self.words {
            Some(words) => words.encode(&self.tokenizer, text, &mut ids)?,
            None => {
                let encoding = self.tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
                ids.extend(encoding.get_ids());
            }
        }
        let whole = |id| Token {
            id,
            from: 0,
            to: text.len(),
        };
        Ok(ids.into_iter().map(whole).collect())
    }

    /// Returns the tokens of a text word by word, so that each has its own byte range. Only the special tokens listed
    /// in `meant` are recognized as such.
    fn by_words(
        &self,
        words: &Words,
        text: &str,
        meant: &[Token],
    ) -> Result<Vec<Token>, DataError> {
        let mut tokens = Vec::new();
        let mut ids = Vec::new();
        let mut at = 0;
        let end = Token {
            id: 0,
            from: text.len(),
            to: text.len(),
        };
        for special in meant.iter().chain([&end]) {
            ids.clear();
            words.encode(&self.tokenizer, &text[at..special.from], &mut ids)?;
            for &id in &ids {
                let from = at;
                at += words.bytes(id);
                tokens.push(Token { id, from, to: at });
            }
            if special.to > special.from {
                tokens.push(*special);
            }
            at = special.to;
        }
        Ok(tokens)
    }

    /// Returns true if the first documents of `spool` survive tokenizing and detokenizing. Otherwise (a tokenizer
    /// that lower-cases, or lacks some characters), bits per byte look better than they are.
    pub(crate) fn is_lossless(&self, spool: &Spool) -> Result<bool, DataError> {
        const CHECKED: usize = 32;
        let mut lossless = true;
        spool.read_first(CHECKED as u64, &mut |parts| {
            // Some tokenizers add spaces next to special tokens, so each message is checked alone.
            let texts: Vec<String> = match parts.iter().any(|part| part.from_template) {
                true => parts
                    .into_iter()
                    .filter_map(|part| (!part.from_template).then_some(part.text))
                    .collect(),
                false => vec![own_text(&parts)],
            };
            for text in texts {
                let tokens = self.tokenize_alone(&text)?;
                let tokens: Vec<u32> = tokens.iter().map(|token| token.id).collect();
                let decoded = self.tokenizer.decode(&tokens, false);
                lossless &=
                    decoded.map_err(|error| DataError::Tokenizer(error.to_string()))? == text;
            }
            Ok(())
        })?;
        Ok(lossless)
    }
}

/// Returns the byte ranges of a document's text that the chat template added.
fn template_stretches(parts: &[Part]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for part in parts {
        let stretch = at..at + part.text.len();
        at = stretch.end;
        match stretches.last_mut() {
            _ if !part.from_template => {}
            Some(last) if last.end == stretch.start => last.end = stretch.end,
            _ => stretches.push(stretch),
        }
    }
    stretches
}
