//! Tests of GGUF files: every family survives a round trip, with the row order and the names that llama.cpp reads,
//! and invalid or foreign files are refused with a message.

mod damaged;
mod refused;
mod vocabulary;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use polymath_model::{
    Family, GgufExport, GgufType, Implementation, LoadOptions, ModelConfig, Ops, Precision,
    RopeScaling, Transformer, export_gguf, import_gguf, load_config, load_weights,
};
use serde_json::json;
use tokenizers::Tokenizer;

use crate::support::pieces::{ODD, tokenizer, write_tokenizer};

/// Returns a Llama whose row lengths are not multiples of the block sizes.
fn llama() -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        qk_norm: false,
        vocab_size: 344,
        hidden_size: 48,
        intermediate_size: 88,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
        rope_theta: 500_000.0,
        rope_scaling: None,
        attention_bias: false,
        sliding_window: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        initializer_range: 0.02,
        bos_token_id: 0,
        eos_token_id: 338,
        other_eos_token_ids: Vec::new(),
    }
}

/// Returns a Llama for a SentencePiece-style tokenizer, with three IDs without a token.
fn over_pieces() -> ModelConfig {
    ModelConfig {
        vocab_size: tokenizer("pieces").get_vocab_size(true) + 3,
        tie_word_embeddings: false,
        bos_token_id: 1,
        eos_token_id: 2,
        ..llama()
    }
}

/// Returns every family and rotary scaling, each with a different pre-tokenizer.
fn families() -> Vec<(&'static str, ModelConfig, &'static str)> {
    let llama3 = RopeScaling::Llama3 {
        factor: 3.3,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    vec![
        ("a tied Llama", llama(), "smollm"),
        (
            "a Llama 2",
            ModelConfig {
                tie_word_embeddings: false,
                num_key_value_heads: 6,
                rms_norm_eps: 1e-6,
                ..llama()
            },
            "gpt-2",
        ),
        ("a Llama 2 over pieces", over_pieces(), "pieces"),
        (
            "a stretched Llama 3",
            ModelConfig {
                rope_scaling: Some(llama3),
                ..llama()
            },
            "llama-bpe",
        ),
        (
            "a linear stretch",
            ModelConfig {
                rope_scaling: Some(RopeScaling::Linear { factor: 2.5 }),
                ..llama()
            },
            "smaug-bpe",
        ),
        (
            "a Qwen2",
            ModelConfig {
                attention_bias: true,
                sliding_window: None,
                ..llama()
            },
            "qwen2",
        ),
        (
            "a GPT-2",
            ModelConfig {
                family: Family::Gpt2,
                attention_bias: true,
                num_key_value_heads: 6,
                rope_theta: 10_000.0,
                ..llama()
            },
            "gpt-2",
        ),
        (
            "a Qwen3",
            ModelConfig {
                qk_norm: true,
                head_dim: 16,
                tie_word_embeddings: false,
                other_eos_token_ids: vec![339, 5],
                ..llama()
            },
            "qwen2",
        ),
    ]
}

/// Writes a model folder whose norms and biases do not have their initial values.
fn write(folder: &Path, config: &ModelConfig, tokenizer: &Tokenizer) {
    let ops = Ops {
        implementation: Implementation::Fused,
        precision: Precision::F32,
    };
    let options = LoadOptions::frozen(&Device::Cpu, ops);
    let fresh = Transformer::initialize(config.clone(), 5, &options).unwrap();
    let moved = |(name, weight): (&str, Tensor)| {
        let wave = (0..weight.elem_count()).map(|at| (at as f32 * 1.7).sin() * 0.3);
        let wave = Tensor::from_iter(wave, &Device::Cpu).unwrap();
        let moved = match weight.rank() {
            1 => (weight + wave).unwrap(),
            _ => weight,
        };
        (name.to_owned(), moved)
    };
    let weights: BTreeMap<String, Tensor> = fresh.parameters().into_iter().map(moved).collect();
    let files = write_tokenizer(folder, tokenizer);
    polymath_model::save_weights(folder, config, weights, &files).unwrap();
}

fn options(kind: GgufType) -> GgufExport<'static> {
    GgufExport {
        kind,
        chat_template: None,
        base: None,
    }
}

/// Writes a model folder, exports it, and returns the file.
fn exported(at: &Path, config: &ModelConfig, cut: &str, kind: GgufType) -> PathBuf {
    write(at, config, &tokenizer(cut));
    let file = at.join("model.gguf");
    export_gguf(at, &file, &options(kind)).unwrap();
    file
}

fn content(file: &Path) -> Content {
    Content::read(&mut File::open(file).unwrap()).unwrap()
}

fn stored(file: &Path, name: &str) -> Tensor {
    let content = content(file);
    let mut reader = File::open(file).unwrap();
    let stored = content.tensor(&mut reader, name, &Device::Cpu).unwrap();
    stored.dequantize(&Device::Cpu).unwrap()
}

fn ids(folder: &Path, text: &str, special: bool) -> Vec<u32> {
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    tokenizer.set_encode_special_tokens(special);
    let encoded = tokenizer.encode_fast(text, false).unwrap();
    encoded.get_ids().to_vec()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Checks that every family, exported as f32 and imported, is the same model bit for bit, with the same shape and the
/// same tokens of unusual text, whether special tokens are recognized or not.
#[test]
fn every_family_survives_a_round_trip() {
    for (name, config, cut) in families() {
        let place = tempfile::tempdir().unwrap();
        let file = exported(place.path(), &config, cut, GgufType::F32);
        let back = place.path().join("back");
        import_gguf(&file, &back).unwrap();
        assert_eq!(load_config(&back).unwrap(), config, "{name}");
        let (before, after) = (
            load_weights(place.path()).unwrap(),
            load_weights(&back).unwrap(),
        );
        assert_eq!(before.len(), config.parameter_shapes().len());
        for (parameter, weight) in &before {
            assert_eq!(
                values(weight),
                values(&after[parameter]),
                "{name}: {parameter}"
            );
        }
        for special in [false, true] {
            let expected = ids(place.path(), ODD, special);
            assert_eq!(expected, ids(&back, ODD, special), "{name}");
        }
        assert!(!place.path().join("model.gguf.partial").exists());
    }
}

/// Checks the row order: in the queries and keys of a `llama`, row 1 of a head is the first row of the head's second
/// half, because adjacent pairs rotate together. In other architectures, and in all values, rows keep their order.
#[test]
fn rows_have_llama_cpps_order() {
    for (name, config, cut) in families() {
        let place = tempfile::tempdir().unwrap();
        let file = exported(place.path(), &config, cut, GgufType::F32);
        let ours = load_weights(place.path()).unwrap();
        let row = |tensor: &Tensor, row: usize| values(&tensor.get(row).unwrap());
        let is_llama = !config.qk_norm && !config.attention_bias;
        let is_gpt2 = config.family == Family::Gpt2;
        for (place, part) in ["q", "k", "v"].into_iter().enumerate() {
            let before = &ours[&format!("model.layers.1.self_attn.{part}_proj.weight")];
            // A GPT-2 stores queries, keys and values as one tensor.
            let after = match is_gpt2 {
                true => {
                    let all = stored(&file, "blk.1.attn_qkv.weight");
                    all.narrow(0, place * config.hidden_size, config.hidden_size)
                        .unwrap()
                }
                false => stored(&file, &format!("blk.1.attn_{part}.weight")),
            };
            let turned = is_llama && part != "v";
            // The second head shows that heads stay separate.
            let first = config.head_dim;
            let expected = if turned {
                first + config.head_dim / 2
            } else {
                first + 1
            };
            assert_eq!(row(&after, first), row(before, first), "{name} {part}");
            assert_eq!(
                row(&after, first + 1),
                row(before, expected),
                "{name} {part}"
            );
        }
    }
}

/// Checks the keys and tensors that llama.cpp requires.
#[test]
fn keys_and_tensors_are_those_that_llama_cpp_requires() {
    let place = tempfile::tempdir().unwrap();
    let (_, config, cut) = families().swap_remove(3);
    write(place.path(), &config, &tokenizer(cut));
    std::fs::write(
        place.path().join("tokenizer_config.json"),
        json!({"pad_token": {"content": "<tool>"}, "add_bos_token": false}).to_string(),
    )
    .unwrap();
    let file = place.path().join("model.gguf");
    let options = GgufExport {
        chat_template: Some("{{ messages }}"),
        ..options(GgufType::F16)
    };
    export_gguf(place.path(), &file, &options).unwrap();
    let found = content(&file);
    let number = |key: &str| found.metadata[key].to_u32().unwrap();
    let text = |key: &str| found.metadata[key].to_string().unwrap().as_str();
    assert_eq!(text("general.architecture"), "llama");
    assert_eq!(number("general.file_type"), 1);
    assert_eq!(number("llama.context_length"), 64);
    assert_eq!(number("llama.attention.head_count_kv"), 2);
    assert_eq!(number("llama.attention.key_length"), 8);
    assert_eq!(number("llama.rope.dimension_count"), 8);
    assert_eq!(number("llama.vocab_size"), 344);
    assert_eq!(
        found.metadata["llama.rope.freq_base"].to_f32().unwrap(),
        5e5
    );
    assert_eq!(text("tokenizer.ggml.model"), "gpt2");
    assert_eq!(text("tokenizer.ggml.pre"), "llama-bpe");
    assert_eq!(number("tokenizer.ggml.eos_token_id"), 338);
    assert_eq!(number("tokenizer.ggml.padding_token_id"), 339);
    assert!(
        !found.metadata["tokenizer.ggml.add_bos_token"]
            .to_bool()
            .unwrap()
    );
    assert_eq!(text("tokenizer.chat_template"), "{{ messages }}");
    let list = |key: &str| found.metadata[key].to_vec().unwrap();
    let kinds: Vec<i32> = list("tokenizer.ggml.token_type")
        .iter()
        .map(|kind| kind.to_i32().unwrap())
        .collect();
    // A special token at each end, one that the settings make special, and four fillers.
    assert_eq!(kinds[..2], [3, 1]);
    assert_eq!(kinds[337..], [1, 3, 3, 5, 5, 5, 5]);
    assert_eq!(
        list("tokenizer.ggml.tokens")[343].to_string().unwrap(),
        "[PAD343]"
    );
    assert_eq!(list("tokenizer.ggml.merges").len(), 338 - 257);
    // Divisors are 1 for short wavelengths, and the factor for long ones.
    let divisors = values(&stored(&file, "rope_freqs.weight"));
    assert_eq!((divisors[0], divisors[3]), (1.0, 3.3));
    assert!(!found.tensor_infos.contains_key("output.weight"), "tied");
    let back = place.path().join("back");
    import_gguf(&file, &back).unwrap();
    let settings = std::fs::read_to_string(back.join("tokenizer_config.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["chat_template"], "{{ messages }}");
    assert_eq!(settings["pad_token"], "<tool>");
    assert_eq!(settings["eos_token"], "<|im_end|>");
    assert_eq!(settings["add_bos_token"], false);
}

/// Checks that quantized matrices are close to the originals, and that norms are exact.
#[test]
fn quantized_weights_are_close() {
    let wide = ModelConfig {
        hidden_size: 256,
        intermediate_size: 512,
        num_attention_heads: 4,
        head_dim: 64,
        ..llama()
    };
    for (kind, stored, most) in [
        (GgufType::F16, GgmlDType::F16, 5e-4),
        (GgufType::Q8_0, GgmlDType::Q8_0, 1e-2),
        (GgufType::Q4K, GgmlDType::Q4K, 0.12),
    ] {
        let place = tempfile::tempdir().unwrap();
        let file = exported(place.path(), &wide, "smollm", kind);
        let found = content(&file);
        assert_eq!(
            found.tensor_infos["blk.0.ffn_down.weight"].ggml_dtype,
            stored
        );
        let embedding = found.tensor_infos["token_embd.weight"].ggml_dtype;
        let expected = if kind == GgufType::Q4K {
            GgmlDType::Q6K
        } else {
            stored
        };
        assert_eq!(embedding, expected);
        let back = place.path().join("back");
        import_gguf(&file, &back).unwrap();
        let after = load_weights(&back).unwrap();
        for (name, before) in load_weights(place.path()).unwrap() {
            let length = |tensor: &Tensor| {
                let squares = tensor.sqr().unwrap().sum_all().unwrap();
                squares.to_scalar::<f32>().unwrap().sqrt()
            };
            let error = length(&(&before - &after[&name]).unwrap()) / length(&before);
            let most = if before.rank() == 1 { 0.0 } else { most };
            assert!(error <= most, "{kind:?} {name}: {error}");
        }
    }
}

/// Checks that rows whose length is not a multiple of the block size are stored in the next type that fits, with a
/// note.
#[test]
fn narrow_rows_fall_back_to_a_type_that_fits() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &llama(), &tokenizer("smollm"));
    let file = place.path().join("model.gguf");
    let notes = export_gguf(place.path(), &file, &options(GgufType::Q4K)).unwrap();
    assert!(
        notes.iter().any(|note| note.contains("15 of 15 matrices")),
        "{notes:?}"
    );
    for info in content(&file).tensor_infos.values() {
        let expected = match info.shape.rank() {
            1 => GgmlDType::F32,
            _ => GgmlDType::F16,
        };
        assert_eq!(info.ggml_dtype, expected);
    }
}
