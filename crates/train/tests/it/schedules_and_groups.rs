//! Tests of the schedule at exact steps, and of the optimizers' parameter groups, against numbers computed by hand.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use polymath_ops::{Ops, Precision, UpdateAt};
use polymath_train::{Optimizer, Training, learning_rate};

use crate::support::table::training;

fn assert_rates(config: &Training, total: u64, expected: &[(u64, f64)]) {
    for (step, rate) in expected {
        let found = learning_rate(config, *step, total);
        assert!(
            (found - 2.0 * rate).abs() < 1e-12,
            "step {step} of {total}: {found}"
        );
    }
}

/// Checks the learning rate as a share of the peak. The peak is reached at the last step of the warmup and left at
/// the next step; the minimum is reached at the last step, not before or after it.
#[test]
fn schedules_have_their_values_at_exact_steps() {
    let cosine = training("steps = 1\nwarmup_steps = 4\nminimum_learning_rate_ratio = 0.2");
    // cos 30°, 60°, 90°, … over the six steps after the warmup.
    let sixth = |cosine: f64| 0.2 + 0.8 * 0.5 * (1.0 + cosine);
    let root = 3f64.sqrt() / 2.0;
    assert_rates(
        &cosine,
        10,
        &[
            (1, 0.25),
            (2, 0.5),
            (3, 0.75),
            (4, 1.0),
            (5, sixth(root)),
            (6, sixth(0.5)),
            (7, 0.6),
            (8, sixth(-0.5)),
            (9, sixth(-root)),
            (10, 0.2),
        ],
    );
    let wsd = training(
        "steps = 1\nwarmup_steps = 2\nschedule = \"wsd\"\ndecay_fraction = 0.25\nminimum_learning_rate_ratio = 0.0",
    );
    assert_rates(
        &wsd,
        20,
        &[
            (1, 0.5),
            (2, 1.0),
            (3, 1.0),
            (15, 1.0),
            (16, 0.8),
            (17, 0.6),
            (19, 0.2),
            (20, 0.0),
        ],
    );
    let constant = training("steps = 1\nwarmup_steps = 3\nschedule = \"constant\"");
    assert_rates(
        &constant,
        9,
        &[(1, 1.0 / 3.0), (3, 1.0), (4, 1.0), (9, 1.0)],
    );
}

/// Checks that the default warmup is 2 % of the run and at most 500 steps.
#[test]
fn the_default_warmup_depends_on_the_length_of_the_run() {
    let config = |steps: u64| training(&format!("steps = {steps}\nschedule = \"constant\""));
    assert_rates(&config(49), 49, &[(1, 1.0)]);
    assert_rates(&config(1000), 1000, &[(1, 0.05), (19, 0.95), (20, 1.0)]);
    let long = [(250, 0.5), (499, 0.998), (500, 1.0)];
    assert_rates(&config(1_000_000), 1_000_000, &long);
}

/// One parameter of every kind, as (name, shape, whether weight decay applies, whether Muon updates it).
const GROUPS: [(&str, &[usize], bool, bool); 12] = [
    ("model.embed_tokens.weight", &[4, 2], false, false),
    ("model.embed_positions.weight", &[4, 2], false, false),
    ("model.layers.0.input_layernorm.weight", &[4], false, false),
    ("model.layers.0.input_layernorm.bias", &[4], false, false),
    ("model.layers.0.self_attn.q_norm.weight", &[4], false, false),
    (
        "model.layers.0.self_attn.q_proj.weight",
        &[4, 2],
        true,
        true,
    ),
    ("model.layers.0.self_attn.q_proj.bias", &[4], false, false),
    ("model.layers.11.mlp.down_proj.weight", &[2, 8], true, true),
    (
        "model.layers.0.mlp.up_proj.lora_A.weight",
        &[2, 4],
        true,
        false,
    ),
    (
        "model.layers.0.mlp.up_proj.lora_magnitude_vector",
        &[4],
        false,
        false,
    ),
    ("model.norm.weight", &[4], false, false),
    ("lm_head.weight", &[4, 2], true, false),
];

fn ones() -> BTreeMap<String, Var> {
    let one = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let all = GROUPS.iter();
    all.map(|(name, shape, ..)| ((*name).to_owned(), one(shape)))
        .collect()
}

fn at(step: u64) -> UpdateAt {
    UpdateAt {
        step,
        gradient_scale: 1.0,
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensor.into_iter().map(f64::from).collect()
}

fn optimizer(kind: &str, parameters: &BTreeMap<String, Var>) -> Optimizer {
    let config = training(&format!(
        "steps = 1\noptimizer = \"{kind}\"\nweight_decay = 0.25"
    ));
    Optimizer::new(&config, parameters, Ops::fused(Precision::F32)).unwrap()
}

/// Checks that both optimizers shrink matrices with a zero gradient by 1 − η·λ = 0.9 in each update, and leave
/// embeddings, norms, biases and magnitudes unchanged.
#[test]
fn only_projections_decay() {
    for kind in ["adamw", "muon"] {
        let parameters = ones();
        let zeros: BTreeMap<String, Tensor> = parameters
            .iter()
            .map(|(name, parameter)| (name.clone(), parameter.zeros_like().unwrap()))
            .collect();
        let mut optimizer = optimizer(kind, &parameters);
        for step in 1..=2 {
            optimizer.step(&parameters, &zeros, at(step), 0.4).unwrap();
        }
        for (name, _, decays, _) in GROUPS {
            let expected = if decays { 0.81 } else { 1.0 };
            for value in values(&parameters[name]) {
                assert!((value - expected).abs() < 1e-6, "{kind}, `{name}`: {value}");
            }
        }
    }
}

/// Checks that one momentum is saved for the matrices in the layers (Muon) and two moments for all other parameters
/// (AdamW).
#[test]
fn muon_updates_the_matrices_of_the_layers() {
    let parameters = ones();
    let folder = tempfile::tempdir().unwrap();
    for kind in ["adamw", "muon"] {
        let path = folder.path().join(kind);
        optimizer(kind, &parameters).save(&path).unwrap();
        let saved = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let mut expected: Vec<String> = Vec::new();
        for (name, _, _, by_muon) in GROUPS {
            match by_muon && kind == "muon" {
                true => expected.push(format!("{name}.momentum")),
                false => {
                    expected.extend(["first", "second"].map(|it| format!("{name}.{it}_moment")))
                }
            }
        }
        expected.sort();
        let mut found: Vec<String> = saved.into_keys().collect();
        found.sort();
        assert_eq!(found, expected, "{kind}");
    }
}

/// Checks that moments and momentum survive saving and loading: three updates, a file and three more equal six
/// updates bit for bit. They differ from the last three alone.
#[test]
fn optimizer_state_survives_saving_and_loading() {
    let gradients = |step: u64| -> BTreeMap<String, Tensor> {
        let wave = |at: usize| ((at as f32 + 1.0) * (step as f32 * 0.7 + 0.3)).sin();
        let of = |shape: &[usize]| {
            let count = shape.iter().product();
            Tensor::from_vec(
                (0..count).map(wave).collect::<Vec<_>>(),
                shape,
                &Device::Cpu,
            )
            .unwrap()
        };
        let all = GROUPS.iter();
        all.map(|(name, shape, ..)| ((*name).to_owned(), of(shape)))
            .collect()
    };
    let folder = tempfile::tempdir().unwrap();
    for kind in ["adamw", "muon"] {
        let run = |forget: bool, save: bool| -> Vec<Vec<f64>> {
            let parameters = ones();
            let mut now = optimizer(kind, &parameters);
            for step in 1..=6 {
                if step == 4 && (save || forget) {
                    let path = folder.path().join(format!("{kind}.safetensors"));
                    now.save(&path).unwrap();
                    now = optimizer(kind, &parameters);
                    if !forget {
                        now.load(&path, &parameters).unwrap();
                    }
                }
                now.step(&parameters, &gradients(step), at(step), 0.01)
                    .unwrap();
            }
            parameters.values().map(|it| values(it)).collect()
        };
        let whole = run(false, false);
        assert_eq!(whole, run(false, true), "{kind}");
        let forgetful = run(true, false);
        for ((name, ..), (whole, forgetful)) in ones().iter().zip(whole.iter().zip(&forgetful)) {
            assert_ne!(whole, forgetful, "{kind}, `{name}`");
        }
    }
}
