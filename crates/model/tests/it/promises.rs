//! Tests that compare the model with independent computations.

mod generation;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polymath_model::{
    ArchitectureConfig, Batch, EndTokens, Generation, IGNORED, Implementation, LoadOptions,
    ModelConfig, Ops, Precision, SamplingConfig, SlidingWindow, Transformer,
};
use polymath_ops::{AdamW, Moments, UpdateAt};

use crate::support::letters::write_tokenizer;

fn ops(implementation: Implementation) -> Ops {
    Ops {
        implementation,
        precision: Precision::F32,
    }
}

fn config(key_value_heads: usize, tied: bool, qk_norm: bool) -> ModelConfig {
    let architecture = ArchitectureConfig {
        hidden_size: 48,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        num_key_value_heads: Some(key_value_heads),
        head_dim: None,
        intermediate_size: Some(88),
        max_position_embeddings: Some(64),
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        qk_norm,
        sliding_window: None,
        tie_word_embeddings: tied,
        initializer_range: Some(0.2),
    };
    architecture
        .resolve(97, 64, EndTokens { begin: 0, end: 0 })
        .unwrap()
}

fn model(config: ModelConfig, implementation: Implementation) -> Transformer {
    let options = LoadOptions::trained(&Device::Cpu, ops(implementation));
    Transformer::initialize(config, 11, &options).unwrap()
}

/// Creates `rows` rows of one document each, whose tokens follow a simple rule.
fn batch(rows: usize, sequence: usize) -> Batch {
    let token = |row: usize, at: usize| ((row * 31 + at * at * 7 + at) % 96 + 1) as u32;
    let ids = |shift: usize| {
        (0..rows)
            .flat_map(|row| (0..sequence).map(move |at| token(row, at + shift)))
            .collect()
    };
    Batch {
        input_ids: ids(0),
        targets: ids(1),
        document_starts: vec![0; rows * sequence],
        rows,
        domains: vec![0; rows],
    }
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar::<f32>().unwrap()
}

/// Checks that the z-loss adds to the training loss in proportion to its weight, and not to the scores.
#[test]
fn z_loss_is_trained_and_not_reported() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let batch = batch(2, 16);
        let measured = |z_loss: f64| {
            let model = model(config(2, true, false), implementation).with_z_loss(z_loss);
            let loss = model.loss(&batch).unwrap().to_scalar::<f32>().unwrap();
            (f64::from(loss), model.score(&batch).unwrap().nats)
        };
        let ((none, reported), (one, same), (two, _)) =
            (measured(0.0), measured(0.01), measured(0.02));
        // ln Σ e^logit is ln 97 if all logits are 0, and larger if they differ.
        let squared = (one - none) / (32.0 * 0.01);
        assert!(
            (1.0..2.0).contains(&(squared / 97f64.ln().powi(2))),
            "{squared}"
        );
        assert!(
            ((two - none) - 2.0 * (one - none)).abs() < 1e-2,
            "{none} {one} {two}"
        );
        assert_eq!(reported, same);
    }
}

/// Checks that the logits of a saved folder equal those of candle-transformers' Llama, an independent implementation.
#[test]
fn exported_logits_match_candle_transformers() {
    use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
    for (key_value_heads, tied) in [(6, true), (2, false), (1, true)] {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = write_tokenizer(folder.path());
        let ours = model(config(key_value_heads, tied, false), Implementation::Fused);
        polymath_model::save(folder.path(), &ours, &tokenizer).unwrap();

        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        let theirs: LlamaConfig = serde_json::from_str(&text).unwrap();
        let theirs = theirs.into_config(false);
        let weights =
            candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu)
                .unwrap();
        let builder = candle_nn::VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let llama = Llama::load(builder, &theirs).unwrap();
        let rows = batch(1, 40);
        let logits = ours.logits(&rows).unwrap();
        for length in [1, 7, 40] {
            let mut cache = Cache::new(false, DType::F32, &theirs, &Device::Cpu).unwrap();
            let input =
                Tensor::from_slice(&rows.input_ids[..length], (1, length), &Device::Cpu).unwrap();
            let last = llama.forward(&input, 0, &mut cache).unwrap(); // (1, vocabulary)
            let mine = logits.get(0).unwrap().narrow(0, length - 1, 1).unwrap();
            let difference = largest_difference(&last, &mine);
            assert!(
                difference < 1e-4,
                "{key_value_heads} heads, {length} tokens: {difference}"
            );
        }
    }
}

/// Checks that a saved folder is read back with the same parameters, bit for bit, and with its metadata.
#[test]
fn folders_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_tokenizer(folder.path());
    let saved = model(config(2, false, true), Implementation::Fused);
    polymath_model::save(folder.path(), &saved, &tokenizer).unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, ops(Implementation::Fused));
    let loaded = polymath_model::load(folder.path(), &options).unwrap();
    assert_eq!(loaded.config(), saved.config());
    assert_eq!(loaded.trainable().len(), 0);
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (name, tensor) in saved.parameters() {
        assert_eq!(bits(&tensor), bits(&loaded.parameters()[name]), "{name}");
    }
    let settings = std::fs::read_to_string(folder.path().join("tokenizer_config.json")).unwrap();
    assert!(settings.contains("\"eos_token\": \"t0\""), "{settings}");
}

/// Checks that a truncated, missing or foreign file is reported in one sentence.
#[test]
fn broken_folders_are_reported_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_tokenizer(folder.path());
    let saved = model(config(2, true, false), Implementation::Fused);
    polymath_model::save(folder.path(), &saved, &tokenizer).unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, ops(Implementation::Fused));
    let error = |folder: &Path| {
        polymath_model::load(folder, &options)
            .err()
            .unwrap()
            .to_string()
    };

    let weights = folder.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert!(
        error(folder.path()).contains("cut off"),
        "{}",
        error(folder.path())
    );
    std::fs::write(&weights, &whole).unwrap();

    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"llama\"", "\"mamba\"")).unwrap();
    assert!(error(folder.path()).contains("`model_type` = `mamba`"));
    std::fs::write(
        &path,
        text.replace("\"hidden_size\": 48", "\"hidden_size\": 42"),
    )
    .unwrap();
    assert!(
        error(folder.path()).contains("has the shape"),
        "{}",
        error(folder.path())
    );
    std::fs::remove_file(&path).unwrap();
    assert!(error(folder.path()).contains("config.json"));
    assert!(error(Path::new("/nowhere")).contains("`/nowhere`"));
}

/// Checks that two documents packed into one row have exactly the same scores as alone.
#[test]
fn packed_documents_do_not_see_each_other() {
    for implementation in [Implementation::Fused, Implementation::Reference] {
        let model = model(config(2, true, false), implementation);
        let alone = [batch(1, 13), batch(2, 19)];
        let second = 19..38; // The second row of the second batch.
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
        let apart = [&first[..], &other[second]].concat();
        for (a, b) in together.iter().zip(&apart) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

/// Checks that the training loss is the sum of the scores, and that ignored targets add nothing.
#[test]
fn loss_is_the_sum_of_scores() {
    let model = model(config(3, true, true), Implementation::Fused);
    let mut rows = batch(2, 24);
    for target in &mut rows.targets[5..20] {
        *target = IGNORED;
    }
    let scores = model.score(&rows).unwrap();
    assert!(scores.nats[5..20].iter().all(|nats| *nats == 0.0));
    let sum: f32 = scores.nats.iter().sum();
    let loss = model.loss(&rows).unwrap().to_scalar::<f32>().unwrap();
    assert!((sum - loss).abs() < 1e-3 * sum, "{sum} {loss}");
}

/// Checks that the model can overfit one batch to below 0.05 nats per token; with a broken gradient it can't.
#[test]
fn the_model_overfits_one_batch() {
    for (implementation, qk_norm) in [
        (Implementation::Fused, false),
        (Implementation::Reference, false),
        (Implementation::Fused, true),
    ] {
        let mut config = config(2, true, qk_norm);
        config.initializer_range = 0.1;
        let model = model(config, implementation);
        let rows = batch(4, 32);
        let optimizer = AdamW {
            learning_rate: 1e-2,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        let mut moments: Vec<Moments> = model
            .trainable()
            .values()
            .map(|variable| Moments::zeros(variable).unwrap())
            .collect();
        let mut loss = f32::MAX;
        for step in 1..=120 {
            let sum = model.loss(&rows).unwrap();
            loss = sum.to_scalar::<f32>().unwrap() / rows.scored_tokens() as f32;
            let mean = (sum / rows.scored_tokens() as f64).unwrap();
            let gradients = mean.backward().unwrap();
            for (variable, moments) in model.trainable().values().zip(&mut moments) {
                let gradient = gradients.get(variable).unwrap();
                let at = UpdateAt {
                    step,
                    gradient_scale: 1.0,
                };
                optimizer
                    .step(model.ops(), variable, gradient, moments, at)
                    .unwrap();
            }
        }
        assert!(loss < 0.05, "{implementation:?}, qk_norm {qk_norm}: {loss}");
    }
}

/// Checks that values out of range are refused with an error, not a panic.
#[test]
fn bad_batches_are_refused() {
    let model = model(config(2, true, false), Implementation::Fused);
    let error = model.score(&batch(1, 65)).err().unwrap().to_string();
    assert!(error.contains("longer than the model's context"), "{error}");
    let mut rows = batch(1, 8);
    rows.input_ids[3] = 97;
    let error = model.score(&rows).err().unwrap().to_string();
    assert!(error.contains("token 97 is outside"), "{error}");
    let architecture = ArchitectureConfig {
        num_attention_heads: 5,
        ..serde_json::from_value(serde_json::json!({
            "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 6
        }))
        .unwrap()
    };
    let error = architecture
        .resolve(97, 64, EndTokens { begin: 0, end: 0 })
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not divide"), "{error}");
}

/// Checks the number of training operations: the formula for the whole model, a third of it if nothing is trainable,
/// and only the gradient that reaches the last norm if that alone is trainable.
#[test]
fn frozen_parameters_count_no_gradient_operations() {
    let config = config(2, true, false);
    let shapes = config.parameter_shapes();
    let matrices = shapes.iter().filter(|(_, shape)| shape.len() == 2);
    let parameters: usize = matrices
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    let width = config.num_attention_heads * config.head_dim;
    let all = (6 * parameters + 6 * config.num_hidden_layers * width * 8) as f64;
    assert_eq!(config.training_flops_per_token(8, &|_| true), all);
    assert_eq!(config.training_flops_per_token(8, &|_| false), all / 3.0);
    let norm = config.training_flops_per_token(8, &|name| name == "model.norm.weight");
    let head = (2 * config.vocab_size * config.hidden_size) as f64;
    assert_eq!(norm, all / 3.0 + head);
    // With a window of 2, the 8 tokens attend to 1.75 keys on average (the first token counts half), instead of 4.
    let windowed = ModelConfig {
        sliding_window: Some(SlidingWindow::everywhere(2, 3)),
        ..config
    };
    let less = (3 * 3 * 4 * width) as f64 * (4.0 - 1.75);
    assert_eq!(windowed.training_flops_per_token(8, &|_| true), all - less);
}
