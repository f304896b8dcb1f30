//! How text is cut into words before merges: what a `tokenizer.json` says, and which name llama.cpp has for it.

use serde_json::{Value, json};

/// Llama 3's expression.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen2's.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The beginning of both, and another way to write it.
const CONTRACTIONS: [&str; 2] = [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// GPT-2's expression, which the byte-level step has in it.
    Words,
    /// The same, after every digit was set apart.
    LoneDigits,
    Expression(&'static str),
}

/// A way to cut text that both programs have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// llama.cpp's names; the first is written.
    names: &'static [&'static str],
    cut: Cut,
    /// Whether a word that is a token is taken whole, whatever the merges say: in llama.cpp, the name decides this too.
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
    /// By llama.cpp's name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.names.contains(&name))
    }

    /// All names, for sentences.
    pub fn all_names() -> String {
        let names: Vec<&str> = KNOWN
            .iter()
            .flat_map(|known| known.names)
            .copied()
            .collect();
        format!("`{}`", names.join("`, `"))
    }

    /// The one that a tokenizer's `pre_tokenizer`, as the tokenizer library writes it, and its model's `ignore_merges` say.
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

    /// Whether text begins with a special token, where in llama.cpp the name decides that too.
    pub fn begins(&self) -> Option<bool> {
        (self.name() == "llama-bpe").then_some(true)
    }

    /// Whether the tokenizers that have this way of cutting compose characters (NFC) before it, which no GGUF tells.
    pub fn usually_composes(&self) -> bool {
        self.cut == Cut::Expression(QWEN2)
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
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
    // These expressions leave nothing of a text out, so that what they match and what they cut off are the same.
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

    /// What is written is known again, under each of its names.
    #[test]
    fn round_trip() {
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

    /// What cuts otherwise has no name.
    #[test]
    fn others_are_not_known() {
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

    /// The contractions of llama.cpp's own way of writing, and a split that removes what is not matched.
    #[test]
    fn other_spellings() {
        let mut value = PreTokenizer::named("llama-bpe").unwrap().to_json();
        let split = &mut value["pretokenizers"][0];
        split["pattern"]["Regex"] = LLAMA3.replace(CONTRACTIONS[0], CONTRACTIONS[1]).into();
        split["behavior"] = "Removed".into();
        split["invert"] = true.into();
        assert_eq!(PreTokenizer::of(&value, true).unwrap().name(), "llama-bpe");
        assert_eq!(PreTokenizer::of(&value, false).unwrap().name(), "smaug-bpe");
    }
}
