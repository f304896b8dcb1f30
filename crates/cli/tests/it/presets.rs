//! Tests that every preset in `configs/` loads and is valid.

use std::path::{Path, PathBuf};

fn presets(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no presets in configs/{kind}");
    files
}

/// Checks that every key of the dataset presets is known and every value in range.
#[test]
fn prepare_presets_load() {
    for path in presets("prepare") {
        let config: polymath_data::PrepareConfig = polymath_config::load(&path, &[]).unwrap();
        config.validate().unwrap();
    }
}

/// Checks that the pretraining presets are valid and that their model sizes fit together.
#[test]
fn pretrain_presets_load() {
    for path in presets("pretrain") {
        let config: polymath_pretrain::PretrainConfig = polymath_config::load(&path, &[]).unwrap();
        let facts = polymath_pretrain::DatasetFacts {
            vocab_size: 4096,
            ends: polymath_model::EndTokens { begin: 0, end: 0 },
            epoch_tokens: 1_000_000,
            padding: 0.0,
        };
        config.resolve(&facts).unwrap();
    }
}

/// Checks that the fine-tuning presets are valid and that the parameters they train exist in a model of six layers.
#[test]
fn finetune_presets_load() {
    for path in presets("finetune") {
        let config: polymath_finetune::FinetuneConfig = polymath_config::load(&path, &[]).unwrap();
        config.training.validate().unwrap();
        let names: Vec<String> = (0..6)
            .map(|layer| format!("model.layers.{layer}.mlp.up_proj.weight"))
            .chain([
                "model.embed_tokens.weight".into(),
                "model.norm.weight".into(),
            ])
            .collect();
        if config.method.adapts() {
            let architecture: polymath_model::ArchitectureConfig =
                toml::from_str("hidden_size = 64\nnum_hidden_layers = 6\nnum_attention_heads = 4")
                    .unwrap();
            let model = architecture
                .resolve(4096, 256, polymath_model::EndTokens { begin: 0, end: 0 })
                .unwrap();
            let adapter =
                polymath_finetune::choose_adapter(config.method, config.lora.as_ref(), &model);
            assert!(!adapter.unwrap().unwrap().modules(&model).is_empty());
            continue;
        }
        assert!(
            !polymath_finetune::select(config.method, config.frozen.as_ref(), &names)
                .unwrap()
                .is_empty()
        );
    }
}

/// Checks that every run of the frontier presets is a valid `finetune` config.
#[test]
fn frontier_presets_load() {
    for path in presets("frontier") {
        let config: polymath_study::frontier::FrontierConfig =
            polymath_config::load(&path, &[]).unwrap();
        let source = polymath_config::Source::read(&path).unwrap();
        assert!(!config.plan(&source).unwrap().is_empty());
    }
}
