//! Tests of generated texts: their end tokens, and the cache.

use super::*;

/// Checks that a text ends at any end token of `config.json` and `generation_config.json`, and that a saved folder
/// keeps them.
#[test]
fn texts_end_at_any_end_token() {
    let folder = tempfile::tempdir().unwrap();
    let sampling = SamplingConfig {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 0,
    };
    let text = |config: ModelConfig| -> Vec<u32> {
        let model = model(config, Implementation::Fused);
        let text = Generation::new(&model, &[5, 17, 40], sampling).unwrap();
        text.take(24).map(Result::unwrap).collect()
    };
    let whole = text(config(2, true, false));
    let (first, last) = (whole[0], *whole.last().unwrap());
    let at = whole.iter().position(|token| *token == last).unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        config(2, true, false).to_json(),
    )
    .unwrap();
    let ends = format!("{{\"eos_token_id\": [0, {last}]}}");
    std::fs::write(folder.path().join("generation_config.json"), ends).unwrap();
    let read = polymath_model::load_config(folder.path()).unwrap();
    assert_eq!(read.other_eos_token_ids, [last]);
    assert_eq!(text(read.clone()), whole[..at]);
    let again = ModelConfig::from_json("config.json".as_ref(), &read.to_json()).unwrap();
    assert_eq!(again, read);
    let at_once = ModelConfig {
        other_eos_token_ids: vec![last, first],
        ..read
    };
    assert!(text(at_once).is_empty());
}

/// Checks that added end tokens are saved in both files that other programs read, and that a file that already names
/// them is not changed.
#[test]
fn added_end_tokens_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (base, tuned) = (folder.path().join("base"), folder.path().join("tuned"));
    for folder in [&base, &tuned] {
        std::fs::create_dir(folder).unwrap();
    }
    let written = r#"{"eos_token_id":[0,5],"temperature":Infinity}"#;
    let generation = |folder: &std::path::Path| folder.join("generation_config.json");
    std::fs::write(generation(&base), written).unwrap();
    let tokenizer = write_tokenizer(&base);
    let save = |ends: &[u32]| {
        let model = model(config(2, true, false), Implementation::Fused).with_ends(ends);
        polymath_model::save(&tuned, &model, &tokenizer).unwrap();
        std::fs::read_to_string(generation(&tuned)).unwrap()
    };
    assert_eq!(save(&[5]), written);
    let settings: serde_json::Value = serde_json::from_str(&save(&[7, 0])).unwrap();
    assert_eq!(settings["eos_token_id"], serde_json::json!([0, 7, 5]));
    let read = polymath_model::load_config(&tuned).unwrap();
    assert_eq!(read.other_eos_token_ids, [7, 5]);
    let text = std::fs::read_to_string(tuned.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["eos_token_id"], serde_json::json!([0, 7]));
}

/// Checks that greedy generation with the cache takes, at every step, the most likely token of the whole sequence's
/// logits.
#[test]
fn cached_generation_equals_uncached() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let model = model(config(2, true, false), implementation);
        let prompt = [5u32, 17, 40];
        let sampling = SamplingConfig {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed: 0,
        };
        let generated: Vec<u32> = Generation::new(&model, &prompt, sampling)
            .unwrap()
            .take(24)
            .map(Result::unwrap)
            .collect();
        let mut text = prompt.to_vec();
        for token in generated {
            let whole = Batch {
                targets: vec![IGNORED; text.len()],
                document_starts: vec![0; text.len()],
                input_ids: text.clone(),
                rows: 1,
                domains: vec![0; 1],
            };
            let logits = model.logits(&whole).unwrap().get(0).unwrap();
            let last = logits
                .get(text.len() - 1)
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let best = last.iter().copied().fold(f32::MIN, f32::max);
            assert!(last[token as usize] > best - 1e-4);
            text.push(token);
        }
        assert!(text.len() > 4, "the model stopped at once");
    }
}
