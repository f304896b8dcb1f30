//! Streaming decoder, which decodes one token at a time.

use tokenizers::Tokenizer;

/// Character that stands for bytes that are not valid UTF-8.
const REPLACEMENT: char = '\u{fffd}';

/// Decoder of tokens as they arrive. The concatenated pieces equal the text of decoding all tokens at once. The bytes
/// of an incomplete character are held back; if it is never completed, they become U+FFFD.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens of the stream (the window), which are still needed to decode the next token.
    window: Vec<u32>,
    /// Number of tokens in the window whose text was returned already.
    returned_tokens: usize,
    /// Text of the window that was already returned.
    returned: String,
    /// True if the tokenizer combines runs of byte tokens (`<0x0A>`) into characters.
    byte_fallback: bool,
}

impl<'a> TextStream<'a> {
    /// Creates a decoder of `tokenizer`'s tokens; special tokens give no text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).unwrap_or_default();
        let is_fallback = |decoder: &serde_json::Value| decoder["type"] == "ByteFallback";
        let inner = decoder["decoders"].as_array();
        Self {
            tokenizer,
            window: Vec::new(),
            returned_tokens: 0,
            returned: String::new(),
            byte_fallback: is_fallback(&decoder)
                || inner.is_some_and(|inner| inner.iter().any(is_fallback)),
        }
    }

    /// Takes the next token, and returns the text that no later token can change; often empty.
    pub fn push(&mut self, token: u32) -> String {
        self.window.push(token);
        // The characters of a run of byte tokens are known when the run ends. Special tokens within it give no text.
        if self.byte_fallback && (self.is_byte(token) || self.is_silent(token)) {
            return String::new();
        }
        let text = self.decode();
        // An incomplete character may be completed by the next token.
        let certain = text.strip_suffix(REPLACEMENT).unwrap_or(&text);
        let new = self.new_part(certain);
        if certain.len() == text.len() {
            self.returned = text;
            self.forget();
        } else {
            self.returned = certain.to_owned();
        }
        new
    }

    /// Drops tokens of the window that are not needed to decode the next token. Keeps the last tokens that have text,
    /// since decoders treat the first token of a text differently.
    fn forget(&mut self) {
        let later = self.window.split_off(self.returned_tokens);
        let earlier = std::mem::replace(&mut self.window, later);
        let text = self.decode();
        if text.is_empty() {
            self.window.splice(..0, earlier).for_each(drop);
        } else {
            self.returned = text;
            self.returned_tokens = self.window.len();
        }
    }

    /// Ends the stream and returns the held-back text.
    pub fn finish(self) -> String {
        self.rest()
    }

    /// Returns the held-back text, decoded as if the stream ended here.
    pub fn rest(&self) -> String {
        self.new_part(&self.decode())
    }

    /// Returns the part of the window's text that was not returned yet.
    fn new_part(&self, text: &str) -> String {
        let common = self.returned.chars().zip(text.chars());
        let same = common.take_while(|(returned, now)| returned == now);
        let length = same.map(|(returned, _)| returned.len_utf8()).sum::<usize>();
        text[length..].to_owned()
    }

    fn decode(&self) -> String {
        // If the decoder fails, these tokens have no text.
        let decoded = self.tokenizer.decode(&self.window, true);
        decoded.unwrap_or_else(|_| REPLACEMENT.to_string())
    }

    fn is_silent(&self, token: u32) -> bool {
        let name = self.tokenizer.id_to_token(token).unwrap_or_default();
        self.tokenizer
            .get_added_vocabulary()
            .is_special_token(&name)
    }

    fn is_byte(&self, token: u32) -> bool {
        let name = self.tokenizer.id_to_token(token).unwrap_or_default();
        let digits = name
            .strip_prefix("<0x")
            .and_then(|name| name.strip_suffix('>'));
        digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Creates a tokenizer with bytes as tokens 0 to 255, then words, then a special end token.
    fn tokenizer(decoder: serde_json::Value, bytes: impl Fn(u8) -> String) -> Tokenizer {
        let words = ["▁a", "▁", "bb", "éé", "▁中", "Ġx", ".."];
        let names = (0..=255).map(bytes).chain(words.map(String::from));
        let vocab: serde_json::Map<String, serde_json::Value> =
            names.zip(0..).map(|(name, id)| (name, json!(id))).collect();
        let end = json!({
            "id": vocab.len(), "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "vocab": vocab, "merges": []
            }
        });
        json.to_string().parse().unwrap()
    }

    fn fallback() -> Tokenizer {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]});
        tokenizer(decoder, |byte| format!("<0x{byte:02X}>"))
    }

    fn metaspace() -> Tokenizer {
        let decoder = json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true
        });
        tokenizer(decoder, |byte| format!("<0x{byte:02X}>"))
    }

    fn byte_level() -> Tokenizer {
        let decoder = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
        });
        let letter = |byte: u8| {
            let code = u32::from(byte);
            let letter = match byte {
                0..=32 => 0x100 + code,
                127..=160 => 0x100 + 33 + code - 127,
                173 => 0x100 + 33 + 34,
                _ => code,
            };
            char::from_u32(letter).unwrap().to_string()
        };
        tokenizer(decoder, letter)
    }

    /// Checks that, for any tokens, the concatenated pieces equal the text of all tokens.
    #[test]
    fn pieces_concatenate_to_the_whole_text() {
        for tokenizer in [fallback(), metaspace(), byte_level()] {
            let mut state = 1_u64;
            for _ in 0..400 {
                let mut draw = |below: u64| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    ((state >> 33) % below) as u32
                };
                // Random tokens that often contain the bytes of one character together, complete or cut.
                let tokens: Vec<u32> = (0..draw(12) + 1)
                    .flat_map(|_| match draw(4) {
                        0 => vec![draw(264)],
                        1 => "中".bytes().map(u32::from).take(draw(4) as usize).collect(),
                        2 => vec![0xff, 0xe4],
                        _ => vec![256 + draw(8)],
                    })
                    .collect();
                let mut stream = TextStream::new(&tokenizer);
                let mut text: String = tokens.iter().map(|token| stream.push(*token)).collect();
                text += &stream.finish();
                assert_eq!(text, tokenizer.decode(&tokens, true).unwrap(), "{tokens:?}");
            }
        }
    }

    /// Checks that characters are returned as soon as they are complete, and that spaces are kept.
    #[test]
    fn text_is_returned_as_soon_as_it_is_certain() {
        let tokenizer = byte_level();
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = [0x61, 0xe4, 0xb8, 0xad, 0xff, 0x62]
            .map(|token| stream.push(token))
            .into();
        assert_eq!(pieces, ["a", "", "", "中", "", "\u{fffd}b"]);
        let tokenizer = fallback();
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = [256, 0xe4, 0xb8, 0xad, 256]
            .map(|token| stream.push(token))
            .into();
        assert_eq!(pieces, ["a", "", "", "", "中 a"]);
    }
}
