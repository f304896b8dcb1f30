//! Special tokens in text: recognized where a chat template writes them, plain text where a message contains the same
//! characters.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::{AddedToken, ModelWrapper, NormalizedString, Normalizer, Tokenizer};

/// Marks around a number that replaces a special token. They are Unicode noncharacters, which no text contains.
const BEGIN: char = '\u{fdd0}';
const END: char = '\u{fdd1}';
const FIRST_NUMBER: u32 = 0xf_0000;

/// The special tokens of a tokenizer.
pub(crate) struct SpecialTokens {
    /// Special tokens by their first byte, the longest first.
    by_first: HashMap<u8, Vec<(String, u32)>>,
    /// True if each token matches exactly its own characters: none absorbs white space or matches at word ends only.
    pub(crate) are_plain: bool,
}

impl SpecialTokens {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let mut by_first: HashMap<u8, Vec<(String, u32)>> = HashMap::new();
        let mut are_plain = true;
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            let Some(&first) = token.content.as_bytes().first().filter(|_| token.special) else {
                continue;
            };
            are_plain &= !(token.lstrip || token.rstrip || token.single_word);
            by_first.entry(first).or_default().push((token.content, id));
        }
        for tokens in by_first.values_mut() {
            tokens.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
        }
        Self {
            by_first,
            are_plain,
        }
    }

    /// Returns the longest special token that begins at byte `at`, as its length and its ID.
    fn at(&self, text: &str, at: usize) -> Option<(usize, u32)> {
        let here = &text.as_bytes()[at..];
        let tokens = self.by_first.get(here.first()?)?;
        let mut found = tokens
            .iter()
            .filter(|(token, _)| here.starts_with(token.as_bytes()));
        found.next().map(|(token, id)| (token.len(), *id))
    }

    /// Finds the special tokens in the byte range `stretch` of `text`, from left to right, preferring the longest
    /// match.
    pub(crate) fn find(&self, text: &str, stretch: std::ops::Range<usize>) -> Vec<SpecialToken> {
        let mut found = Vec::new();
        let mut at = stretch.start;
        while at < stretch.end {
            match self.at(&text[..stretch.end], at) {
                Some((length, id)) => {
                    found.push(SpecialToken {
                        id,
                        from: at,
                        to: at + length,
                    });
                    at += length;
                }
                None => at += 1,
            }
        }
        found
    }
}

/// Takes the names of the special tokens out of the vocabulary of a Unigram, WordLevel or WordPiece model, which looks
/// pieces of text up there: `</s>` in a text would otherwise be the token that ends a document. The tokens keep their
/// IDs, and a chat template still writes them. The unknown token keeps its name.
///
/// # Errors
/// Fails if the model can't be changed.
pub(crate) fn take_out_of_text(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let is_byte_pair = matches!(tokenizer.get_model(), ModelWrapper::BPE(_));
    if is_byte_pair {
        return Ok(());
    }
    let mut model = serde_json::to_value(tokenizer.get_model())?;
    let unknown = model["unk_token"].as_str().map(str::to_owned);
    let unknown_id = model["unk_id"].as_u64();
    let mut is_changed = false;
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let is_unknown = unknown.as_ref() == Some(&token.content) || unknown_id == Some(id.into());
        if !token.special || is_unknown {
            continue;
        }
        let hidden = format!("{BEGIN}{}{END}", token.content);
        match &mut model["vocab"] {
            // Pieces of a Unigram in the order of their IDs, each with its score.
            Value::Array(pieces) => {
                let piece = pieces.get_mut(id as usize).map(|piece| &mut piece[0]);
                if let Some(name) = piece.filter(|name| **name == token.content) {
                    *name = hidden.into();
                    is_changed = true;
                }
            }
            Value::Object(ids) => {
                if let Some(id) = ids.remove(&token.content) {
                    ids.insert(hidden, id);
                    is_changed = true;
                }
            }
            _ => {}
        }
    }
    if is_changed {
        tokenizer.with_model(serde_json::from_value::<ModelWrapper>(model)?);
    }
    Ok(())
}

/// A special token in a text, with its byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpecialToken {
    pub(crate) id: u32,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Tokenizer that recognizes special tokens only at given positions: there the text is replaced by private-use
/// characters.
pub(crate) struct Substituted {
    tokenizer: Tokenizer,
    /// IDs of the private tokens, each with the ID of the special token that it replaces.
    ids: HashMap<u32, u32>,
    /// Private-use characters by the ID of the special token that they replace.
    signs: HashMap<u32, String>,
}

impl Substituted {
    /// Creates the tokenizer from one that treats special tokens as plain text.
    ///
    /// # Errors
    /// Fails if the tokenizer library fails.
    pub(crate) fn new(tokenizer: &Tokenizer) -> tokenizers::Result<Self> {
        let mut tokenizer = tokenizer.clone();
        let special = tokenizer.get_added_tokens_decoder().into_iter();
        let mut special: Vec<(u32, AddedToken)> =
            special.filter(|(_, token)| token.special).collect();
        special.sort_by_key(|(id, _)| *id);
        let mut signs = HashMap::new();
        let mut private = Vec::new();
        for ((id, mut token), number) in special.into_iter().zip(FIRST_NUMBER..) {
            let number = char::from_u32(number).unwrap_or(END);
            token.content = format!("{BEGIN}{number}{END}");
            token.special = false;
            // If the normalizer would remove the characters, the token must match before normalization.
            token.normalized &= survives(&tokenizer, &token.content)?;
            signs.insert(id, token.content.clone());
            private.push((id, token));
        }
        tokenizer.add_tokens(private.iter().map(|(_, token)| token.clone()))?;
        let ids = private
            .into_iter()
            .filter_map(|(id, token)| Some((tokenizer.token_to_id(&token.content)?, id)))
            .collect();
        Ok(Self {
            tokenizer,
            ids,
            signs,
        })
    }

    /// Returns the tokens of `text`, each with its byte range. Only the special tokens in `meant` are recognized.
    ///
    /// # Errors
    /// Fails if the tokenizer library fails.
    pub(crate) fn encode(
        &self,
        text: &str,
        meant: &[SpecialToken],
    ) -> tokenizers::Result<Vec<SpecialToken>> {
        let mut changed = String::with_capacity(text.len());
        // For each replacement: its end in the changed text, and the end of its special token in the original text.
        let mut ends = Vec::with_capacity(meant.len());
        let mut at = 0;
        for token in meant {
            changed.push_str(&text[at..token.from]);
            changed.push_str(&self.signs[&token.id]);
            at = token.to;
            ends.push((changed.len(), token.to));
        }
        changed.push_str(&text[at..]);
        let place = |changed_at: usize| {
            let before = ends.partition_point(|(end, _)| *end <= changed_at);
            let (end, original) = before.checked_sub(1).map_or((0, 0), |last| ends[last]);
            let next = meant.get(before).map_or(text.len(), |next| next.from);
            // A position within the replacement characters is clamped to the special token.
            (original + (changed_at - end)).min(next)
        };
        let encoding = self.tokenizer.encode(changed.as_str(), false)?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(tokens
            .map(|(id, (from, to))| SpecialToken {
                id: self.ids.get(id).copied().unwrap_or(*id),
                from: place(*from),
                to: place(*to),
            })
            .collect())
    }
}

/// Returns true if the tokenizer's normalizer keeps `signs` in a text.
fn survives(tokenizer: &Tokenizer, signs: &str) -> tokenizers::Result<bool> {
    let mut text = NormalizedString::from(signs);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut text)?;
    }
    Ok(text.get().contains(signs))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokenizer::training::train;

    /// Checks that exactly the given special tokens are recognized, with their byte ranges.
    #[test]
    fn special_tokens_are_found_only_if_meant() {
        let mut tokenizer = train(300, vec!["a rose is a rose ".repeat(9)]).unwrap();
        let special = ["<|a|>", "<|a|>b"].map(|token| AddedToken::from(token, true));
        tokenizer.add_special_tokens(special).unwrap();
        let [short, long] = ["<|a|>", "<|a|>b"].map(|token| tokenizer.token_to_id(token).unwrap());
        let special = SpecialTokens::of(&tokenizer);
        let text = "<|a|>é<|a|>b <|a|>";
        let found = special.find(text, 0..text.len());
        let ids: Vec<u32> = found.iter().map(|token| token.id).collect();
        assert_eq!(ids, [short, long, short]);
        assert!(special.are_plain);
        tokenizer.set_encode_special_tokens(true);
        let substituted = Substituted::new(&tokenizer).unwrap();
        let tokens = substituted.encode(text, &found[1..2]).unwrap();
        let at = tokens.iter().position(|token| token.id == long).unwrap();
        assert_eq!(tokens[at], found[1]);
        assert_eq!(
            tokens
                .iter()
                .filter(|token| [short, long].contains(&token.id))
                .count(),
            1
        );
        let spelled: String = tokens[..at]
            .iter()
            .map(|token| &text[token.from..token.to])
            .collect();
        assert!(spelled.starts_with("<|a|>é"), "{spelled}");
        assert_eq!(&text[tokens[at + 1].from..tokens[at + 1].to], " ");
        assert_eq!(tokens.last().unwrap().to, text.len());
    }

    /// Checks for each kind of model that text with the name of a special token does not become that token, and that
    /// the other tokens keep their IDs.
    #[test]
    fn names_in_text_are_not_special_tokens() {
        let pieces = ["<unk>", "</s>", "▁a", "<", "/", "s", ">", "a"];
        let scored: Vec<_> = (0..)
            .zip(pieces)
            .map(|(rank, piece)| (piece, -rank))
            .collect();
        let ids: HashMap<_, _> = pieces.into_iter().zip(0..).collect();
        for model in [
            json!({"type": "Unigram", "unk_id": 0, "vocab": scored, "byte_fallback": false}),
            json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": ids}),
            json!({"type": "WordPiece", "unk_token": "<unk>", "vocab": ids, "continuing_subword_prefix": "",
                   "max_input_chars_per_word": 100}),
        ] {
            let special = json!({"id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                                 "normalized": false, "special": true});
            let text = json!({"version": "1.0", "added_tokens": [special], "model": model});
            let mut tokenizer: Tokenizer = text.to_string().parse().unwrap();
            tokenizer.set_encode_special_tokens(true);
            let ids = |tokenizer: &Tokenizer, text: &str| {
                tokenizer.encode(text, false).unwrap().get_ids().to_vec()
            };
            let plain = ids(&tokenizer, "a");
            assert_eq!(ids(&tokenizer, "</s>"), [1], "{model}");
            take_out_of_text(&mut tokenizer).unwrap();
            assert!(!ids(&tokenizer, "</s>").contains(&1), "{model}");
            assert_eq!(ids(&tokenizer, "a"), plain, "{model}");
            tokenizer.set_encode_special_tokens(false);
            assert_eq!(ids(&tokenizer, "</s>"), [1], "{model}");
        }
    }
}
