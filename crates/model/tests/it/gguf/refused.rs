//! Tests of models and GGUF files that are refused, or converted with a note.

use super::*;

/// Checks that a tokenizer or shape that llama.cpp would read differently is refused with the reason, and that
/// nothing is written.
#[test]
fn models_that_llama_cpp_reads_differently_are_refused() {
    let refused = |config: &ModelConfig, tokenizer: &Tokenizer, said: &str| {
        let place = tempfile::tempdir().unwrap();
        write(place.path(), config, tokenizer);
        let file = place.path().join("model.gguf");
        let error = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(!file.exists());
    };
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = serde_json::to_value(tokenizer("smollm")).unwrap();
        change(&mut json);
        serde_json::from_value::<Tokenizer>(json).unwrap()
    };
    let spaced = changed(&|json| json["pre_tokenizer"] = json!({"type": "WhitespaceSplit"}));
    refused(&llama(), &spaced, "`pre_tokenizer` = {");
    let lower = changed(&|json| json["normalizer"] = json!({"type": "Lowercase"}));
    refused(&llama(), &lower, "`normalizer` = {");
    let words = changed(&|json| {
        let vocabulary = json["model"]["vocab"].take();
        json["model"] =
            json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": "<|endoftext|>"});
    });
    refused(&llama(), &words, "the tokenizer is WordLevel");
    let no_bytes = changed(&|json| json["model"]["byte_fallback"] = true.into());
    refused(&llama(), &no_bytes, "no token `<0x00>`");
    let changed_pieces = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = serde_json::to_value(tokenizer("pieces")).unwrap();
        change(&mut json);
        serde_json::from_value::<Tokenizer>(json).unwrap()
    };
    let merges = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        changed_pieces(&|json| change(json["model"]["merges"].as_array_mut().unwrap()))
    };
    let incomplete = merges(&|merges| drop(merges.pop()));
    refused(&over_pieces(), &incomplete, "never joins");
    // The first of two merges that produce the same token moves to the end.
    let split = merges(&|merges| {
        let made = |merge: &serde_json::Value| {
            format!(
                "{}{}",
                merge[0].as_str().unwrap(),
                merge[1].as_str().unwrap()
            )
        };
        let twice = merges
            .windows(2)
            .position(|pair| made(&pair[0]) == made(&pair[1]));
        let first = merges.remove(twice.unwrap());
        merges.push(first);
    });
    refused(&over_pieces(), &split, "both before and after");
    let cut = changed_pieces(&|json| {
        json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    });
    refused(&over_pieces(), &cut, "`pre_tokenizer` = {");
    let small = ModelConfig {
        vocab_size: 339,
        ..llama()
    };
    refused(
        &small,
        &tokenizer("smollm"),
        "the token `<tool>` has the id 339",
    );
    let (_, stretched, _) = families().swap_remove(3);
    let stretched = ModelConfig {
        qk_norm: true,
        ..stretched
    };
    refused(
        &stretched,
        &tokenizer("qwen2"),
        "`rope_scaling` of type `llama3`",
    );
    let wide = ModelConfig {
        attention_bias: true,
        sliding_window: None,
        head_dim: 16,
        ..llama()
    };
    refused(&wide, &tokenizer("qwen2"), "`head_dim` = 96");
}

/// Checks the note that llama.cpp does not normalize to composed characters.
#[test]
fn missing_normalization_is_noted() {
    let place = tempfile::tempdir().unwrap();
    let mut composing = tokenizer("qwen2");
    let nfc = json!({"type": "NFC"});
    composing
        .with_normalizer(Some(
            serde_json::from_value::<tokenizers::NormalizerWrapper>(nfc).unwrap(),
        ))
        .unwrap();
    write(place.path(), &llama(), &composing);
    let file = place.path().join("model.gguf");
    let notes = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap();
    assert!(notes[0].contains("NFC"), "{notes:?}");
    let back = place.path().join("back");
    import_gguf(&file, &back).unwrap();
    assert_eq!(ids(place.path(), ODD, false), ids(&back, ODD, false));
}

/// Checks that flags of tokens which only the settings beside the tokenizer have are noted: llama.cpp ignores them.
#[test]
fn flags_in_the_settings_are_noted() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &llama(), &tokenizer("smollm"));
    let file = place.path().join("model.gguf");
    let notes = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap();
    assert_eq!(notes, [""; 0]);
    std::fs::remove_file(&file).unwrap();
    let token = json!({"content": "<tool>", "lstrip": true, "special": false});
    let settings = json!({"added_tokens_decoder": {"339": token}});
    let path = place.path().join("tokenizer_config.json");
    std::fs::write(path, settings.to_string()).unwrap();
    let notes = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap();
    assert!(
        notes[0].contains("does not strip white space around the tokens `<tool>`"),
        "{notes:?}"
    );
}

/// Checks that neither a file nor a folder is overwritten.
#[test]
fn nothing_is_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let file = exported(place.path(), &llama(), "smollm", GgufType::F16);
    let error = export_gguf(place.path(), &file, &options(GgufType::F32)).unwrap_err();
    assert!(error.to_string().contains("already there"), "{error}");
    assert_eq!(
        content(&file).metadata["general.file_type"]
            .to_u32()
            .unwrap(),
        1
    );
    let error = import_gguf(&file, place.path()).unwrap_err();
    assert!(error.to_string().contains("already there"), "{error}");
}
