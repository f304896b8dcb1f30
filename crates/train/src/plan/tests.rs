//! Tests of the estimated cost of a run.

use polymath_model::{ArchitectureConfig, EndTokens};

use super::*;
use crate::{Length, TrainingConfig, TrainingDefaults};

const NO_ENDS: EndTokens = EndTokens { begin: 0, end: 0 };

/// Returns a resolved `[training]` table for rows of `sequence_length` tokens.
fn read(text: &str, sequence_length: usize) -> Training {
    let config: TrainingConfig = toml::from_str(text).unwrap();
    config.resolve(&TrainingDefaults {
        length: Length::Steps(1),
        batch_size: 16,
        sequence_length,
        learning_rate: 1e-3,
        optimizer: crate::OptimizerChoice::Adamw,
        weight_decay: crate::WEIGHT_DECAY,
        padding: 0.0,
        epoch_tokens: 1,
        tokens_at_once: None,
    })
}

fn plan(training: &str) -> Plan {
    let shape: ArchitectureConfig =
        toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4").unwrap();
    let model = shape.resolve(500, 128, NO_ENDS).unwrap();
    Plan::new(&model, &read(training, 128), 0.0, &|_| true)
}

/// Checks that a run that needs too much memory is refused with the keys that would help: keys of the batch if its
/// activations are too large, and keys of the model if its parameters and optimizer state are.
#[test]
fn too_little_memory_is_refused() {
    let plan = plan("steps = 1\nbatch_size = 64");
    let all = plan.state_bytes + plan.activation_bytes;
    plan.check_memory(None).unwrap();
    plan.check_memory(Some(all)).unwrap();
    let error = plan.check_memory(Some(all - 1)).unwrap_err().to_string();
    assert!(
        error.contains("`training.accumulation_steps`") && !error.contains("model."),
        "{error}"
    );
    let error = plan
        .check_memory(Some(plan.state_bytes - 1))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`model.hidden_size`") && error.contains("MB are available"),
        "{error}"
    );
    // The memory of retention methods counts too, and is named first.
    let mut retaining = plan.clone();
    retaining.retention_bytes = 1;
    let error = retaining.check_memory(Some(all)).unwrap_err().to_string();
    assert!(error.contains("method of `[retention]`"), "{error}");
    // Accumulation and recomputation take less memory, as documented.
    let less = self::plan("steps = 1\nbatch_size = 64\naccumulation_steps = 4");
    assert!(less.activation_bytes < plan.activation_bytes / 2);
    let less = self::plan("steps = 1\nbatch_size = 64\nrecompute = \"block\"");
    assert!(less.activation_bytes < plan.activation_bytes);
}

/// Checks that training an adapter stores only the adapter's narrow activations, with dropout or without, and that a
/// model with frozen first layers stores no activations of these layers.
#[test]
fn adapters_and_frozen_layers_keep_little() {
    let shape: ArchitectureConfig =
        toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4").unwrap();
    let model = shape.resolve(500, 128, NO_ENDS).unwrap();
    let training = read("steps = 1\nbatch_size = 8", 128);
    let tokens = 8 * 128;
    let lora: LoraConfig = toml::from_str("rank = 2").unwrap();
    let of = |lora: &LoraConfig| Plan::of_adapter(&model, &training, 0.0, lora);
    let dropping = LoraConfig {
        dropout: 0.1,
        ..lora.clone()
    };
    let wider = LoraConfig {
        rank: 3,
        ..lora.clone()
    };
    // The activations are freed as gradients appear.
    let all = |plan: &Plan| plan.activation_bytes + 4 * plan.trainable_parameters;
    let own = all(&of(&lora));
    assert_eq!(all(&of(&dropping)), own);
    let branches = lora.modules(&model).len() as u64;
    assert_eq!(all(&of(&wider)) - own, 4 * tokens * branches);
    let last = |name: &str| name.starts_with("model.layers.1.");
    let whole = Plan::new(&model, &training, 0.0, &|name| name.contains("layers"));
    let frozen = Plan::new(&model, &training, 0.0, &last);
    let none = Plan::new(&model, &training, 0.0, &|_| false);
    let of_layer = all(&whole) - all(&frozen);
    assert_eq!(all(&frozen) - all(&none), of_layer);
    // Input twice, queries, keys and values, the attention's output, both sides of the activation, statistics.
    let numbers = 2 * 64 + 3 * 64 + 64 + 2 * model.intermediate_size as u64 + 4 + 2;
    assert_eq!(of_layer, 4 * tokens * numbers);
    // In bf16 all but the inputs and the statistics are kept in half of the memory.
    let training = read("steps = 1\nbatch_size = 8\nprecision = \"bf16\"", 128);
    let of = |moving: &dyn Fn(&str) -> bool| all(&Plan::new(&model, &training, 0.0, moving));
    let halved = of(&|name| name.contains("layers")) - of(&last);
    assert_eq!(halved, 2 * tokens * (numbers + 2 * 64 + 4 + 2));
}

/// Checks that the estimate does not add up all gradients and all activations: the backward pass frees activations
/// while it makes gradients.
#[test]
fn gradients_take_the_place_of_activations() {
    let shape: ArchitectureConfig =
        toml::from_str("hidden_size = 64\nnum_hidden_layers = 8\nnum_attention_heads = 4").unwrap();
    let model = shape.resolve(50, 128, NO_ENDS).unwrap();
    let of = |rows: u64| {
        let training = read(&format!("steps = 1\nbatch_size = {rows}"), 128);
        let plan = Plan::new(&model, &training, 0.0, &|_| true);
        let bytes = model.step_bytes(None, true, Precision::F32);
        let sum = 128 * rows as u128 * 8 * (bytes.of_layer + bytes.inputs);
        (plan.activation_bytes, sum as u64, 4 * plan.parameters)
    };
    let (few, kept, _) = of(1);
    assert!(few < kept, "{few} of {kept}");
    let (many, kept, gradients) = of(64);
    assert!(many > kept - gradients, "{many} of {kept} and {gradients}");
}

/// Checks the sizes of a plan by hand. With half of all positions padding, 1000 tokens in steps of 2 × 10 positions are
/// 100 steps of 10 tokens, and the model computes 2000 positions. AdamW keeps parameters, gradients and two moments of
/// 4 bytes each, and a further sum of gradients where a step is computed in parts.
#[test]
fn sizes_are_those_by_hand() {
    let shape: ArchitectureConfig =
        toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4").unwrap();
    let model = shape.resolve(500, 128, NO_ENDS).unwrap();
    let of = |text: &str, moving: &dyn Fn(&str) -> bool| {
        let training = read(&format!("tokens = 1000\nbatch_size = 2\n{text}"), 10);
        Plan::new(&model, &training, 0.5, moving)
    };
    let whole = of("", &|_| true);
    assert_eq!(
        (whole.steps, whole.tokens, whole.positions),
        (100, 1000, 2000)
    );
    assert_eq!(whole.flops(), whole.flops_per_token * 2000.0);
    assert_eq!(whole.state_bytes, 16 * whole.parameters);
    let parts = of("accumulation_steps = 2", &|_| true);
    assert_eq!(parts.state_bytes, 20 * whole.parameters);
    let none = of("", &|_| false);
    assert_eq!(none.state_bytes, 4 * whole.parameters);
    // Gradients of the embedding pass through all layers, those of the last norm through none.
    let layers = |part: &str| tracked_layers(&model, &|name| name.contains(part));
    assert_eq!(
        ["embed", "layers.0.", "layers.1.", "model.norm"].map(layers),
        [2, 2, 1, 0]
    );
}

/// Checks that recomputation is chosen and explained if a run does not fit into memory otherwise, and never against the
/// config.
#[test]
fn recomputation_is_chosen_by_the_free_memory() {
    let free = plan("steps = 1\nbatch_size = 64");
    let all = free.total_bytes();
    assert!(!free.clone().fitted(None).recomputes());
    let fits = free.clone().fitted(Some(all));
    assert!(!fits.recomputes() && fits.memory_choice().is_none());
    let short = free.clone().fitted(Some(all - 1));
    assert!(short.recomputes() && short.total_bytes() < all);
    let said = short.memory_choice().unwrap();
    assert!(said.contains("`training.recompute`"), "{said}");
    assert_eq!(short.clone().fitted(Some(1)), short);
    let given = plan("steps = 1\nbatch_size = 64\nrecompute = \"none\"");
    let given = given.fitted(Some(all - 1));
    assert!(!given.recomputes() && given.memory_choice().is_none());
    assert_eq!(given.total_bytes(), all);
}

/// Checks that the largest allowed sizes are counted without integer overflow.
#[test]
fn largest_sizes_do_not_overflow() {
    let shape: ArchitectureConfig = toml::from_str(
        "hidden_size = 32768\nnum_hidden_layers = 64\nnum_attention_heads = 16\nhead_dim = 16\n\
         max_position_embeddings = 16777216",
    )
    .unwrap();
    let model = shape.resolve(500, 16_777_216, NO_ENDS).unwrap();
    let training = read("steps = 7\nbatch_size = 1048576", 16_777_216);
    let plan = Plan::new(&model, &training, 0.0, &|_| true);
    assert_eq!(plan.activation_bytes, u64::MAX);
    plan.check_memory(Some(1 << 40)).unwrap_err();
}

/// Checks the sizes of an adapter's plan by hand: rank 2 on the projections of the attention and of the feed-forward
/// part. Only the adapter has gradients and moments, but all parameters are in memory.
#[test]
fn an_adapter_adds_its_own_parameters() {
    let shape: ArchitectureConfig =
        toml::from_str("hidden_size = 64\nnum_hidden_layers = 2\nnum_attention_heads = 4").unwrap();
    let model = shape.resolve(500, 128, NO_ENDS).unwrap();
    let lora: LoraConfig = toml::from_str("rank = 2").unwrap();
    let training = read("steps = 3\nbatch_size = 8", 100);
    let plan = Plan::of_adapter(&model, &training, 0.25, &lora);
    let shapes = lora.parameter_shapes(&model).into_iter();
    let own: u64 = shapes
        .map(|(_, shape)| shape.iter().map(|size| *size as u64).product::<u64>())
        .sum();
    assert!(own > 0 && own < model.parameter_count() / 2);
    assert_eq!(
        (plan.parameters, plan.trainable_parameters),
        (model.parameter_count() + own, own)
    );
    assert_eq!(
        plan.state_bytes,
        4 * (model.parameter_count() + own) + 12 * own
    );
    assert_eq!((plan.steps, plan.positions, plan.tokens), (3, 2400, 1800));
    assert_eq!(
        plan.flops_per_token,
        model.adapter_training_flops_per_token(100, &lora)
    );
    assert_eq!(plan.retention_bytes, 0);
    assert_eq!(plan.total_bytes(), plan.state_bytes + plan.activation_bytes);
}

/// Checks the sums of a plan by hand, and the megabytes that its sentences give, at numbers that are no multiples of
/// each other.
#[test]
fn sums_and_sentences_are_those_by_hand() {
    let mut plan = plan("steps = 1\nbatch_size = 64");
    (plan.state_bytes, plan.activation_bytes) = (3_500_000, 2_250_000);
    (plan.recomputed_bytes, plan.retention_bytes) = (1_100_000, 40_000);
    (plan.flops_per_token, plan.positions, plan.preparation_flops) = (1e3, 7, 500.0);
    assert_eq!((plan.total_bytes(), plan.flops()), (5_790_000, 7500.0));
    let said = |available| plan.check_memory(Some(available)).unwrap_err().to_string();
    for part in [
        "about 6 MB of memory",
        "(4 MB of parameters",
        "3 MB of activations",
        "1 MB for what is retained",
        "and 5 MB are available",
    ] {
        assert!(
            said(5_789_999).contains(part),
            "{part}: {}",
            said(5_789_999)
        );
    }
    // `[retention]` is named where the rest alone fits, the size of the model where that alone does not.
    assert!(said(5_750_000).contains("[retention]") && !said(5_749_999).contains("[retention]"));
    assert!(said(3_499_999).contains("model.hidden_size") && !said(3_500_000).contains("model."));
    let fitted = plan.clone().fitted(Some(5_789_999));
    assert_eq!(fitted.total_bytes(), 4_640_000);
    let said = fitted.memory_choice().unwrap();
    assert!(said.contains("about 4 MB in place of 5 MB"), "{said}");
}
