//! Tests of the vocabulary in GGUF files: scores, merges and begin tokens.

use super::*;

/// Checks that joining the adjacent pieces with the best score, as llama.cpp does with the file's keys alone, gives
/// the same tokens of unusual text, with or without a space before it.
#[test]
fn scores_are_equivalent_to_merges() {
    for (begins, scheme) in [(true, "always"), (false, "never")] {
        let mut json = serde_json::to_value(tokenizer("pieces")).unwrap();
        json["normalizer"] = serde_json::Value::Null;
        json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        let place = tempfile::tempdir().unwrap();
        write(
            place.path(),
            &over_pieces(),
            &serde_json::from_value(json).unwrap(),
        );
        let file = place.path().join("model.gguf");
        let notes = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let found = content(&file).metadata;
        assert_eq!(found["tokenizer.ggml.model"].to_string().unwrap(), "llama");
        assert_eq!(
            found["tokenizer.ggml.add_space_prefix"].to_bool().unwrap(),
            begins
        );
        let list = |key: &str| found[key].to_vec().unwrap();
        let kinds = list("tokenizer.ggml.token_type");
        let kinds: Vec<i32> = kinds.iter().map(|kind| kind.to_i32().unwrap()).collect();
        // The unknown token, two special ones, then bytes; at the end a user-defined one and three fillers.
        assert_eq!(kinds[..4], [2, 3, 3, 6]);
        assert_eq!(kinds[258..260], [6, 1]);
        assert_eq!(kinds[kinds.len() - 5..], [1, 4, 5, 5, 5]);
        let tokens = list("tokenizer.ggml.tokens");
        let tokens = tokens
            .iter()
            .map(|token| token.to_string().unwrap().as_str());
        let ids_of: BTreeMap<&str, usize> =
            tokens.enumerate().map(|(id, token)| (token, id)).collect();
        let scores = list("tokenizer.ggml.scores");
        let scores: Vec<f32> = scores.iter().map(|score| score.to_f32().unwrap()).collect();
        let text = ODD.split("<tool>").next().unwrap();
        let expected = ids(place.path(), text, true);
        assert_eq!(joined_by_score(text, begins, &ids_of, &scores), expected);
        assert!(expected.iter().any(|id| (3..259).contains(id)), "bytes");
    }
}

/// Tokenizes as llama.cpp's documentation describes its SentencePiece tokenizer: by highest score, the first one of
/// equals.
fn joined_by_score(
    text: &str,
    begins_with_space: bool,
    ids: &BTreeMap<&str, usize>,
    scores: &[f32],
) -> Vec<u32> {
    let spaced = format!("{}{text}", if begins_with_space { " " } else { "" }).replace(' ', "▁");
    let mut parts: Vec<String> = spaced.chars().map(String::from).collect();
    loop {
        let mut best: Option<(usize, f32)> = None;
        for at in 1..parts.len() {
            let both = format!("{}{}", parts[at - 1], parts[at]);
            let score = ids.get(&both[..]).map(|id| scores[*id]);
            if let Some(score) = score.filter(|score| best.is_none_or(|(_, most)| *score > most)) {
                best = Some((at, score));
            }
        }
        let Some((at, _)) = best else {
            break;
        };
        let right = parts.remove(at);
        parts[at - 1] += &right;
    }
    let tokens = parts.iter().flat_map(|part| match ids.get(&part[..]) {
        Some(id) => vec![*id as u32],
        None => part.bytes().map(|byte| 3 + u32::from(byte)).collect(),
    });
    tokens.collect()
}

/// Checks that text begins with the begin token unless a chat template writes its own beginning.
#[test]
fn text_begins_with_bos_unless_a_chat_template_does_it() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &llama(), &tokenizer("smollm"));
    std::fs::remove_file(place.path().join("tokenizer_config.json")).unwrap();
    for (template, begins) in [(None, true), (Some("{{ messages }}"), false)] {
        let file = place.path().join(format!("{begins}.gguf"));
        let options = GgufExport {
            chat_template: template,
            ..options(GgufType::F16)
        };
        export_gguf(place.path(), &file, &options).unwrap();
        let found = content(&file).metadata["tokenizer.ggml.add_bos_token"].to_bool();
        assert_eq!(found.unwrap(), begins);
    }
}
