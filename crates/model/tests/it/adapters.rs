//! Tests that compare adapters with independent computations.

mod files;

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

/// Returns the settings of an adapter beside every projection.
fn everywhere() -> LoraConfig {
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let all = attention
        .into_iter()
        .chain(["gate_proj", "up_proj", "down_proj"]);
    LoraConfig {
        rank: 8,
        alpha: 16.0,
        targets: all.map(str::to_owned).collect(),
        ..LoraConfig::default()
    }
}

/// Checks that an adapter is beside the projections of the MLP by default, at a scale of 2.
#[test]
fn the_mlp_is_adapted_by_default() {
    let lora = LoraConfig::default();
    assert_eq!((lora.rank, lora.scale()), (16, 2.0));
    let modules = lora.modules(&config());
    assert_eq!(modules.len(), 2 * 3);
    assert!(modules.iter().all(|(name, _)| name.contains(".mlp.")));
}

fn kinds() -> [LoraConfig; 3] {
    let plain = everywhere();
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
        ..everywhere()
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
        ..everywhere()
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
    assert_eq!(difference(&model, &with(learned(everywhere()))), 0.0);
}

/// Checks that dropout drops the same inputs when the rows of a batch are computed apart, and others in other rows.
#[test]
fn dropout_does_not_depend_on_parts() {
    for dora in [false, true] {
        let model = with(learned(LoraConfig {
            dropout: 0.5,
            dora,
            ..LoraConfig::default()
        }));
        let row = |row: usize| {
            let whole = batch();
            let take = |values: Vec<u32>| values[row * 12..(row + 1) * 12].to_vec();
            let part = Batch {
                input_ids: take(whole.input_ids),
                targets: take(whole.targets),
                document_starts: take(whole.document_starts),
                rows: 1,
                domains: vec![0],
            };
            f64::from(model.loss(&part).unwrap().to_scalar::<f32>().unwrap())
        };
        model.begin_step(1, 4);
        let whole = loss(&model);
        let first = row(0);
        let same_draws = first + row(1);
        model.begin_part(1);
        let parts = first + row(1);
        assert!((whole - parts).abs() < 1e-5 * whole, "{parts} for {whole}");
        assert!((whole - same_draws).abs() > 1e-4 * whole, "{same_draws}");
    }
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
        ..everywhere()
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

/// Checks that a parameter that has no place in the adapter is refused with the reason.
#[test]
fn strange_parameters_are_refused_with_the_reason() {
    let [dora, ..] = kinds();
    let down = "model.layers.0.mlp.down_proj";
    let refused = |change: &dyn Fn(&mut Adapter), said: &str| {
        let mut adapter = learned(dora.clone());
        change(&mut adapter);
        let error = adapter.check(&config()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    };
    refused(
        &|adapter| adapter.config.dora = false,
        "`use_dora` in its `adapter_config.json` is not true",
    );
    let copy = |adapter: &mut Adapter, to: &str| {
        let tensor = adapter.weights[&format!("{down}.lora_B.weight")].clone();
        adapter.weights.insert(to.into(), tensor);
    };
    refused(
        &|adapter| copy(adapter, "lm_head.base_layer.weight"),
        "`merge_and_unload`",
    );
    refused(
        &|adapter| copy(adapter, "model.layers.0.mlp.gone_proj.lora_B.weight"),
        "and no `model.layers.0.mlp.gone_proj.lora_A.weight`: the file is incomplete",
    );
}
