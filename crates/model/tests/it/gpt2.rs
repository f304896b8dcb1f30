//! Tests that compare GPT-2 with a simple implementation over the tensors of its file, including reading and writing.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use polymath_model::{
    Adapter, AdapterBase, Batch, Family, Generation, Implementation, LoadOptions, LoraConfig, Ops,
    Precision, SamplingConfig, TokenizerFiles, Transformer, load_adapter, load_config,
};
use serde_json::{Value, json};

use crate::support::gpt2_reference;
use crate::support::gpt2_reference::{
    LAYERS, POSITIONS, VOCABULARY, of_file, tensors, write_tensors,
};
use crate::support::letters::write_tokenizer;

fn ops(implementation: Implementation) -> Ops {
    Ops {
        implementation,
        precision: Precision::F32,
    }
}

fn write(folder: &Path, prefix: &str, words: &Value) -> TokenizerFiles {
    let config = gpt2_reference::config(words).to_string();
    std::fs::write(folder.join("config.json"), config).unwrap();
    write_tensors(&folder.join("model.safetensors"), prefix, &tensors());
    write_tokenizer(folder)
}

fn model(implementation: Implementation) -> Transformer {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "transformer.", &json!({}));
    let options = LoadOptions::trained(&Device::Cpu, ops(implementation));
    polymath_model::load(folder.path(), &options).unwrap()
}

/// Creates `rows` rows of one document each.
fn batch(rows: usize, length: usize) -> Batch {
    let token = |row: usize, at: usize| ((row * 31 + at * at * 7 + at) % 96 + 1) as u32;
    let ids = |shift: usize| {
        (0..rows)
            .flat_map(|row| (0..length).map(move |at| token(row, at + shift)))
            .collect()
    };
    Batch {
        input_ids: ids(0),
        targets: ids(1),
        document_starts: vec![0; rows * length],
        rows,
        domains: vec![0; rows],
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Checks the logits against the simple GPT-2, for the fused and the reference operations.
#[test]
fn logits_equal_those_of_the_plain_model() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let model = model(implementation);
        for length in [1, 7, POSITIONS] {
            let rows = batch(1, length);
            let expected = gpt2_reference::logits(&tensors(), &rows.input_ids).unwrap();
            let found = model.logits(&rows).unwrap().get(0).unwrap();
            let difference = largest_difference(&found, &expected);
            assert!(
                difference < 1e-4,
                "{implementation:?}, {length}: {difference}"
            );
            assert!(values(&found).iter().any(|logit| logit.abs() > 1.0));
        }
    }
}

/// Checks the gradients of every parameter, and that activation checkpointing gives the same bits.
#[test]
fn gradients_equal_those_of_the_plain_model() {
    let rows = batch(1, 33);
    let variables: BTreeMap<String, Var> = tensors()
        .into_iter()
        .map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap()))
        .collect();
    let tracked = variables.iter();
    let tracked: BTreeMap<String, Tensor> = tracked
        .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
        .collect();
    let loss = gpt2_reference::loss(&tracked, &rows.input_ids, &rows.targets).unwrap();
    let expected = loss.backward().unwrap();
    let gradients = |model: &Transformer| -> BTreeMap<String, Tensor> {
        let found = model.loss(&rows).unwrap().backward().unwrap();
        let named = model.trainable().iter();
        named
            .map(|(name, parameter)| (name.clone(), found.get(parameter).unwrap().clone()))
            .collect()
    };
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let found = gradients(&model(implementation));
        for (name, variable) in &variables {
            let expected = expected.get(variable).unwrap();
            let found = of_file(name, &|ours| found[ours].clone());
            let size = values(expected)
                .into_iter()
                .map(f32::abs)
                .fold(0.0, f32::max);
            let difference = largest_difference(&found, expected);
            assert!(
                size > 0.0 && difference < 1e-4 * size,
                "{name}: {difference} of {size}"
            );
        }
        let again = gradients(&model(implementation).with_recompute(true));
        for (name, gradient) in &found {
            assert_eq!(values(gradient), values(&again[name]), "{name}");
        }
    }
}

/// Checks that folders of other programs, with or without the prefix `transformer.`, are saved like those of
/// `transformers`, bit for bit, without the mask and the tied head.
#[test]
fn folders_survive_a_round_trip() {
    for prefix in ["transformer.", ""] {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = write(folder.path(), prefix, &json!({}));
        let options = LoadOptions::frozen(&Device::Cpu, ops(Implementation::Fused));
        let loaded = polymath_model::load(folder.path(), &options).unwrap();
        let again = tempfile::tempdir().unwrap();
        polymath_model::save(again.path(), &loaded, &tokenizer).unwrap();
        assert_eq!(&load_config(again.path()).unwrap(), loaded.config());
        let written =
            candle_core::safetensors::load(again.path().join("model.safetensors"), &Device::Cpu);
        let mut written = written.unwrap();
        for (name, tensor) in tensors() {
            let found = written.remove(&format!("transformer.{name}")).unwrap();
            assert_eq!(found.dims(), tensor.dims(), "{name}");
            assert_eq!(values(&found), values(&tensor), "{name}");
        }
        assert!(written.is_empty(), "{:?}", written.keys());
        let text = std::fs::read_to_string(again.path().join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["architectures"], json!(["GPT2LMHeadModel"]));
        assert_eq!(config["n_inner"], 120);
    }
}

/// Checks that an untied head is read and written with its own weights.
#[test]
fn an_untied_head_has_weights_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write(folder.path(), "transformer.", &json!({}));
    let mut config = load_config(folder.path()).unwrap();
    let mut weights = polymath_model::load_weights(folder.path()).unwrap();
    config.tie_word_embeddings = false;
    let head = (&weights["model.embed_tokens.weight"] * 2.0).unwrap();
    weights.insert("lm_head.weight".into(), head);
    polymath_model::save_weights(folder.path(), &config, weights, &tokenizer).unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, ops(Implementation::Fused));
    let untied = polymath_model::load(folder.path(), &options).unwrap();
    let expected = gpt2_reference::logits(&tensors(), &batch(1, 9).input_ids).unwrap();
    let found = untied.logits(&batch(1, 9)).unwrap().get(0).unwrap();
    assert!(largest_difference(&found, &(expected * 2.0).unwrap()) < 2e-4);
}

/// Checks that positions restart at each document: two documents in one row have the same scores as alone.
#[test]
fn packed_documents_do_not_see_each_other() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let model = model(implementation);
        let alone = [batch(1, 13), batch(2, 19)];
        let second = 19..38; // second row of the second batch
        let packed = Batch {
            input_ids: [&alone[0].input_ids[..], &alone[1].input_ids[second.clone()]].concat(),
            targets: [&alone[0].targets[..], &alone[1].targets[second.clone()]].concat(),
            document_starts: [vec![0; 13], vec![13; 19]].concat(),
            rows: 1,
            domains: vec![0; 1],
        };
        let together = model.score(&packed).unwrap().nats;
        let first = model.score(&alone[0]).unwrap().nats;
        let other = model.score(&alone[1]).unwrap().nats;
        for (a, b) in together.iter().zip(first.iter().chain(&other[second])) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

/// Checks that generation with the cache takes the most likely token of the whole text's logits, and ends at the last
/// position.
#[test]
fn cached_generation_ends_with_the_positions() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let model = model(implementation);
        let sampling = SamplingConfig {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed: 0,
        };
        let mut text = vec![5u32, 17, 40];
        let generated = Generation::new(&model, &text, sampling).unwrap();
        for token in generated {
            let token = token.unwrap();
            let logits = gpt2_reference::logits(&tensors(), &text).unwrap();
            let last = values(&logits.get(text.len() - 1).unwrap());
            let best = last.iter().copied().fold(f32::MIN, f32::max);
            assert!(last[token as usize] > best - 1e-4);
            text.push(token);
        }
        assert_eq!(text.len(), POSITIONS + 1);
        let refused = |error: String| assert!(error.contains("context"), "{error}");
        let whole = Generation::new(&model, &text[..POSITIONS], sampling);
        refused(whole.err().unwrap().to_string());
        let beyond = model.score(&batch(1, POSITIONS + 1));
        refused(beyond.err().unwrap().to_string());
    }
}

/// Checks that learned positions, which are looked up, count as no operations.
#[test]
fn learned_positions_count_no_operations() {
    let model = model(Implementation::Fused);
    let config = model.config();
    assert_eq!(config.family, Family::Gpt2);
    let width = config.hidden_size;
    let products = LAYERS * (4 + 2 * 4) * width * width + VOCABULARY * width;
    let all = (6 * products + 6 * LAYERS * width * 8) as f64;
    assert_eq!(config.training_flops_per_token(8, &|_| true), all);
}

/// Checks that an unsupported computation is refused with its key, and that equivalent values are accepted.
#[test]
fn unsupported_computations_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let config = |words: Value| {
        write(folder.path(), "", &words);
        load_config(folder.path()).map_err(|error| error.to_string())
    };
    for (words, said) in [
        (
            json!({"activation_function": "relu"}),
            "`activation_function` = `relu`",
        ),
        (
            json!({"scale_attn_weights": false}),
            "`scale_attn_weights` = false",
        ),
        (
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "`scale_attn_by_inverse_layer_idx` = true",
        ),
        (
            json!({"reorder_and_upcast_attn": true}),
            "`reorder_and_upcast_attn` = true",
        ),
        (
            json!({"add_cross_attention": true}),
            "`add_cross_attention` = true",
        ),
        (
            json!({"n_head": 7}),
            "`n_head` = 7 does not divide `n_embd` = 30",
        ),
        (json!({"n_layer": 0}), "`n_layer` is 0"),
        (json!({"eos_token_id": null}), "`eos_token_id` = null"),
        (json!({"n_positions": null}), "config.json"),
    ] {
        let error = config(words).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let words = json!({
        "activation_function": "gelu_pytorch_tanh", "n_inner": 77, "scale_attn_weights": true, "bos_token_id": null,
    });
    let found = config(words).unwrap();
    assert_eq!((found.intermediate_size, found.bos_token_id), (77, 0));
    assert!(found.tie_word_embeddings);
}

/// Checks that a tensor that is missing or of another shape is reported by name.
#[test]
fn broken_weights_are_reported_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "", &json!({}));
    let error = |tensors: &BTreeMap<String, Tensor>| {
        write_tensors(&folder.path().join("model.safetensors"), "", tensors);
        let options = LoadOptions::frozen(&Device::Cpu, ops(Implementation::Fused));
        let loaded = polymath_model::load(folder.path(), &options);
        loaded.err().unwrap().to_string()
    };
    let mut missing = tensors();
    missing.remove("h.1.attn.c_attn.weight");
    let said = error(&missing);
    assert!(
        said.contains("`transformer.h.1.attn.c_attn.weight` is missing"),
        "{said}"
    );
    for dims in [&[30usize, 60][..], &[90], &[2, 3, 4]] {
        let mut wrong = tensors();
        let zeros = Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
        wrong.insert("h.1.attn.c_attn.weight".into(), zeros);
        let said = error(&wrong);
        assert!(
            said.contains("layers.1.self_attn") && said.contains("shape"),
            "{said}"
        );
    }
}

/// Checks that an adapter for GPT-2 is neither created nor read, and that the error offers an alternative.
#[test]
fn adapters_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "", &json!({}));
    let config = load_config(folder.path()).unwrap();
    let weights = polymath_model::load_weights(folder.path()).unwrap();
    let base = AdapterBase {
        folder: folder.path().into(),
        sha256: None,
        published: None,
    };
    let made = Adapter::initialize(LoraConfig::default(), &config, &weights, 1, base);
    let said = made.err().unwrap().to_string();
    assert!(
        said.contains("`c_attn`") && said.contains("`frozen`"),
        "{said}"
    );
    let foreign = tempfile::tempdir().unwrap();
    let peft = json!({
        "peft_type": "LORA", "base_model_name_or_path": folder.path(), "r": 4, "lora_alpha": 8,
        "fan_in_fan_out": true, "target_modules": ["c_attn"],
    });
    std::fs::write(foreign.path().join("adapter_config.json"), peft.to_string()).unwrap();
    let said = load_adapter(foreign.path(), None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("`fan_in_fan_out`") && said.contains("merge_and_unload"),
        "{said}"
    );
}
