//! Conversion of documents to stored tokens, on all cores.
//!
//! The whole text of a document is tokenized at once: a prompt together with its response, a conversation together
//! with the text of its template. So the tokens are the same as those that a model reads in use. The scored tokens
//! are found by their byte positions: a token across the boundary between a prompt and its response belongs to the
//! response.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use polymath_tokenizer::EndTokens;
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::preparation::marks::{Turn, marks, turns};
use crate::preparation::spool::{Entry, Spool, length};
use crate::sources::document::{Part, own_text};
use crate::tokenizer::special_tokens::{
    SpecialToken, SpecialTokens, Substituted, take_out_of_text,
};
use crate::tokenizer::words::Words;
use crate::{DataError, DocumentOrigin, Grouping, PreparationProgress, ShardWriter, SplitManifest};

/// Bytes of text per batch: enough to keep all cores busy, and little memory.
const BATCH_BYTES: u64 = 8 << 20;

/// A token and its byte range in the text.
pub(super) type Token = SpecialToken;

/// Converts documents to stored tokens.
pub(crate) struct Encoder {
    /// Tokenizer that treats the text of a special token as plain text.
    pub(super) tokenizer: Tokenizer,
    /// Tokenizer that recognizes special tokens, for the text that a chat template adds.
    pub(super) with_special_tokens: Tokenizer,
    /// Tokenizer for conversations whose messages contain the text of a special token.
    pub(super) substituted: OnceLock<tokenizers::Result<Substituted>>,
    pub(super) special: SpecialTokens,
    pub(super) words: Option<Words>,
    pub(super) vocab_size: usize,
    pub(super) begin: u32,
    pub(super) end: u32,
    /// Maximum tokens of a conversation.
    pub(super) longest: Option<usize>,
}

/// Documents of one split of a domain, with the groups to store for them.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// Documents of the split.
    pub(crate) spool: &'a Spool,
    /// Kind of the domain's groups.
    pub(crate) grouping: &'a Grouping,
    /// Groups to join because of near-duplicates; maps each group to the group that replaces it.
    pub(crate) joined: &'a HashMap<u64, u64>,
}

impl Side<'_> {
    fn origin(&self, entry: &Entry) -> DocumentOrigin {
        let origin = entry.tag.origin;
        let group = self.joined.get(&origin.group).copied();
        DocumentOrigin {
            group: group.unwrap_or(origin.group),
            ..origin
        }
    }
}

/// A document as tokens, with its loss mask.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) tokens: Vec<u32>,
    /// Loss mask: true for each token that is scored. Empty if all are.
    pub(crate) scored: Vec<bool>,
    /// True if the last token was appended and is not part of the text.
    pub(crate) end_added: bool,
    bytes: u64,
    /// Number of assistant turns that were cut off because the conversation is too long.
    turns_dropped: u64,
    /// Tokens that end the assistant's turns.
    turn_ends: BTreeSet<u32>,
}

impl Encoder {
    /// Creates an encoder for documents that begin with token `begin` and end with token `end`.
    ///
    /// # Errors
    /// Fails if the names of special tokens can't be taken out of the tokenizer's vocabulary.
    pub(crate) fn new(mut tokenizer: Tokenizer, ends: EndTokens) -> Result<Self, DataError> {
        // Special tokens in a document's text are plain text: a document must not end early.
        tokenizer.set_encode_special_tokens(true);
        take_out_of_text(&mut tokenizer)
            .map_err(|error| DataError::Tokenizer(error.to_string()))?;
        // Without a post-processor, nothing is added to the text and byte positions are not trimmed.
        tokenizer.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let mut with_special_tokens = tokenizer.clone();
        with_special_tokens.set_encode_special_tokens(false);
        let ids = tokenizer.get_vocab(true).into_values();
        let special = SpecialTokens::of(&tokenizer);
        Ok(Encoder {
            with_special_tokens,
            substituted: OnceLock::new(),
            longest: None,
            vocab_size: ids.max().map_or(0, |id| id as usize + 1),
            words: Words::of(&tokenizer).filter(|_| special.are_plain),
            special,
            tokenizer,
            begin: ends.begin,
            end: ends.end,
        })
    }

    /// Sets the maximum tokens of a conversation. Longer ones are cut after the last turn that fits.
    pub(crate) fn set_longest_conversation(&mut self, tokens: Option<usize>) {
        self.longest = tokens;
    }

    /// Returns the highest token ID plus one.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Tokenizes a split and writes its shard to `path`. Calls `look` with each document's text, from many threads.
    ///
    /// # Errors
    /// Fails if the shard can't be written (for example, because the disk is full), or if the tokenizer fails.
    pub(crate) fn write(
        &self,
        path: &Path,
        side: Side<'_>,
        look: &(dyn Fn(&str) + Sync),
        progress: &dyn PreparationProgress,
    ) -> Result<SplitManifest, DataError> {
        let writer = ShardWriter::create(path, self.vocab_size)?;
        let mut writer = writer.with_groups(side.grouping.clone())?;
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let (mut turns_dropped, mut dropped) = (0, 0);
        let mut turn_ends = BTreeSet::new();
        let mut flush = |batch: &mut Vec<Entry>, bytes: &mut u64| -> Result<(), DataError> {
            let encoded = batch.par_iter().map(|entry| {
                look(&own_text(&entry.parts));
                self.encode(&entry.parts)
            });
            let encoded = encoded.collect::<Result<Vec<Encoded>, DataError>>()?;
            for (entry, document) in batch.iter().zip(encoded) {
                turns_dropped += document.turns_dropped;
                turn_ends.extend(document.turn_ends);
                if document.tokens.is_empty() {
                    dropped += 1;
                } else {
                    let origin = side.origin(entry);
                    let (tokens, scored) = (&document.tokens, &document.scored);
                    writer.push_from(origin, tokens, scored, document.bytes)?;
                }
            }
            progress.advance(*bytes);
            batch.clear();
            *bytes = 0;
            Ok(())
        };
        side.spool.read_kept(&mut |entry| {
            bytes += length(&entry.parts);
            batch.push(entry);
            if bytes >= BATCH_BYTES {
                flush(&mut batch, &mut bytes)?;
            }
            Ok(true)
        })?;
        flush(&mut batch, &mut bytes)?;
        Ok(SplitManifest {
            turns_dropped,
            conversations_dropped: dropped,
            turn_end_token_ids: turn_ends.into_iter().collect(),
            ..writer.finish()?
        })
    }

    /// Returns the tokens of a document, including its end token.
    ///
    /// # Errors
    /// Fails if the tokenizer library fails.
    pub(crate) fn encode(&self, parts: &[Part]) -> Result<Encoded, DataError> {
        let mut tokens = self.tokenize(parts)?;
        let is_conversation = parts.iter().any(|part| part.from_template);
        let is_masked = parts.iter().any(|part| !part.scored);
        let turns = turns(parts);
        let mut document = Encoded::default();
        let mut kept = turns.last();
        if is_conversation {
            self.without_ends(parts, &mut tokens);
            document.turn_ends = self.turn_ends(parts);
            if let Some(longest) = self.longest.filter(|longest| tokens.len() >= *longest) {
                let upto = |turn: &Turn| tokens.partition_point(|token| token.from < turn.end);
                kept = turns.iter().rev().find(|turn| upto(turn) < longest);
                let length = kept.map_or(0, upto);
                tokens.truncate(length);
            }
        }
        let all = turns.last().map_or(0, |turn| turn.turns);
        document.turns_dropped = all - kept.map_or(0, |turn| turn.turns);
        document.bytes = kept.map_or(0, |turn| turn.bytes);
        if is_masked {
            document.scored = marks(&tokens, parts);
        }
        document.tokens = tokens.iter().map(|token| token.id).collect();
        let last = document.tokens.last();
        if is_conversation && (last.is_none() || last == Some(&self.end)) {
            // Either no turn fits, or the template has already ended the document with the end token.
            return Ok(document);
        }
        // After a conversation's last turn, the end token is scored only if the template did not end the turn.
        let open = document.scored.last() == Some(&true) && !self.is_turn_end(last, parts);
        document.tokens.push(self.end);
        document.end_added = true;
        if is_masked {
            document.scored.push(!is_conversation || open);
        }
        Ok(document)
    }

    /// Removes the begin token, which readers of the shard add to each document themselves, and white space after the
    /// last turn.
    fn without_ends(&self, parts: &[Part], tokens: &mut Vec<Token>) {
        if parts.first().is_some_and(|part| part.from_template)
            && tokens.first().is_some_and(|token| token.id == self.begin)
        {
            tokens.remove(0);
        }
        if let Some(last) = parts.last().filter(|part| part.from_template) {
            let blank = last.text.len() - last.text.trim_end().len();
            let end = length(parts) as usize - blank;
            while tokens
                .last()
                .is_some_and(|token| blank > 0 && token.from >= end)
            {
                tokens.pop();
            }
        }
    }

    /// Returns the added tokens with which the template ends scored messages.
    fn turn_ends(&self, parts: &[Part]) -> BTreeSet<u32> {
        let added = self.tokenizer.get_added_vocabulary().get_vocab();
        let pairs = parts
            .windows(2)
            .filter(|pair| pair[0].scored && !pair[0].from_template && pair[1].from_template);
        pairs
            .filter_map(|pair| added.get(pair[1].text.trim()).copied())
            .collect()
    }

    fn is_turn_end(&self, token: Option<&u32>, parts: &[Part]) -> bool {
        token.is_some_and(|token| self.turn_ends(parts).contains(token))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::training::{END_OF_TEXT, train};

    fn encoder() -> &'static Encoder {
        static ENCODER: OnceLock<Encoder> = OnceLock::new();
        ENCODER.get_or_init(|| {
            let text = "In 1887 the quick brown fox, naïve as ever, jumped over 13 lazy dogs.\n\n";
            let tokenizer = train(400, vec![text.repeat(20)]).unwrap();
            Encoder::new(tokenizer, EndTokens { begin: 0, end: 0 }).unwrap()
        })
    }

    fn part(text: &str, scored: bool) -> Part {
        Part::text(text, scored)
    }

    proptest! {
        /// Checks that the tokens of any document decode back to its text, and that the end token is at the end only.
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

        /// Checks that a prompt and its response have the tokens of the whole text. A token is scored if it overlaps
        /// the response, and only the bytes of the response are counted.
        #[test]
        fn masks_follow_the_parts(prompt in "\\PC{1,20}|[a-d :]{1,20}", response in "\\PC{1,20}|[a-d :]{1,20}") {
            let parts = [part(&prompt, false), part(&response, true)];
            let encoded = encoder().encode(&parts).unwrap();
            let whole = encoder().encode(&[part(&format!("{prompt}{response}"), true)]).unwrap();
            prop_assert_eq!(&encoded.tokens, &whole.tokens);
            prop_assert_eq!(encoded.tokens.len(), encoded.scored.len());
            prop_assert_eq!(encoded.bytes, response.len() as u64);
            let token_bytes = crate::TokenBytes::of(&encoder().tokenizer);
            let mut end = 0;
            for (token, scored) in encoded.tokens.iter().zip(&encoded.scored) {
                end += token_bytes.bytes(*token).len();
                prop_assert_eq!(*scored, *token == 0 || end > prompt.len());
            }
        }

        /// Checks that [`Words`], which looks words up in a table, gives the same tokens and positions as the
        /// tokenizer library, also between special tokens.
        #[test]
        fn conversations_have_the_librarys_tokens(said in "[a-d <|>é]{0,12}|<\\|endoftext\\|>|\\PC{0,8}") {
            let parts = [
                Part::template("x <|endoftext|>user\n", false).unwrap(),
                part(&said, false),
                Part::template("<|endoftext|> \n", true).unwrap(),
                part("a rose", true),
                Part::template("<|endoftext|>.", false).unwrap(),
            ];
            let mut library = Encoder::new(encoder().tokenizer.clone(), EndTokens { begin: 0, end: 0 }).unwrap();
            library.words = None;
            let places = |encoder: &Encoder| encoder.tokenize(&parts).unwrap();
            let (fast, slow) = (places(encoder()), places(&library));
            let ids = |tokens: &[Token]| tokens.iter().map(|token| token.id).collect::<Vec<u32>>();
            prop_assert_eq!(ids(&fast), ids(&slow));
            prop_assert_eq!(ids(&fast).iter().filter(|id| **id == 0).count(), 3);
            prop_assert_eq!(marks(&fast, &parts), marks(&slow, &parts));
        }
    }

    /// Checks that spaces at the end of a prompt or at the beginning of the response give the same tokens, and that
    /// the token across the boundary is scored.
    #[test]
    fn a_token_over_the_boundary_is_learned() {
        let encode = |prompt: &str, response: &str| {
            let parts = [part(prompt, false), part(response, true)];
            let encoded = encoder().encode(&parts).unwrap();
            (encoded.tokens, encoded.scored)
        };
        let (tokens, scored) = encode("the quick brown ", "fox");
        assert_eq!(
            encode("the quick brown", " fox"),
            (tokens.clone(), scored.clone())
        );
        let fox = encoder().tokenizer.token_to_id("Ġfox").unwrap();
        let at = tokens.iter().position(|token| *token == fox).unwrap();
        assert_eq!(
            scored,
            (0..tokens.len())
                .map(|token| token >= at)
                .collect::<Vec<bool>>()
        );
    }

    /// Checks that training twice on the same text gives the same tokenizer, byte for byte, and that each digit is a
    /// token of its own.
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
