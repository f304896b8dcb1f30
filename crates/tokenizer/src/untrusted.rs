//! Validation of an untrusted `tokenizer.json`, which could exhaust the memory or make the tokenizer library panic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use polymath_input::catch_panic;
use serde_json::Value;
use tokenizers::Tokenizer;

/// Maximum token ID, since tables are indexed by ID. The largest known vocabularies have about 300,000 tokens.
const MOST_TOKENS: u32 = 1 << 24;
/// Maximum number of characters that a decoder removes from the end of a token, or that a pre-tokenizer takes as one
/// word.
const MOST_CHARACTERS: u64 = 1 << 16;
/// Maximum Base64 length of a normalizer's `precompiled_charsmap`, in bytes; usual ones have about 300 kB.
const LONGEST_CHARSMAP: usize = 16 << 20;

/// Loads a tokenizer after checking those properties of its file that the tokenizer library relies on without a check.
///
/// # Errors
/// Fails if the tokenizer is not valid or violates an assumption of the library; the error describes it.
pub(crate) fn load(json: &str) -> Result<Tokenizer, String> {
    // The library indexes its merges without validation. After a panic, everything that it has built is dropped, so
    // nothing incomplete is visible.
    let loaded = catch_panic(|| json.parse::<Tokenizer>());
    let tokenizer = loaded
        .ok_or("its parts contradict each other: the tokenizer library can't load it")?
        .map_err(|error| error.to_string())?;
    check_ids(&tokenizer)?;
    for (name, part) in [
        (
            "normalizer",
            serde_json::to_value(tokenizer.get_normalizer()),
        ),
        (
            "pre_tokenizer",
            serde_json::to_value(tokenizer.get_pre_tokenizer()),
        ),
        ("decoder", serde_json::to_value(tokenizer.get_decoder())),
    ] {
        let part = part.map_err(|error| format!("`{name}`: {error}"))?;
        check_part(&part, name == "decoder").map_err(|message| format!("`{name}`: {message}"))?;
    }
    probe(&tokenizer)?;
    Ok(tokenizer)
}

fn check_ids(tokenizer: &Tokenizer) -> Result<(), String> {
    let vocabulary = tokenizer.get_vocab(true);
    match vocabulary.iter().max_by_key(|(_, id)| **id) {
        Some((name, id)) if *id >= MOST_TOKENS => Err(format!(
            "its token `{}` has the id {id}: expected ids below {MOST_TOKENS}",
            name.escape_debug()
        )),
        _ => Ok(()),
    }
}

/// Checks a normalizer, pre-tokenizer or decoder of the file; for a sequence, each of its parts.
fn check_part(part: &Value, is_decoder: bool) -> Result<(), String> {
    for list in ["normalizers", "pretokenizers", "decoders"] {
        for inner in part[list].as_array().into_iter().flatten() {
            check_part(inner, is_decoder)?;
        }
    }
    let bound = |key: &str, least: u64| match part[key].as_u64() {
        Some(count) if !(least..=MOST_CHARACTERS).contains(&count) => Err(format!(
            "`{key}` is {count}: expected {least} to {MOST_CHARACTERS}"
        )),
        _ => Ok(()),
    };
    match part["type"].as_str() {
        Some("FixedLength") => bound("length", 1),
        // The library removes `stop` characters from a token without checking that it has that many.
        Some("Strip") if is_decoder => match part["stop"].as_u64() {
            None | Some(0) => bound("start", 0),
            Some(stop) => Err(format!(
                "a `Strip` with `stop` = {stop} is not supported: only `start` is"
            )),
        },
        Some("Precompiled") => {
            check_charsmap(part["precompiled_charsmap"].as_str().unwrap_or_default())
        }
        _ => Ok(()),
    }
}

/// Walks through the table of a SentencePiece normalizer as the library will do, and checks the indices, which the
/// library does not.
fn check_charsmap(base64: &str) -> Result<(), String> {
    let broken = |what: &str| format!("`precompiled_charsmap` is broken: {what}");
    if base64.len() > LONGEST_CHARSMAP {
        return Err(broken("it is longer than 16 MB"));
    }
    let bytes = STANDARD
        .decode(base64)
        .map_err(|_| broken("it is not Base64"))?;
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| broken("it has no table"))?;
    let length = u32::from_le_bytes(*length) as usize / 4;
    let (table, texts) = rest
        .split_at_checked(4 * length)
        .ok_or_else(|| broken("its table is cut off"))?;
    let units: Vec<usize> = table
        .as_chunks::<4>()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit) as usize)
        .collect();
    let texts = std::str::from_utf8(texts).map_err(|_| broken("its texts are not UTF-8"))?;
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let first = *units.first().ok_or_else(|| broken("its table is empty"))?;
    let outside = || broken("its table points outside of itself");
    let mut seen = vec![false; units.len()];
    let mut waiting = vec![offset(first)];
    while let Some(node) = waiting.pop() {
        for byte in 1..=255 {
            let unit = *units.get(node ^ byte).ok_or_else(outside)?;
            if unit & ((1 << 31) | 0xff) != byte {
                continue;
            }
            let next = node ^ byte ^ offset(unit);
            if (unit >> 8) & 1 == 1 {
                let leaf = *units.get(next).ok_or_else(outside)?;
                if !texts.is_char_boundary(leaf & ((1 << 31) - 1)) {
                    return Err(broken("it points between its texts"));
                }
            }
            match seen.get_mut(next) {
                Some(seen) if *seen => {}
                Some(seen) => {
                    *seen = true;
                    waiting.push(next);
                }
                None => return Err(outside()),
            }
        }
    }
    Ok(())
}

/// Tests a loaded tokenizer: encodes a text in many scripts, and decodes its tokens and the first and last IDs of the
/// vocabulary. Fails if the library panics.
fn probe(tokenizer: &Tokenizer) -> Result<(), String> {
    let text = "A rose,  is\tnaïve:\n\n它 🙂 'e\u{301}' 1887 ﬁ </s> \u{0}\u{feff}Ⅳ";
    catch_panic(|| {
        let ids = tokenizer
            .encode_fast(text, false)
            .map(|found| found.get_ids().to_vec());
        let mut ids = ids.unwrap_or_default();
        ids.extend(0..4);
        let _ = tokenizer.decode(&ids, false);
        for id in &ids {
            let _ = tokenizer.decode(&[*id], false);
        }
    })
    .ok_or_else(|| "the tokenizer library can't encode and decode with it".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]
            }
        });
        change(&mut tokenizer);
        load(&tokenizer.to_string()).err()
    }

    /// Creates a SentencePiece charsmap that replaces the byte `a` by the text `b`: its root leads by `a` to the leaf
    /// `leaf`.
    fn charsmap(leaf: u32, length: usize) -> String {
        let mut units = vec![0u32; length];
        units[0] = 256 << 10;
        let from = 256 ^ usize::from(b'a');
        units[from] = u32::from(b'a') | 1 << 8 | 1 << 10;
        units[from ^ 1] = 1 << 31 | leaf;
        let mut bytes = (4 * length as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(b"b\0");
        STANDARD.encode(bytes)
    }

    /// Checks that valid tokenizers are loaded.
    #[test]
    fn valid_tokenizers_are_loaded() {
        assert_eq!(refused(|_| ()), None);
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        assert_eq!(refused(|tokenizer| tokenizer["decoder"] = strip), None);
        let map = json!({"type": "Precompiled", "precompiled_charsmap": charsmap(0, 512)});
        assert_eq!(refused(|tokenizer| tokenizer["normalizer"] = map), None);
    }

    /// Checks that tokenizers that would later panic or exhaust the memory are refused, also if the part is in a
    /// sequence.
    #[test]
    fn broken_parts_are_refused_by_name() {
        let check = |said: &str, change: &dyn Fn(&mut Value)| {
            let message = refused(change).unwrap_or_default();
            assert!(message.contains(said), "{said}: {message}");
        };
        check("`rose` has the id 1000000000", &|tokenizer| {
            tokenizer["model"]["vocab"]["rose"] = 1_000_000_000.into();
        });
        check("contradict each other", &|tokenizer| {
            tokenizer["model"]["continuing_subword_prefix"] = "a long prefix".into();
        });
        let stop = json!({"type": "Strip", "content": " ", "start": 0, "stop": 3});
        check("`decoder`: a `Strip` with `stop` = 3", &|tokenizer| {
            tokenizer["decoder"] = json!({"type": "Sequence", "decoders": [stop]});
        });
        check("`pre_tokenizer`: `length` is 0", &|tokenizer| {
            tokenizer["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0});
        });
        for (map, said) in [
            (charsmap(9, 512), "between its texts"),
            (charsmap(0, 400), "points outside"),
            (STANDARD.encode([255, 0, 0, 0]), "cut off"),
            (STANDARD.encode([0; 4]), "its table is empty"),
        ] {
            let message = refused(|tokenizer| {
                tokenizer["normalizer"] =
                    json!({"type": "Precompiled", "precompiled_charsmap": map});
            });
            // For some of them, the library returns an error itself.
            let message = message.unwrap_or_default();
            let is_known = message.contains(said) || message.contains("contradict each other");
            assert!(is_known, "{said}: {message}");
        }
        check("expected", &|tokenizer| {
            tokenizer["model"] = json!({"type": "BPE", "vocab": 3})
        });
    }
}
