//! Tokenizers for model folders: byte-level ones with different pre-tokenizers, and a SentencePiece-style one.

use std::path::Path;

use polymath_model::TokenizerFiles;
use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Text of many kinds, which different tokenizers split differently.
pub const ODD: &str = "It's 2024, they'LL say: naïve façades cost 1234567.89 €!\n\n\tfor (int i = 0; i<10; ++i) {}   \r\n  \
                       中文和日本語テキスト 🙂👩‍👩‍👧 Ünïcödé e\u{301} \u{2003}x  end <|endoftext|> <tool> ١٢٣ ½ ";

/// Returns the pre-tokenizer of this name, and true if a word that is a token is taken whole, without applying merges.
pub fn cut(name: &str) -> (Value, bool) {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let after = |first: Value, use_regex| json!({"type": "Sequence", "pretokenizers": [first, bytes(use_regex)]});
    let split = |digits: &str| {
        let expression = format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\
             \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        );
        let split = json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
        after(split, false)
    };
    match name {
        "gpt-2" => (bytes(true), false),
        "smollm" => (
            after(json!({"type": "Digits", "individual_digits": true}), true),
            false,
        ),
        "llama-bpe" => (split("\\p{N}{1,3}"), true),
        "smaug-bpe" => (split("\\p{N}{1,3}"), false),
        "qwen2" => (split("\\p{N}"), false),
        other => panic!("{other}"),
    }
}

/// Trains a tokenizer of 340 tokens on the text above: a special token at each end, and a user-defined one.
pub fn tokenizer(name: &str) -> Tokenizer {
    if name == "pieces" {
        return over_pieces();
    }
    let (pre_tokenizer, ignore_merges) = cut(name);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(
        serde_json::from_value::<tokenizers::PreTokenizerWrapper>(pre_tokenizer).unwrap(),
    ));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(338)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let texts = std::iter::repeat_n(ODD.to_owned(), 3);
    tokenizer.train(&mut trainer, texts).unwrap();
    tokenizer
        .add_special_tokens([AddedToken::from("<|im_end|>", true)])
        .unwrap();
    tokenizer
        .add_tokens([AddedToken::from("<tool>", false).normalized(false)])
        .unwrap();
    let mut json = serde_json::to_value(&tokenizer).unwrap();
    json["model"]["ignore_merges"] = ignore_merges.into();
    serde_json::from_value(json).unwrap()
}

/// Writes the tokenizer as `tokenizer.json`.
pub fn write_tokenizer(folder: &Path, tokenizer: &Tokenizer) -> TokenizerFiles {
    let path = folder.join("tokenizer.json");
    tokenizer.save(&path, false).unwrap();
    TokenizerFiles::read(&path).unwrap()
}

/// Creates a SentencePiece-style tokenizer of the text above, with every merge that SentencePiece would make, and
/// with bytes for some characters.
fn over_pieces() -> Tokenizer {
    let text: Vec<char> = format!("▁{}", ODD.replace(' ', "▁")).chars().collect();
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
    let mut tokens: Vec<String> = special.iter().cloned().chain(bytes).collect();
    let first_piece = tokens.len();
    for length in [2, 4, 3, 1] {
        for piece in text.windows(length).step_by(length.min(2)) {
            let piece: String = piece.iter().collect();
            let is_left_out = piece.contains(['½', '€', '\u{1F469}', '\n']);
            if !is_left_out && !tokens.contains(&piece) {
                tokens.push(piece);
            }
        }
    }
    let pieces = &tokens[first_piece..];
    let merges = pieces.iter().flat_map(|piece| {
        let halves = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at));
        halves.filter(|(left, right)| {
            [left, right]
                .iter()
                .all(|half| pieces.iter().any(|known| known == *half))
        })
    });
    let merges: Vec<(&str, &str)> = merges.collect();
    let ids = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id.into()));
    let ids: serde_json::Map<String, Value> = ids.collect();
    let added = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": content != "<tool>"})
    };
    let mut all_added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, token)| added(id, token))
        .collect();
    all_added.push(added(tokens.len(), "<tool>"));
    let spaces = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let json = json!({
        "version": "1.0",
        "added_tokens": all_added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces(" ", "▁")]},
        "decoder": {"type": "Sequence", "decoders": [
            spaces("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": ids, "merges": merges},
    });
    serde_json::from_value(json).unwrap()
}
