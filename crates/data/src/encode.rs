//! Documents to stored tokens, on all cores.

use std::path::Path;

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::source::{Part, own_text};
use crate::spool::{Spool, length};
use crate::words::Words;
use crate::{DataError, Progress, ShardWriter, SplitManifest};

/// Text that is tokenized at once: enough for all cores, little beside the memory's bound.
const BATCH_BYTES: u64 = 8 << 20;

/// Turns documents into stored tokens.
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    /// The same for what a chat template writes, where special tokens are meant.
    with_special_tokens: Tokenizer,
    words: Option<Words>,
    vocab_size: usize,
    end: u32,
    /// Tokens of a conversation at most.
    longest: usize,
}

/// A document as it is stored.
#[derive(Default)]
struct Encoded {
    tokens: Vec<u32>,
    scored: Vec<bool>,
    bytes: u64,
    /// Stretches of scored text: what the assistant says, each time.
    turns: u64,
    /// Of them, those that were cut off.
    turns_dropped: u64,
}

impl Encoded {
    /// Tokens, bytes and turns so far.
    fn size(&self) -> (usize, u64, u64) {
        (self.tokens.len(), self.bytes, self.turns)
    }

    /// Goes back to an earlier size.
    fn cut(&mut self, (tokens, bytes, turns): (usize, u64, u64)) {
        self.tokens.truncate(tokens);
        self.scored.truncate(tokens);
        self.bytes = bytes;
        self.turns_dropped = self.turns - turns;
        self.turns = turns;
    }
}

impl Encoder {
    pub(crate) fn new(mut tokenizer: Tokenizer, end: u32) -> Self {
        // Text that looks like a special token is text: a document must not end itself.
        tokenizer.set_encode_special_tokens(true);
        // A given tokenizer may be set to cut what it reads.
        let _ = tokenizer.with_truncation(None);
        tokenizer.with_padding(None);
        let mut with_special_tokens = tokenizer.clone();
        with_special_tokens.set_encode_special_tokens(false);
        let ids = tokenizer.get_vocab(true).into_values();
        Encoder {
            with_special_tokens,
            longest: usize::MAX,
            vocab_size: ids.max().map_or(0, |id| id as usize + 1),
            words: Words::of(&tokenizer),
            tokenizer,
            end,
        }
    }

    /// Conversations are cut after the last turn with which they have at most so many tokens.
    pub(crate) fn set_longest_conversation(&mut self, tokens: Option<usize>) {
        self.longest = tokens.unwrap_or(usize::MAX);
    }

    /// One more than the greatest token id.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Writes the shard of `spool` at `path`; `look` is called with each document's text, from many threads.
    ///
    /// # Errors
    /// A full disk; what the tokenizer says.
    pub(crate) fn write(
        &self,
        path: &Path,
        spool: &Spool,
        look: &(dyn Fn(&str) + Sync),
        progress: &dyn Progress,
    ) -> Result<SplitManifest, DataError> {
        let mut writer = ShardWriter::create(path, self.vocab_size)?;
        let mut batch: Vec<Vec<Part>> = Vec::new();
        let mut bytes = 0;
        let (mut turns_dropped, mut dropped) = (0, 0);
        let mut flush = |batch: &mut Vec<Vec<Part>>, bytes: &mut u64| -> Result<(), DataError> {
            let encoded = batch.par_iter().map(|parts| {
                look(&own_text(parts));
                self.encode(parts)
            });
            for document in encoded.collect::<Result<Vec<Encoded>, DataError>>()? {
                turns_dropped += document.turns_dropped;
                if document.tokens.is_empty() {
                    dropped += 1;
                } else {
                    writer.push(&document.tokens, &document.scored, document.bytes)?;
                }
            }
            progress.advance(*bytes);
            batch.clear();
            *bytes = 0;
            Ok(())
        };
        spool.read(&mut |parts| {
            bytes += length(&parts);
            batch.push(parts);
            if bytes >= BATCH_BYTES {
                flush(&mut batch, &mut bytes)?;
            }
            Ok(())
        })?;
        flush(&mut batch, &mut bytes)?;
        Ok(SplitManifest {
            turns_dropped,
            conversations_dropped: dropped,
            ..writer.finish()?
        })
    }

    fn encode(&self, parts: &[Part]) -> Result<Encoded, DataError> {
        let mut document = Encoded::default();
        let mut fitting = document.size();
        let masked = parts.iter().any(|part| !part.scored);
        for (at, part) in parts.iter().enumerate() {
            self.append(part, &mut document.tokens)?;
            if part.scored && !part.from_template {
                document.bytes += part.text.len() as u64;
                document.turns += 1;
            }
            if masked {
                document.scored.resize(document.tokens.len(), part.scored);
            }
            let turn_ends = part.scored && parts.get(at + 1).is_none_or(|next| !next.scored);
            if turn_ends && document.tokens.len() < self.longest {
                fitting = document.size();
            }
        }
        let conversation = parts.iter().any(|part| part.from_template);
        if conversation && document.tokens.len() >= self.longest {
            document.cut(fitting);
        }
        let last = document.tokens.last();
        if conversation && (last.is_none() || last == Some(&self.end)) {
            // Nothing that fits; or the template's own end of the last turn ends the document too.
            return Ok(document);
        }
        document.tokens.push(self.end);
        if masked {
            // After a conversation's last turn there is nothing left to say.
            document.scored.push(!conversation);
        }
        Ok(document)
    }

    /// Appends the tokens of `part` to `tokens`.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub(crate) fn append(&self, part: &Part, tokens: &mut Vec<u32>) -> Result<(), DataError> {
        let text = &part.text;
        if part.from_template {
            let encoding = self.with_special_tokens.encode_fast(text.as_str(), false);
            let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
            tokens.extend(encoding.get_ids());
            return Ok(());
        }
        if let Some(words) = &self.words {
            return words.encode(&self.tokenizer, text, tokens);
        }
        let encoding = self.tokenizer.encode_fast(text.as_str(), false);
        let encoding = encoding.map_err(|error| DataError::Tokenizer(error.to_string()))?;
        tokens.extend(encoding.get_ids());
        Ok(())
    }

    /// Whether the first documents of `spool` come back from their tokens as they were. Where they don't (a tokenizer
    /// that lower-cases, or has no token for some letters), bits per byte say less than they seem to.
    pub(crate) fn is_lossless(&self, spool: &Spool) -> Result<bool, DataError> {
        const CHECKED: usize = 32;
        let (mut seen, mut lossless) = (0, true);
        spool.read_first(CHECKED as u64, &mut |parts| {
            let mut tokens = self.encode(&parts)?.tokens;
            tokens.pop();
            let decoded = self.tokenizer.decode(&tokens, false);
            let decoded = decoded.map_err(|error| DataError::Tokenizer(error.to_string()))?;
            lossless &= parts
                .iter()
                .map(|part| part.text.as_str())
                .collect::<String>()
                == decoded;
            seen += 1;
            Ok(())
        })?;
        Ok(lossless)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::{END_OF_TEXT, train};

    fn encoder() -> &'static Encoder {
        static ENCODER: OnceLock<Encoder> = OnceLock::new();
        ENCODER.get_or_init(|| {
            let text = "In 1887 the quick brown fox, naïve as ever, jumped over 13 lazy dogs.\n\n";
            let tokenizer = train(400, vec![text.repeat(20)]).unwrap();
            Encoder::new(tokenizer, 0)
        })
    }

    fn part(text: &str, scored: bool) -> Part {
        Part::text(text, scored)
    }

    proptest! {
        /// Every document's tokens decode back to its text, whatever is in it; the end token is at the end only.
        #[test]
        fn tokens_decode_to_their_text(
            text in prop_oneof!["\\PC{0,60}", "[ \\t\\r\\n0-9a-z'<|>é]{0,60}", any::<String>()],
            special in any::<bool>(),
        ) {
            let text = if special { format!("{text}{END_OF_TEXT}{text}") } else { text };
            let encoded = encoder().encode(&[part(&text, true)]).unwrap();
            let (end, tokens) = encoded.tokens.split_last().unwrap();
            prop_assert_eq!(*end, 0);
            prop_assert!(!tokens.contains(&0));
            prop_assert_eq!(encoder().tokenizer.decode(tokens, false).unwrap(), text.as_str());
            prop_assert_eq!(encoded.bytes, text.len() as u64);
        }

        /// The mask marks the scored parts' tokens and the end, and the bytes are those of the scored text alone.
        #[test]
        fn masks_follow_the_parts(prompt in "\\PC{1,20}", response in "\\PC{1,20}") {
            let parts = [part(&prompt, false), part(&response, true)];
            let encoded = encoder().encode(&parts).unwrap();
            prop_assert_eq!(encoded.tokens.len(), encoded.scored.len());
            let scored = encoded.tokens.iter().zip(&encoded.scored).filter(|pair| *pair.1);
            let scored: Vec<u32> = scored.map(|pair| *pair.0).collect();
            let (end, response_tokens) = scored.split_last().unwrap();
            prop_assert_eq!(*end, 0);
            prop_assert_eq!(
                encoder().tokenizer.decode(response_tokens, false).unwrap(),
                response.as_str()
            );
            prop_assert_eq!(encoded.bytes, response.len() as u64);
        }
    }

    /// Training twice on the same text gives the same tokenizer, byte for byte; digits stand alone.
    #[test]
    fn training_is_deterministic() {
        let texts = || {
            vec![
                "a rose is a rose is a rose 1234 1234 1234".repeat(9),
                "sub rosa ".repeat(7),
            ]
        };
        let first = train(300, texts()).unwrap();
        let second = train(300, texts()).unwrap();
        assert_eq!(
            first.to_string(false).unwrap(),
            second.to_string(false).unwrap()
        );
        assert_eq!(first.token_to_id(END_OF_TEXT), Some(0));
        assert_eq!(first.encode("1234", false).unwrap().len(), 4);
    }
}
