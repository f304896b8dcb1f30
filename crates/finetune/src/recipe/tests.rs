use super::*;

const FACTS: BaseFacts = BaseFacts {
    context: 512,
    parameters: 1_000_000,
    optimizer: Some(OptimizerChoice::Muon),
    fitting: None,
    epoch_tokens: 100_000,
    scored_tokens: 0,
    padding: 0.0,
};

fn resolved(text: &str, facts: &BaseFacts) -> crate::ResolvedFinetune {
    let text = format!("base = \"b\"\ntexts = [\"t\"]\nrun = \"r\"\n{text}");
    let config: FinetuneConfig = toml::from_str(&text).unwrap();
    config.resolve(facts).unwrap()
}

/// Returns the sentence about the key `key` among the explained choices, or an empty text.
fn said(config: &crate::ResolvedFinetune, key: &str) -> String {
    let found = config.choices.iter().find(|said| said.starts_with(key));
    found.cloned().unwrap_or_default()
}

/// Checks that a fine-tuning uses the optimizer of its base by default and explains it, and that an explanation names
/// another optimizer that the config sets.
#[test]
fn the_optimizer_is_that_of_the_base() {
    let taken = resolved("", &FACTS);
    assert_eq!(taken.training.optimizer, OptimizerChoice::Muon);
    assert!(said(&taken, "optimizer").contains("Muon, with which the base was trained"));
    let unknown = BaseFacts {
        optimizer: None,
        ..FACTS
    };
    let unknown = resolved("", &unknown);
    assert_eq!(unknown.training.optimizer, OptimizerChoice::Adamw);
    assert!(said(&unknown, "optimizer").contains("nothing beside the base"));
    let other = resolved("[training]\noptimizer = \"adamw\"", &FACTS);
    assert_eq!(other.training.optimizer, OptimizerChoice::Adamw);
    assert!(said(&other, "optimizer").contains("the base was trained with Muon"));
    let same = resolved("[training]\noptimizer = \"muon\"", &FACTS);
    assert_eq!(said(&same, "optimizer"), "");
    let adapter = resolved("method = \"lora\"", &FACTS);
    assert_eq!(adapter.training.optimizer, OptimizerChoice::Adamw);
}

/// Checks the default learning rates by method, optimizer and size of the base, and that a learning rate in the config
/// is kept.
#[test]
fn the_rate_follows_method_optimizer_and_size() {
    let rate = |text: &str, parameters| {
        let facts = BaseFacts {
            parameters,
            ..FACTS
        };
        resolved(text, &facts).training.learning_rate
    };
    let adamw = "[training]\noptimizer = \"adamw\"";
    let frozen = "method = \"frozen\"\nfrozen = { train_last_layers = 1 }";
    for (text, small, middle, large) in [
        ("", 3e-3, 3e-4, 1.5e-4),
        (frozen, 3e-3, 3e-4, 1.5e-4),
        (adamw, 1e-3, 1e-4, 5e-5),
        ("method = \"lora\"", 1e-2, 1e-3, 5e-4),
        ("[training]\nlearning_rate = 0.5\nsteps = 3", 0.5, 0.5, 0.5),
    ] {
        assert_eq!(rate(text, 1_000_000), small, "{text}");
        assert_eq!(rate(text, 135_000_000), middle, "{text}");
        assert_eq!(rate(text, 1_700_000_000), large, "{text}");
    }
}

/// Checks that the default weight decay is 0, and that an explanation names the pull towards zero if the config sets
/// one.
#[test]
fn weights_do_not_decay_towards_zero() {
    let plain = resolved("[training]\nsteps = 3", &FACTS);
    assert_eq!(plain.training.weight_decay, 0.0);
    assert!(said(&plain, "weight decay").contains("`retention.l2sp`"));
    let set = resolved("[training]\nweight_decay = 0.1", &FACTS);
    assert_eq!(set.training.weight_decay, 0.1);
    assert!(said(&set, "weight decay").contains("towards zero"));
    let none = resolved("[training]\nweight_decay = 0.0", &FACTS);
    assert_eq!(said(&none, "weight decay"), "");
}

/// Checks that the base's optimizer is found in the base's `run.toml`, in its optimizer state, or through its lineage.
#[test]
fn the_optimizer_is_found_beside_the_base() {
    let root = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let folder = root.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let lonely = make("models/hub");
    assert_eq!(base_optimizer(&lonely).unwrap(), None);
    let muon = make("muon/step-000004");
    let toml = "[training]\nsteps = 4\noptimizer = \"muon\"\n";
    std::fs::write(root.path().join("muon/run.toml"), toml).unwrap();
    assert_eq!(base_optimizer(&muon).unwrap(), Some(OptimizerChoice::Muon));
    let early = make("early/step-000004");
    std::fs::write(root.path().join("early/run.toml"), "[training]\nsteps = 4").unwrap();
    assert_eq!(
        base_optimizer(&early).unwrap(),
        Some(OptimizerChoice::Adamw)
    );
    let mixed = make("mixtures/half");
    let lineage = Lineage {
        base: muon.clone(),
        checkpoint: Some(muon),
        base_sha256: "0".into(),
        method: "full".into(),
        niche: "law".into(),
        dataset: "data".into(),
        dataset_sha256: None,
        retain: None,
        retain_sha256: None,
        chosen_on: None,
        earlier: Vec::new(),
    };
    lineage.write(&mixed).unwrap();
    assert_eq!(base_optimizer(&mixed).unwrap(), Some(OptimizerChoice::Muon));
    let copied = make("copied");
    let state = std::collections::HashMap::from([(
        "model.layers.0.mlp.up_proj.weight.momentum".to_owned(),
        candle_core::Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(),
    )]);
    candle_core::safetensors::save(&state, copied.join("optimizer.safetensors")).unwrap();
    assert_eq!(
        base_optimizer(&copied).unwrap(),
        Some(OptimizerChoice::Muon)
    );
}
