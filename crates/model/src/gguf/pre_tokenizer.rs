//! Pre-tokenizers, which split text into words before the merges: their form in `tokenizer.json`, and their names in
//! llama.cpp.

use serde_json::{Value, json};

/// Regular expression with which Llama 3 splits text into words.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Regular expression with which Qwen2 splits text into words.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// First alternative of both expressions, and an equivalent form of it.
const CONTRACTIONS: [&str; 2] = [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Splits by GPT-2's expression, which the byte-level step includes.
    Words,
    /// Splits by GPT-2's expression after separating every digit.
    LoneDigits,
    Expression(&'static str),
}

/// Pre-tokenizer that both `tokenizer.json` and llama.cpp can describe.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Names of the pre-tokenizer in llama.cpp; the first one is written.
    names: &'static [&'static str],
    cut: Cut,
    /// True if a word that is a token is taken whole without applying merges. In llama.cpp, the name decides this
    /// too.
    ignore_merges: bool,
}

const KNOWN: [PreTokenizer; 5] = [
    PreTokenizer {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"],
        cut: Cut::Words,
        ignore_merges: false,
    },
    PreTokenizer {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        cut: Cut::LoneDigits,
        ignore_merges: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1"],
        cut: Cut::Expression(LLAMA3),
        ignore_merges: true,
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx"],
        cut: Cut::Expression(LLAMA3),
        ignore_merges: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan"],
        cut: Cut::Expression(QWEN2),
        ignore_merges: false,
    },
];

impl PreTokenizer {
    /// Returns the pre-tokenizer with this llama.cpp name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.names.contains(&name))
    }

    /// Returns the names of all known pre-tokenizers for an error message.
    pub fn all_names() -> String {
        let names: Vec<&str> = KNOWN
            .iter()
            .flat_map(|known| known.names)
            .copied()
            .collect();
        format!("`{}`", names.join("`, `"))
    }

    /// Returns the pre-tokenizer for the tokenizer library's `pre_tokenizer` and `ignore_merges`.
    pub fn of(pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static Self> {
        let cut = cut_of(pre_tokenizer)?;
        KNOWN
            .iter()
            .find(|known| known.cut == cut && known.ignore_merges == ignore_merges)
    }

    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    pub fn ignores_merges(&self) -> bool {
        self.ignore_merges
    }

    /// Returns true if text begins with the begin token. In llama.cpp the pre-tokenizer's name decides that; `None`
    /// if it does not.
    pub fn begins(&self) -> Option<bool> {
        (self.name() == "llama-bpe").then_some(true)
    }

    /// Returns true if tokenizers with this pre-tokenizer usually normalize to composed characters (NFC), which a
    /// GGUF file does not tell.
    pub fn usually_composes(&self) -> bool {
        self.cut == Cut::Expression(QWEN2)
    }

    /// Returns the `pre_tokenizer` of a `tokenizer.json`.
    pub fn to_json(&self) -> Value {
        let first = match self.cut {
            Cut::Words => return byte_level(true),
            Cut::LoneDigits => json!({"type": "Digits", "individual_digits": true}),
            Cut::Expression(expression) => json!({
                "type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false,
            }),
        };
        let second = byte_level(self.cut == Cut::LoneDigits);
        json!({"type": "Sequence", "pretokenizers": [first, second]})
    }
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn cut_of(value: &Value) -> Option<Cut> {
    let is_byte_level = |value: &Value, use_regex: bool| {
        value["type"] == "ByteLevel"
            && value["add_prefix_space"] == false
            && value["use_regex"] == use_regex
    };
    if is_byte_level(value, true) {
        return Some(Cut::Words);
    }
    let [first, second] = &value["pretokenizers"].as_array()?[..] else {
        return None;
    };
    if first["type"] == "Digits" && first["individual_digits"] == true {
        return is_byte_level(second, true).then_some(Cut::LoneDigits);
    }
    // These expressions match all of a text, so isolating the matches and isolating the gaps are equivalent.
    let isolates = first["behavior"] == "Isolated" && first["invert"] == false
        || first["behavior"] == "Removed" && first["invert"] == true;
    if first["type"] != "Split" || !isolates || !is_byte_level(second, false) {
        return None;
    }
    let expression = first["pattern"]["Regex"].as_str()?;
    let expression = expression.replace(CONTRACTIONS[1], CONTRACTIONS[0]);
    [LLAMA3, QWEN2]
        .into_iter()
        .find(|known| *known == expression)
        .map(Cut::Expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each pre-tokenizer that is written is recognized again, under each of its names.
    #[test]
    fn pre_tokenizers_survive_a_round_trip() {
        for known in &KNOWN {
            assert_eq!(
                PreTokenizer::of(&known.to_json(), known.ignore_merges),
                Some(known)
            );
            for name in known.names {
                assert_eq!(PreTokenizer::named(name), Some(known));
            }
        }
    }

    /// Checks that another pre-tokenizer has no name.
    #[test]
    fn other_pre_tokenizers_have_no_name() {
        let mut spaced = byte_level(true);
        spaced["add_prefix_space"] = true.into();
        let merged = PreTokenizer::of(&byte_level(true), true);
        let mut other = PreTokenizer::named("qwen2").unwrap().to_json();
        other["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|\s+".into();
        for found in [
            PreTokenizer::of(&spaced, false),
            merged,
            PreTokenizer::of(&other, false),
            PreTokenizer::of(&json!({"type": "WhitespaceSplit"}), false),
            PreTokenizer::of(&Value::Null, false),
        ] {
            assert_eq!(found, None);
        }
    }

    /// Checks the contractions in llama.cpp's own form, and a split that removes unmatched text.
    #[test]
    fn equivalent_expressions_are_recognized() {
        let mut value = PreTokenizer::named("llama-bpe").unwrap().to_json();
        let split = &mut value["pretokenizers"][0];
        split["pattern"]["Regex"] = LLAMA3.replace(CONTRACTIONS[0], CONTRACTIONS[1]).into();
        split["behavior"] = "Removed".into();
        split["invert"] = true.into();
        assert_eq!(PreTokenizer::of(&value, true).unwrap().name(), "llama-bpe");
        assert_eq!(PreTokenizer::of(&value, false).unwrap().name(), "smaug-bpe");
    }
}
