//! Tests of models with a sliding window: the visible keys of each layer, in rows and with a cache, and saved
//! configs.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use polymath_model::{
    ArchitectureConfig, Batch, DocumentSampler, EndTokens, Generation, Implementation, LoadOptions,
    ModelConfig, Ops, Precision, SamplingConfig, SlidingWindow, Transformer,
};

use crate::support::letters::write_tokenizer;

const BOTH: [Implementation; 2] = [Implementation::Fused, Implementation::Reference];

/// Returns a config of three layers; the layers selected in `layers` attend to `size` keys.
fn config(size: usize, layers: [bool; 3]) -> ModelConfig {
    let architecture: ArchitectureConfig = serde_json::from_value(serde_json::json!({
        "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "initializer_range": 0.2, "qk_norm": true
    }))
    .unwrap();
    ModelConfig {
        sliding_window: Some(SlidingWindow {
            size,
            layers: layers.to_vec(),
        }),
        ..architecture
            .resolve(97, 700, EndTokens { begin: 0, end: 0 })
            .unwrap()
    }
}

fn options(implementation: Implementation) -> LoadOptions<'static> {
    let ops = Ops {
        implementation,
        precision: Precision::F32,
    };
    LoadOptions::trained(&Device::Cpu, ops)
}

fn model(config: ModelConfig, implementation: Implementation) -> Transformer {
    Transformer::initialize(config, 11, &options(implementation)).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count)
        .map(|at| ((at * at * 7 + at) % 96 + 1) as u32)
        .collect()
}

fn row(input_ids: Vec<u32>, document_starts: Vec<u32>) -> Batch {
    Batch {
        targets: input_ids.iter().rev().copied().collect(),
        input_ids,
        document_starts,
        rows: 1,
        domains: vec![0; 1],
    }
}

/// Returns the logits of a text: (tokens, vocabulary).
fn logits(model: &Transformer, input_ids: Vec<u32>) -> Vec<Vec<f32>> {
    let starts = vec![0; input_ids.len()];
    let logits = model.logits(&row(input_ids, starts)).unwrap();
    logits.get(0).unwrap().to_vec2().unwrap()
}

/// Checks each layer with the attention of the other layers turned off: changing the first token changes the
/// positions within the layer's window, and later positions only if the layer has no window.
#[test]
fn each_layer_sees_the_keys_of_its_window() {
    const WINDOW: usize = 50;
    for implementation in BOTH {
        for layers in [
            [true, false, true],
            [false, true, false],
            [true, true, true],
        ] {
            for layer in 0..3 {
                let whole = model(config(WINDOW, layers), implementation);
                let weights: BTreeMap<String, Tensor> = whole
                    .parameters()
                    .into_iter()
                    .map(|(name, weight)| {
                        let silent = name.ends_with("o_proj.weight")
                            && !name.contains(&format!("layers.{layer}."));
                        let weight = if silent {
                            weight.zeros_like().unwrap()
                        } else {
                            weight
                        };
                        (name.to_owned(), weight)
                    })
                    .collect();
                let config = config(WINDOW, layers);
                let one =
                    Transformer::from_weights(config, weights, &options(implementation)).unwrap();
                let before = tokens(200);
                let mut after = before.clone();
                after[0] = 55;
                let (before, after) = (logits(&one, before), logits(&one, after));
                let changes = |at: usize| before[at] != after[at];
                let what = format!("{implementation:?} {layers:?}, layer {layer}");
                assert!((0..WINDOW).all(changes), "{what}: inside the window");
                let beyond = (WINDOW..200).filter(|at| changes(*at)).count();
                assert_eq!(beyond, if layers[layer] { 0 } else { 150 }, "{what}");
            }
        }
    }
}

/// Checks that the fused and the reference operations agree in training, that packed documents are independent, and
/// that the window counts within each document.
#[test]
fn packed_documents_have_windows_of_their_own() {
    let configured = || config(6, [true, false, true]);
    let (first, second) = (tokens(13), tokens(40).split_off(21));
    let together = row(
        [&first[..], &second].concat(),
        [vec![0; 13], vec![13; 19]].concat(),
    );
    let mut losses = Vec::new();
    for implementation in BOTH {
        let model = model(configured(), implementation);
        let packed = model.logits(&together).unwrap().get(0).unwrap();
        let packed = packed.to_vec2::<f32>().unwrap();
        let apart = [
            logits(&model, first.clone()),
            logits(&model, second.clone()),
        ]
        .concat();
        for (packed, alone) in packed.iter().flatten().zip(apart.iter().flatten()) {
            assert!((packed - alone).abs() < 1e-4, "{packed} {alone}");
        }
        let loss = model.loss(&together).unwrap();
        let gradients = loss.backward().unwrap();
        let found: BTreeMap<String, Vec<f32>> = model
            .trainable()
            .iter()
            .map(|(name, variable)| {
                let gradient = gradients.get(variable).unwrap().flatten_all().unwrap();
                (name.clone(), gradient.to_vec1().unwrap())
            })
            .collect();
        losses.push((loss.to_scalar::<f32>().unwrap(), found));
    }
    let [(fused, gradients), (reference, expected)] = &losses[..] else {
        panic!("two implementations")
    };
    assert!((fused - reference).abs() < 1e-3, "{fused} {reference}");
    for (name, expected) in expected {
        let largest = expected.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
        for (found, expected) in gradients[name].iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4 * largest,
                "{name}: {found} {expected}"
            );
        }
    }
}

/// Checks that generation with a cache that drops invisible keys takes the most likely tokens of the whole text's
/// logits.
#[test]
fn the_cache_drops_keys_outside_the_window() {
    for implementation in BOTH {
        for (size, layers) in [(7, [true, false, true]), (1, [true; 3]), (60, [true; 3])] {
            let model = model(config(size, layers), implementation);
            let sampling = SamplingConfig {
                temperature: 0.0,
                top_k: None,
                top_p: 1.0,
                repetition_penalty: 1.0,
                seed: 0,
            };
            let mut text = tokens(90);
            let generation = Generation::new(&model, &text, sampling).unwrap();
            text.extend(generation.take(560).map(Result::unwrap));
            assert!(text.len() > 600, "the model stopped at {}", text.len());
            let whole = logits(&model, text.clone());
            for (logits, token) in whole.iter().zip(&text[1..]).skip(89) {
                let best = logits.iter().copied().fold(f32::MIN, f32::max);
                assert!(logits[*token as usize] > best - 1e-3, "{size} {layers:?}");
            }
        }
    }
}

/// Checks that documents sampled in one batch, some of which end earlier, equal those sampled alone.
#[test]
fn sampled_documents_do_not_depend_on_each_other() {
    let model = model(config(5, [true, false, true]), Implementation::Fused);
    let sampler = DocumentSampler {
        temperature: 1.0,
        max_tokens: 280,
        seed: 3,
    };
    let together = sampler.documents(&model, 0, 64).unwrap();
    let lengths: Vec<usize> = together.iter().map(Vec::len).collect();
    assert!(lengths.iter().any(|length| *length < 100), "{lengths:?}");
    assert!(lengths.contains(&280), "{lengths:?}");
    for (number, document) in together.iter().enumerate() {
        if number < 4 || document.len() == 280 {
            let alone = sampler.documents(&model, number as u64, 1).unwrap();
            assert_eq!(alone[0], *document, "document {number}");
        }
    }
}

/// Checks that the window is written to `config.json` in the keys of its family and read back.
#[test]
fn windows_are_saved_in_the_familys_keys() {
    let everywhere = [true; 3];
    let cases = [
        (config(9, everywhere), false, "mistral"),
        (config(9, [false, true, false]), true, "qwen3"),
        (config(9, [false, false, true]), true, "qwen3"),
    ];
    for (config, qk_norm, family) in cases {
        let config = ModelConfig { qk_norm, ..config };
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = write_tokenizer(folder.path());
        let saved = model(config.clone(), Implementation::Fused);
        polymath_model::save(folder.path(), &saved, &tokenizer).unwrap();
        assert_eq!(polymath_model::load_config(folder.path()).unwrap(), config);
        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        let fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(fields["model_type"], family);
        assert_eq!(fields["sliding_window"], 9);
        let by_layer = config.sliding_window.unwrap().layers;
        let first = by_layer.iter().position(|slides| *slides);
        if family == "qwen3" {
            assert_eq!(fields["use_sliding_window"], true);
            assert_eq!(fields["max_window_layers"], first.unwrap());
        }
    }
    // A missing key means the default of `transformers`; null means no window.
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_tokenizer(folder.path());
    let saved = model(config(9, everywhere), Implementation::Fused);
    polymath_model::save(folder.path(), &saved, &tokenizer).unwrap();
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["model_type"] = "mistral".into();
    for (value, size) in [(None, Some(4096)), (Some(serde_json::Value::Null), None)] {
        fields.as_object_mut().unwrap().remove("sliding_window");
        fields.as_object_mut().unwrap().remove("layer_types");
        if let Some(value) = value {
            fields["sliding_window"] = value;
        }
        std::fs::write(&path, fields.to_string()).unwrap();
        let read = polymath_model::load_config(folder.path()).unwrap();
        assert_eq!(read.sliding_window.map(|window| window.size), size);
    }
}
