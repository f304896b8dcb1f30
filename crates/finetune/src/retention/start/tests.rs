//! Tests of the batches of a run with replay. The niche and the retained domain have the same documents, so that their
//! rows differ only in order.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use polymath_data::{DomainConfig, NoProgress, PrepareConfig, TokenizerConfig, prepare};
use polymath_model::{ArchitectureConfig, EndTokens, TokenizerFiles};
use polymath_train::Silent;

use super::*;

/// Writes a dataset with the given domains and numbers of documents. A document that an earlier domain contains too is
/// dropped.
fn write_data(folder: &Path, name: &str, domains: &[(&str, usize)]) {
    let text = |number: usize| {
        let words = (0..30).map(|at| format!("{} ", (number * 7 + at * at) % 997));
        serde_json::json!({ "text": words.collect::<String>() }).to_string() + "\n"
    };
    let domain = |(domain, documents): &(&str, usize)| {
        let path = folder.join(format!("{name}-{domain}.jsonl"));
        std::fs::write(&path, (0..*documents).map(text).collect::<String>()).unwrap();
        let config = DomainConfig {
            paths: vec![path.display().to_string()],
            ..DomainConfig::default()
        };
        ((*domain).to_owned(), config)
    };
    let tokenizer = folder.join("niche/tokenizer.json");
    let config = PrepareConfig {
        output: folder.join(name),
        heldout_fraction: 0.1,
        seed: 0,
        tokenizer: match tokenizer.exists() {
            true => TokenizerConfig {
                path: Some(tokenizer),
                ..TokenizerConfig::default()
            },
            false => TokenizerConfig {
                vocab_size: Some(280),
                ..TokenizerConfig::default()
            },
        },
        domains: domains.iter().map(domain).collect::<BTreeMap<_, _>>(),
    };
    prepare(&config, false, &NoProgress).unwrap();
}

/// Opens a run with rows of 16 tokens and batches of two rows, one of which is replayed.
fn opened(folder: &Path, retained: &[(&str, usize)], settings: &str) -> Finetuning {
    write_data(folder, "niche", &[("text", 60)]);
    write_data(folder, "old", retained);
    let dataset = polymath_data::Dataset::open(&folder.join("niche")).unwrap();
    let known = &dataset.manifest().tokenizer;
    let architecture: ArchitectureConfig = toml::from_str(
        "hidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 2\nmax_position_embeddings = 16",
    )
    .unwrap();
    let ends = EndTokens {
        begin: known.bos_token_id,
        end: known.eos_token_id,
    };
    let model = architecture.resolve(known.vocab_size, 16, ends).unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    let base = Transformer::initialize(model, 1, &options).unwrap();
    std::fs::create_dir(folder.join("base")).unwrap();
    let tokenizer = TokenizerFiles::read(&dataset.tokenizer_path()).unwrap();
    polymath_model::save(&folder.join("base"), &base, &tokenizer).unwrap();
    let config = format!(
        "base = \"base\"\ndataset = \"niche\"\nretain = \"old\"\nrun = \"run\"\n{settings}\n[training]\nsteps = 40\n\
         batch_size = 2\nsequence_length = 16\n[retention.replay]\nshare = 0.5\n"
    );
    let mut config: crate::FinetuneConfig = toml::from_str(&config).unwrap();
    config.base = folder.join("base");
    config.dataset = Some(folder.join("niche"));
    config.retain = Some(folder.join("old"));
    config.run = folder.join("run");
    Finetuning::inspect(config, &NoProgress).unwrap()
}

/// Returns the first 40 rows of the niche and the first 40 replayed rows, in the order of training.
fn rows(finetuning: &Finetuning) -> [Vec<Vec<u32>>; 2] {
    let launch = Launch::on(Device::Cpu);
    let mut context = StartContext {
        ops: launch.ops(Precision::F32),
        launch: &launch,
        training: &finetuning.config.training,
        observer: &mut Silent,
    };
    let retention = finetuning.start_retention(&mut context).unwrap();
    let mut rows = [Vec::new(), Vec::new()];
    for step in 0..40 {
        let batch = retention.batches.batch(step);
        for (row, targets) in batch.targets.chunks(16).enumerate() {
            rows[usize::from(batch.is_replayed(row))].push(targets.to_vec());
        }
    }
    assert_eq!([rows[0].len(), rows[1].len()], [40, 40]);
    rows
}

/// Checks that niche and replay order the same documents differently: otherwise a batch would contain the same row
/// twice. Both orders depend on the seed.
#[test]
fn replayed_rows_have_another_order_than_the_niche() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let finetuning = opened(folder.path(), &[("words", 60)], &format!("seed = {seed}"));
        let (niche, retained) = (&finetuning.data.train, &finetuning.retained_texts[0].shard);
        assert_eq!(
            (niche.tokens(), niche.documents()),
            (retained.tokens(), retained.documents())
        );
        for order in rows(&finetuning) {
            assert!(seen.insert(order), "an order comes again");
        }
    }
}

/// Checks that the share of a retained domain among the replayed rows is ∝ tokens^temperature.
#[test]
fn retained_domains_share_by_temperature() {
    let folder = tempfile::tempdir().unwrap();
    let finetuning = opened(folder.path(), &[("few", 30), ("many", 200)], "");
    let [few, many] = [0, 1].map(|at| finetuning.retained_texts[at].shard.tokens() as f64);
    assert!(many > 3.0 * few);
    for temperature in [0.0, 0.5, 1.0] {
        let parts = finetuning.retained_parts(temperature).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["few", "many"]);
        assert_eq!(parts[1].shard.tokens() as f64, many);
        let ratio = parts[1].weight / parts[0].weight;
        assert!(
            (ratio - (many / few).powf(temperature)).abs() < 1e-9,
            "{ratio}"
        );
    }
}
