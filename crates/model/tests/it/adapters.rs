//! Tests that compare adapters with independent computations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, AdapterBase, ArchitectureConfig, Batch, EndTokens, LoadOptions, LoraConfig,
    ModelConfig, Ops, Precision, Transformer, load_adapter, save_adapter,
};

const QUERY: &str = "model.layers.0.self_attn.q_proj";

fn config() -> ModelConfig {
    let architecture: ArchitectureConfig = architecture();
    architecture
        .resolve(23, 16, EndTokens { begin: 0, end: 0 })
        .unwrap()
}

fn architecture() -> ArchitectureConfig {
    serde_json::from_str(
        r#"{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.2}"#,
    )
    .unwrap()
}

fn ops() -> Ops {
    Ops::fused(Precision::F32)
}

fn base() -> BTreeMap<String, Tensor> {
    let model =
        Transformer::initialize(config(), 3, &LoadOptions::frozen(&Device::Cpu, ops())).unwrap();
    let parameters = model.parameters().into_iter();
    parameters
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect()
}

fn nowhere() -> AdapterBase {
    AdapterBase {
        folder: "base".into(),
        published: None,
        sha256: None,
    }
}

fn fresh(lora: LoraConfig) -> Adapter {
    Adapter::initialize(lora, &config(), &base(), 5, nowhere()).unwrap()
}

/// Creates an adapter as after training: B is not zero, and no magnitude is the norm of its row.
fn learned(lora: LoraConfig) -> Adapter {
    let mut adapter = fresh(lora);
    for (name, tensor) in &mut adapter.weights {
        let wave: Vec<f32> = (0..tensor.elem_count())
            .map(|at| 0.1 * (at as f32 * 1.7).sin())
            .collect();
        if !name.contains("lora_A") {
            let wave = Tensor::from_vec(wave, tensor.dims(), &Device::Cpu).unwrap();
            *tensor = (&*tensor + wave).unwrap();
        }
    }
    adapter
}

fn with(adapter: Adapter) -> Transformer {
    let options = LoadOptions {
        device: Device::Cpu,
        ops: ops(),
        trainable: &|name| name.contains(".lora_"),
    };
    Transformer::with_adapter(config(), base(), adapter, &options).unwrap()
}

fn plain(weights: BTreeMap<String, Tensor>) -> Transformer {
    let options = LoadOptions::frozen(&Device::Cpu, ops());
    Transformer::from_weights(config(), weights, &options).unwrap()
}

fn batch() -> Batch {
    Batch {
        input_ids: (0..24).map(|at| at * 7 % 23).collect(),
        targets: (0..24).map(|at| (at + 1) * 7 % 23).collect(),
        document_starts: vec![0; 24],
        rows: 2,
        domains: vec![0; 2],
    }
}

fn difference(a: &Transformer, b: &Transformer) -> f32 {
    let logits = |model: &Transformer| model.logits(&batch()).unwrap();
    let difference = (logits(a) - logits(b)).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

fn loss(model: &Transformer) -> f64 {
    f64::from(model.loss(&batch()).unwrap().to_scalar::<f32>().unwrap())
}

fn kinds() -> [LoraConfig; 3] {
    let plain = LoraConfig::default();
    [
        LoraConfig {
            dora: true,
            rank: 2,
            ..plain.clone()
        },
        LoraConfig {
            rank: 4,
            rank_stabilised: true,
            targets: vec!["q_proj".into(), "model.layers.1.mlp.down_proj".into()],
            ..plain.clone()
        },
        plain,
    ]
}

/// Checks that a new adapter changes nothing: the merged weights equal the base's bit for bit, the adapted model
/// gives the base's results, and only the adapter is trainable.
#[test]
fn new_adapters_change_nothing() {
    for lora in kinds() {
        let adapter = fresh(lora);
        let mut merged = base();
        adapter.merge(&config(), &mut merged).unwrap();
        for (name, tensor) in base() {
            let (was, is) = (tensor.flatten_all(), merged[&name].flatten_all());
            assert_eq!(
                was.unwrap().to_vec1::<f32>().unwrap(),
                is.unwrap().to_vec1::<f32>().unwrap(),
                "{name}"
            );
        }
        let adapted = with(adapter.clone());
        assert!(adapted.trainable().keys().eq(adapter.weights.keys()));
        // The base computes each half of a block as one fused operation, and the adapted model as several, which
        // round differently.
        assert!(difference(&adapted, &plain(base())) < 1e-5);
    }
}

/// Checks that A is uniform in ±1/√in, as in PEFT, with different values for each projection and seed, and that B is
/// zero.
#[test]
fn initial_adapters_are_uniform_in_a_and_zero_in_b() {
    let lora = LoraConfig {
        rank: 12,
        targets: vec!["q_proj".into(), "k_proj".into(), "down_proj".into()],
        ..LoraConfig::default()
    };
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (mut seen, mut widths) = (Vec::new(), BTreeSet::new());
    for seed in [5, 6] {
        let adapter =
            Adapter::initialize(lora.clone(), &config(), &base(), seed, nowhere()).unwrap();
        for (name, tensor) in &adapter.weights {
            let values = flat(tensor);
            if name.contains("lora_B") {
                assert!(values.iter().all(|value| *value == 0.0), "{name}");
                continue;
            }
            let inputs = tensor.dims()[1];
            widths.insert(inputs);
            let bound = 1.0 / (inputs as f32).sqrt();
            let largest = values
                .iter()
                .fold(0f32, |most, value| most.max(value.abs()));
            assert!(
                0.95 * bound < largest && largest <= bound,
                "{name}: {largest} of {bound}"
            );
            let squares = values.iter().map(|value| value * value).sum::<f32>();
            let share = squares / values.len() as f32 / (bound * bound / 3.0);
            assert!((0.7..1.3).contains(&share), "{name}: {share}");
            assert!(!seen.contains(&values), "{name} begins as another");
            seen.push(values);
        }
    }
    assert_eq!((seen.len(), widths.len()), (2 * 2 * 3, 2));
}

/// Checks that the merged model computes the same as the adapter separate from its base, and not the same as the
/// base.
#[test]
fn a_merged_adapter_computes_what_it_does_beside_its_base() {
    for lora in kinds() {
        let adapter = learned(lora);
        let mut merged = base();
        adapter.merge(&config(), &mut merged).unwrap();
        let (beside, merged) = (with(adapter), plain(merged));
        assert!(difference(&beside, &merged) < 1e-5);
        assert!(difference(&merged, &plain(base())) > 1e-2);
    }
}

/// Checks the gradients of A, B and the magnitude against finite differences of the loss. DoRA's norm is constant for
/// the gradient, as in the paper, so its A and B are checked without it.
#[test]
fn gradients_are_finite_differences() {
    for lora in kinds() {
        let dora = lora.dora;
        let adapter = learned(lora);
        let model = with(adapter.clone());
        let gradients = model.loss(&batch()).unwrap().backward().unwrap();
        for (name, variable) in model.trainable() {
            if dora && !name.contains("magnitude") {
                continue;
            }
            let gradient = gradients.get(variable).unwrap().flatten_all().unwrap();
            let gradient = gradient.to_vec1::<f32>().unwrap();
            // The difference is largest along the gradient's own direction, so rounding matters least there.
            let length = gradient
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            let direction: Vec<f32> = gradient.iter().map(|g| g / length as f32).collect();
            let direction = Tensor::from_vec(direction, variable.dims(), &Device::Cpu).unwrap();
            let h = 2e-3;
            let at = |h: f64| {
                let mut moved = adapter.clone();
                let shifted = (&moved.weights[name] + (&direction * h).unwrap()).unwrap();
                moved.weights.insert(name.clone(), shifted);
                loss(&with(moved))
            };
            let measured = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (measured - length).abs() < 0.03 * length + 0.01,
                "{name}: {measured} for {length}"
            );
        }
    }
}

/// Checks that dropout is the same for the same seed, step and batch, different for another step, and absent in
/// scoring.
#[test]
fn dropout_is_reproducible() {
    let lora = LoraConfig {
        dropout: 0.5,
        ..LoraConfig::default()
    };
    let (model, other) = (with(learned(lora.clone())), with(learned(lora)));
    model.begin_step(1, 4);
    let first = loss(&model);
    model.begin_step(1, 5);
    assert_ne!(first.to_bits(), loss(&model).to_bits());
    other.begin_step(1, 4);
    assert_eq!(first.to_bits(), loss(&other).to_bits());
    other.begin_step(2, 4);
    assert_ne!(first.to_bits(), loss(&other).to_bits());
    // Scoring ignores dropout in every step.
    assert_eq!(
        difference(&model, &with(learned(LoraConfig::default()))),
        0.0
    );
}

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
    let mut adapter = learned(LoraConfig::default());
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

/// Checks that values out of range and targets without a match are refused by name.
#[test]
fn bad_settings_are_refused() {
    let refused = |lora: LoraConfig| lora.validate(&config()).unwrap_err().to_string();
    let good = LoraConfig::default;
    assert!(refused(LoraConfig { rank: 0, ..good() }).contains("`lora.rank`"));
    assert!(
        refused(LoraConfig {
            alpha: -1.0,
            ..good()
        })
        .contains("`lora.alpha`")
    );
    assert!(
        refused(LoraConfig {
            dropout: 1.0,
            ..good()
        })
        .contains("`lora.dropout`")
    );
    let targets = |name: &str| LoraConfig {
        targets: vec![name.into()],
        ..good()
    };
    // The end of a name must begin after a dot.
    for wrong in ["proj", "c_attn", "lm_head", ""] {
        let error = refused(targets(wrong));
        assert!(
            error.contains(&format!("`{wrong}`")) && error.contains("`q_proj`"),
            "{error}"
        );
    }
    assert!(targets("layers.1.mlp.up_proj").validate(&config()).is_ok());
}

/// Checks the number of operations with every projection adapted at rank r. A frozen matrix costs its forward pass,
/// plus the gradient of its input if there is an adapter before it; an adapter costs three products of its own.
#[test]
fn operations_are_counted() {
    let lora = LoraConfig {
        targets: vec!["model.layers.1.mlp.down_proj".into()],
        ..LoraConfig::default()
    };
    let config = config();
    let forward: f64 = config.training_flops_per_token(16, &|_| false);
    let [outputs, inputs] = lora.modules(&config)[0].1;
    let head = 23.0 * 16.0;
    // Only the output projection comes after the adapter; the input of A needs no gradient.
    let extra = 2.0 * (head + 2.0 * (8 * inputs) as f64 + 3.0 * (8 * outputs) as f64);
    assert_eq!(
        config.adapter_training_flops_per_token(16, &lora),
        forward + extra
    );
}
