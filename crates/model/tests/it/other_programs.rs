//! Tests that compare with stored outputs of transformers, PEFT and llama.cpp's Python package (from
//! `scripts/check/fixtures.sh`): the logits of the same folders, and the names in written files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, Batch, Family, GgufExport, GgufType, LoadOptions, LoraConfig, ModelConfig, Ops,
    Precision, RopeScaling, Transformer, export_gguf, load_adapter, load_config, save_adapter,
};
use serde_json::Value;

use crate::support::drawn::numbers;
use crate::support::letters;
use crate::support::llama_reference::{apart, elements};
use crate::support::pieces;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn filled(shapes: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Tensor> {
    let tensors = shapes.iter().enumerate();
    tensors
        .map(|(seed, (name, shape))| (name.clone(), numbers(seed, shape)))
        .collect()
}

fn ids(fixture: &Value) -> Vec<u32> {
    serde_json::from_value(fixture["ids"].clone()).unwrap()
}

fn assert_logits(model: &Transformer, fixture: &Value, case: &Value, what: &str) {
    let input_ids = ids(fixture);
    let batch = Batch {
        targets: input_ids.clone(),
        document_starts: vec![0; input_ids.len()],
        input_ids,
        rows: 1,
        domains: vec![0; 1],
    };
    let found = elements(&model.logits(&batch).unwrap());
    let expected: Vec<f64> = serde_json::from_value(case["logits"].clone()).unwrap();
    let share = apart(&found, &expected);
    assert!(share < 1e-5, "{what}: {share}");
}

/// Writes a folder in the format of transformers.
fn write_folder(folder: &Path, config: &Value) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    letters::write_tokenizer(folder);
    let shapes = load_config(folder).unwrap().parameter_shapes().into_iter();
    let tensors: HashMap<String, Tensor> = filled(&shapes.collect()).into_iter().collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

fn options() -> LoadOptions<'static> {
    LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32))
}

/// Checks that every family has the parameters and the logits of transformers, and that its saved `config.json`
/// agrees with transformers' in every key that both have.
#[test]
fn folders_of_transformers_give_its_logits() {
    let fixture = fixture("transformers.json");
    for (family, case) in fixture["cases"].as_object().unwrap() {
        let root = tempfile::tempdir().unwrap();
        write_folder(root.path(), &case["config"]);
        let model = polymath_model::load(root.path(), &options()).unwrap();
        let names: BTreeSet<&str> = model.parameters().into_keys().collect();
        let theirs = case["parameters"].as_array().unwrap().iter();
        let theirs: BTreeSet<&str> = theirs.filter_map(Value::as_str).collect();
        assert_eq!(names, theirs, "{family}");
        assert_logits(&model, &fixture, case, family);
        let saved: Value = serde_json::from_str(&model.config().to_json()).unwrap();
        let checked = [
            "model_type",
            "architectures",
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
            "rms_norm_eps",
            "tie_word_embeddings",
            "hidden_act",
            "bos_token_id",
            "eos_token_id",
        ];
        for key in checked {
            assert_eq!(saved[key], case["config"][key], "{family}, `{key}`");
        }
        if family.contains("window") {
            assert_eq!(saved["sliding_window"], 5, "{family}");
        }
    }
}

/// Checks that LoRA, rsLoRA, DoRA and their combination, in folders of PEFT, give PEFT's logits, and that saved
/// adapters have PEFT's names and the settings that determine the scale.
#[test]
fn adapters_of_peft_give_its_logits() {
    let (fixture, bases) = (fixture("peft.json"), fixture("transformers.json"));
    for (kind, case) in fixture["cases"].as_object().unwrap() {
        let root = tempfile::tempdir().unwrap();
        let (base, folder) = (root.path().join("base"), root.path().join("adapter"));
        write_folder(&base, &bases["cases"]["Llama"]["config"]);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("adapter_config.json"),
            case["config"].to_string(),
        )
        .unwrap();
        let shapes: BTreeMap<String, Vec<usize>> =
            serde_json::from_value(case["shapes"].clone()).unwrap();
        let tensors: HashMap<String, Tensor> = filled(&shapes).into_iter().collect();
        let file = folder.join("adapter_model.safetensors");
        candle_core::safetensors::save(&tensors, &file).unwrap();
        let adapter = load_adapter(&folder, Some(&base)).unwrap();
        let config = load_config(&base).unwrap();
        let weights = polymath_model::load_weights(&base).unwrap();
        let saved = root.path().join("saved");
        std::fs::create_dir(&saved).unwrap();
        save_adapter(&saved, &adapter).unwrap();
        let model = Transformer::with_adapter(config, weights, adapter, &options()).unwrap();
        assert_logits(&model, &fixture, case, kind);

        let file = saved.join("adapter_model.safetensors");
        let ours = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let ours: BTreeMap<String, Vec<usize>> = ours
            .into_iter()
            .map(|(name, tensor)| (name, tensor.dims().to_vec()))
            .collect();
        assert_eq!(ours, shapes, "{kind}");
        let text = std::fs::read_to_string(saved.join("adapter_config.json")).unwrap();
        let ours: Value = serde_json::from_str(&text).unwrap();
        for key in [
            "peft_type",
            "task_type",
            "r",
            "use_rslora",
            "use_dora",
            "bias",
        ] {
            assert_eq!(ours[key], case["config"][key], "{kind}, `{key}`");
        }
        assert_eq!(ours["lora_alpha"].as_f64(), Some(10.0), "{kind}");
    }
}

/// Checks that a new adapter's settings are written to PEFT's keys of the same meaning.
#[test]
fn new_adapters_have_the_fields_of_peft() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("base");
    write_folder(
        &base,
        &fixture("transformers.json")["cases"]["Llama"]["config"],
    );
    let lora = LoraConfig {
        rank: 3,
        alpha: 7.0,
        dropout: 0.25,
        targets: vec!["up_proj".into()],
        rank_stabilised: true,
        dora: true,
    };
    let config = load_config(&base).unwrap();
    let weights = polymath_model::load_weights(&base).unwrap();
    let named = any_adapter(&root, &base).base;
    let adapter = Adapter::initialize(lora, &config, &weights, 5, named).unwrap();
    let saved = root.path().join("saved");
    std::fs::create_dir(&saved).unwrap();
    save_adapter(&saved, &adapter).unwrap();
    let text = std::fs::read_to_string(saved.join("adapter_config.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [("r", 3.0), ("lora_alpha", 7.0), ("lora_dropout", 0.25)] {
        assert_eq!(found[key].as_f64(), Some(value), "`{key}`");
    }
    for key in ["use_rslora", "use_dora"] {
        assert_eq!(found[key], true, "`{key}`");
    }
    assert_eq!(found["peft_type"], "LORA");
}

/// Creates an adapter over `base`, to test what it records about the base.
fn any_adapter(root: &tempfile::TempDir, base: &Path) -> Adapter {
    let case = &fixture("peft.json")["cases"]["LoRA"];
    let folder = root.path().join("any");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("adapter_config.json"),
        case["config"].to_string(),
    )
    .unwrap();
    let shapes = serde_json::from_value(case["shapes"].clone()).unwrap();
    let tensors: HashMap<String, Tensor> = filled(&shapes).into_iter().collect();
    candle_core::safetensors::save(&tensors, folder.join("adapter_model.safetensors")).unwrap();
    load_adapter(&folder, Some(base)).unwrap()
}

/// Checks every architecture's GGUF file: the parameters have llama.cpp's names, all the keys that it reads are
/// present, and no key or tensor has another name.
#[test]
fn gguf_files_have_llama_cpps_names() {
    let fixture = fixture("gguf.json");
    let names = |list: &Value| -> BTreeSet<String> {
        serde_json::from_value::<Vec<String>>(list.clone())
            .unwrap()
            .into_iter()
            .collect()
    };
    let general = names(&fixture["general"]);
    for (architecture, config, cut) in families() {
        let root = tempfile::tempdir().unwrap();
        let files = pieces::write_tokenizer(root.path(), &pieces::tokenizer(cut));
        let model = Transformer::initialize(config.clone(), 5, &options()).unwrap();
        let weights = model.parameters().into_iter();
        let weights = weights
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .collect();
        polymath_model::save_weights(root.path(), &config, weights, &files).unwrap();
        let file = root.path().join("model.gguf");
        let export = GgufExport {
            kind: GgufType::F32,
            chat_template: Some("{{ messages }}"),
            base: None,
        };
        export_gguf(root.path(), &file, &export).unwrap();
        let content = Content::read(&mut std::fs::File::open(&file).unwrap()).unwrap();
        let theirs = &fixture["architectures"][architecture];
        let mut own = names(&theirs["keys"]);
        if config.rope_scaling.is_some() {
            own.extend(names(&theirs["stretched"]));
        }
        let keys: BTreeSet<String> = content.metadata.keys().cloned().collect();
        let missing: Vec<&String> = own.difference(&keys).collect();
        assert!(missing.is_empty(), "{architecture}: {missing:?}");
        let unknown = keys
            .iter()
            .filter(|key| !own.contains(*key) && !general.contains(*key));
        // Keys of this program have its own prefix.
        let unknown: Vec<&String> = unknown
            .filter(|key| !key.starts_with("polymath."))
            .collect();
        assert!(unknown.is_empty(), "{architecture}: {unknown:?}");
        let needed = [
            "general.architecture",
            "tokenizer.ggml.model",
            "tokenizer.ggml.tokens",
            "tokenizer.ggml.token_type",
            "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.eos_token_id",
            "tokenizer.chat_template",
        ];
        for key in needed {
            assert!(
                general.contains(key) && keys.contains(key),
                "{architecture}: `{key}`"
            );
        }
        let mut expected = BTreeSet::new();
        for name in names(&theirs["tensors"]) {
            let tied = name == "output" && config.tie_word_embeddings;
            if tied || name == "rope_freqs" {
                continue;
            }
            for layer in 0..2 {
                expected.insert(name.replace("{bid}", &layer.to_string()));
            }
        }
        let found: BTreeSet<String> = content
            .tensor_infos
            .keys()
            .map(|name| {
                name.trim_end_matches(".weight")
                    .trim_end_matches(".bias")
                    .to_owned()
            })
            .collect();
        let missing: Vec<&String> = expected.difference(&found).collect();
        let unknown: Vec<&String> = found.difference(&expected).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{architecture}: {missing:?} {unknown:?}"
        );
    }
}

fn families() -> [(&'static str, ModelConfig, &'static str); 5] {
    let llama = ModelConfig {
        family: Family::Llama,
        qk_norm: false,
        vocab_size: 344,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 4,
        max_position_embeddings: 64,
        rope_theta: 500_000.0,
        rope_scaling: None,
        attention_bias: false,
        sliding_window: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        initializer_range: 0.02,
        bos_token_id: 0,
        eos_token_id: 338,
        other_eos_token_ids: Vec::new(),
    };
    let stretched = ModelConfig {
        rope_scaling: Some(RopeScaling::Linear { factor: 2.5 }),
        tie_word_embeddings: true,
        ..llama.clone()
    };
    let qwen2 = ModelConfig {
        attention_bias: true,
        ..llama.clone()
    };
    let qwen3 = ModelConfig {
        qk_norm: true,
        ..llama.clone()
    };
    let gpt2 = ModelConfig {
        family: Family::Gpt2,
        attention_bias: true,
        num_key_value_heads: 6,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        ..llama.clone()
    };
    [
        ("llama", llama, "llama-bpe"),
        ("llama", stretched, "smollm"),
        ("qwen2", qwen2, "qwen2"),
        ("qwen3", qwen3, "qwen2"),
        ("gpt2", gpt2, "gpt-2"),
    ]
}
