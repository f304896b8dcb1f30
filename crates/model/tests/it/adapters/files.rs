//! Tests of adapter files, including those in PEFT's format.

use polymath_model::{ModelSource, save_weights};

use super::*;
use crate::support::letters::write_tokenizer;

/// Creates the folder of a base, with a weights file of any content, since only its digest is used.
fn base_folder(at: &Path) -> std::path::PathBuf {
    let folder = at.join("base");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.safetensors"), "some weights").unwrap();
    folder
}

/// Checks that a saved adapter is read back, that its file has PEFT's names, and that an adapter with another base is
/// refused with both digests.
#[test]
fn adapter_files_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    for lora in kinds() {
        let mut adapter = learned(lora);
        // A digest that no file has.
        let sha256 = "a".repeat(64);
        adapter.base.folder = base_folder(folder.path());
        save_adapter(folder.path(), &adapter).unwrap();
        let read = load_adapter(folder.path(), None).unwrap();
        assert_eq!(
            read.config.modules(&config()),
            adapter.config.modules(&config())
        );
        assert_eq!(read.config.scale(), adapter.config.scale());
        assert_eq!(read.base, adapter.base);
        assert_eq!(difference(&with(read), &with(adapter.clone())), 0.0);
        let path = folder.path().join("adapter_model.safetensors");
        let names = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let a = format!("base_model.model.{QUERY}.lora_A.weight");
        assert!(names.contains_key(&a), "{a}");
        let magnitude = format!("base_model.model.{QUERY}.lora_magnitude_vector");
        assert_eq!(names.contains_key(&magnitude), adapter.config.dora);
        adapter.base.sha256 = Some(sha256.clone());
        save_adapter(folder.path(), &adapter).unwrap();
        let error = load_adapter(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains(&sha256), "{error}");
    }
}

/// Checks that a source reads an adapter over the base that it is given, in place of the one that the adapter names:
/// its config, its tokenizer, and the merged weights.
#[test]
fn a_source_reads_an_adapter_over_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let [own, moved] = ["adapter", "moved"].map(|name| folder.path().join(name));
    std::fs::create_dir(&own).unwrap();
    std::fs::create_dir(&moved).unwrap();
    save_weights(&moved, &config(), base(), &write_tokenizer(&moved)).unwrap();
    for lora in kinds() {
        let mut adapter = learned(lora);
        adapter.base.folder = base_folder(folder.path());
        save_adapter(&own, &adapter).unwrap();
        // The base that it names is not a model.
        assert!(ModelSource::of(&own).config().is_err());
        let source = ModelSource::over(&own, &moved);
        assert_eq!(source.config().unwrap().hidden_size, 16);
        assert_eq!(source.tokenizer().unwrap(), moved.join("tokenizer.json"));
        let mut merged = base();
        adapter.merge(&config(), &mut merged).unwrap();
        let merged = plain(merged);
        let options = LoadOptions::frozen(&Device::Cpu, ops());
        for read in [
            plain(source.weights().unwrap()),
            source.load(&options).unwrap(),
        ] {
            assert_eq!(difference(&read, &merged), 0.0);
        }
    }
    // A model that is not an adapter has no base.
    let alone = ModelSource::of(&moved).weights().unwrap();
    assert_eq!(difference(&plain(alone), &plain(base())), 0.0);
}

/// Checks an adapter folder in PEFT's format, written by hand: `target_modules` is a regular expression, one
/// projection is adapted, and s = 6/3.
#[test]
fn peft_folders_load() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    base_folder(at);
    let text = r#"{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 6, "bias": "none",
        "target_modules": ".*layers.0.self_attn.q_proj", "init_lora_weights": true, "modules_to_save": null,
        "qalora_group_size": 16, "base_model_name_or_path": "elsewhere"}"#;
    std::fs::write(at.join("adapter_config.json"), text).unwrap();
    let ones =
        |shape: (usize, usize)| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let name = |part: &str| format!("base_model.model.{QUERY}.{part}.weight");
    let weights = HashMap::from([
        (name("lora_A"), ones((3, 16))),
        (name("lora_B"), ones((16, 3))),
    ]);
    candle_core::safetensors::save(&weights, at.join("adapter_model.safetensors")).unwrap();
    // The base that the adapter names does not exist here.
    let error = load_adapter(at, None).unwrap_err().to_string();
    assert!(
        error.contains("`elsewhere`") && error.contains("`--base`"),
        "{error}"
    );
    let adapter = load_adapter(at, Some(&at.join("base"))).unwrap();
    let mut merged = base();
    adapter.merge(&config(), &mut merged).unwrap();
    // Each element rises by s = 2 times the sum over 3 ranks of 1·1.
    for (name, tensor) in base() {
        let rise = (&merged[&name] - tensor).unwrap().flatten_all().unwrap();
        let expected = if name == format!("{QUERY}.weight") {
            6.0
        } else {
            0.0
        };
        for value in rise.to_vec1::<f32>().unwrap() {
            assert!((value - expected).abs() < 1e-5, "{name}: {value}");
        }
    }
    std::fs::write(at.join("adapter_config.json"), text.replace("none", "all")).unwrap();
    let error = load_adapter(at, Some(&at.join("base")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`bias`"), "{error}");
}

/// Loads an adapter folder in PEFT's format with one adapted projection and these keys changed.
fn peft_with(words: &serde_json::Value) -> Result<Adapter, String> {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    base_folder(at);
    let mut config = serde_json::json!({
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": at.join("base"), "bias": "none", "corda_config": null, "ensure_weight_tying": false,
        "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
        "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
        "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
        "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4,
        "rank_pattern": {}, "revision": null, "target_modules": ["q_proj", "v_proj"], "target_parameters": null,
        "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
        "use_qalora": false, "use_rslora": false, "velora_config": null,
    });
    for (key, value) in words.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(at.join("adapter_config.json"), config.to_string()).unwrap();
    let ones =
        |shape: (usize, usize)| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let name = |part: &str| format!("base_model.model.{QUERY}.{part}.weight");
    let weights = HashMap::from([
        (name("lora_A"), ones((4, 16))),
        (name("lora_B"), ones((16, 4))),
    ]);
    candle_core::safetensors::save(&weights, at.join("adapter_model.safetensors")).unwrap();
    load_adapter(at, None).map_err(|error| error.to_string())
}

/// Checks that every key of PEFT 0.21's `LoraConfig` is refused by name if its value requires another computation
/// than W + s·B·A, as are unknown keys, before the weights are read.
#[test]
fn peft_keys_are_accepted_one_by_one() {
    use serde_json::json;
    for (key, value) in [
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("something_new")),
        ("alora_invocation_tokens", json!([5, 6])),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("lora_bias", json!(true)),
        ("rank_pattern", json!({"q_proj": 2})),
        ("alpha_pattern", json!({"q_proj": 32})),
        ("layers_to_transform", json!([1])),
        ("layers_to_transform", json!("all")),
        ("exclude_modules", json!(["layers.0.self_attn.q_proj"])),
        ("exclude_modules", json!(".*q_proj")),
        ("target_modules", json!(["v_proj"])),
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("use_qalora", json!(true)),
        ("trainable_token_indices", json!([5])),
        ("trainable_token_indices", json!({"embed_tokens": [5]})),
        ("modules_to_save", json!(["lm_head"])),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"])),
        ("fan_in_fan_out", json!(true)),
        ("megatron_config", json!({"tensor_model_parallel_size": 2})),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("corda_config", json!({"corda_method": "ipm"})),
        ("lora_ga_config", json!({"direction": "ArB2r"})),
        ("velora_config", json!({"rank": 1})),
        ("monteclora_config", json!({"samples": 4})),
        ("kasa_config", json!({"beta": 1e-4})),
        ("arrow_config", json!({"top_k": 3})),
        ("use_bdlora", json!({"nblocks": 2})),
        ("ensure_weight_tying", json!(true)),
        ("task_type", json!("SEQ_CLS")),
        ("peft_type", json!("LOHA")),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("r", json!(1_000_000_000_000u64)),
        ("lora_alpha", json!("8")),
        ("lora_dropout", json!(1.0)),
        ("use_dora", json!("yes")),
        ("a_key_of_the_future", json!(1)),
    ] {
        let error = peft_with(&json!({key: value})).expect_err(&format!("{key} = {value}"));
        assert!(
            error.contains(&format!("`{key}`")) && error.contains("adapter_config.json"),
            "{key} = {value}: {error}"
        );
    }
    // Keys without effect: provenance, the initialization of A, and the selection of modules.
    for words in [
        json!({}),
        json!({"init_lora_weights": "gaussian", "target_modules": "all-linear"}),
        json!({"init_lora_weights": "orthogonal", "layers_to_transform": [0], "layers_pattern": "layers"}),
        json!({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}, "layers_to_transform": 0}),
        json!({"init_lora_weights": "mica", "peft_version": "9.9", "task_type": null}),
        json!({"init_lora_weights": false, "auto_mapping": {"unsloth_fixed": true}, "inference_mode": false}),
        json!({"qalora_group_size": 32, "megatron_core": "other", "modules_to_save": [], "lora_dropout": 0.1}),
        json!({"target_modules": ["layers.0.self_attn.q_proj"], "exclude_modules": ["k_proj"]}),
        json!({"runtime_config": {"ephemeral_gpu_offload": false}}),
    ] {
        let adapter = peft_with(&words).unwrap_or_else(|error| panic!("{words}: {error}"));
        assert_eq!(adapter.config.scale(), 2.0);
        assert_eq!(adapter.config.targets, [QUERY]);
        adapter.check(&config()).unwrap();
    }
    let stabilised = peft_with(&json!({"use_rslora": true})).unwrap();
    assert_eq!(stabilised.config.scale(), 4.0);
}

/// Checks that an adapter with weights that are not finite is neither read nor saved.
#[test]
fn non_finite_adapters_are_neither_read_nor_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut adapter = learned(everywhere());
    adapter.base.folder = base_folder(folder.path());
    let name = format!("{QUERY}.lora_B.weight");
    let broken = (&adapter.weights[&name] * f64::NAN).unwrap();
    adapter.weights.insert(name.clone(), broken.clone());
    let error = save_adapter(folder.path(), &adapter)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&name) && error.contains("not saved"),
        "{error}"
    );
    adapter
        .weights
        .insert(name.clone(), broken.zeros_like().unwrap());
    save_adapter(folder.path(), &adapter).unwrap();
    let path = folder.path().join("adapter_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    tensors.insert(format!("base_model.model.{name}"), broken);
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let error = load_adapter(folder.path(), None).unwrap_err().to_string();
    assert!(
        error.contains(&name) && error.contains("NaN or infinite"),
        "{error}"
    );
}
