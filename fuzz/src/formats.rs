//! File formats that the program reads, with their readers.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use polymath_data::{
    Dataset, DomainConfig, NoProgress, PrepareConfig, Split, TokenizerConfig, prepare,
    read_questions, read_tasks,
};
use polymath_finetune::FinetuneConfig;
use polymath_model::{Generation, LoadOptions, Ops, Precision, SamplingConfig};
use polymath_pretrain::{PretrainConfig, Pretraining};

/// File format and its reader.
pub struct Format {
    /// Name of the format.
    pub name: &'static str,
    /// Path of the valid file in the corpus.
    pub file: &'static str,
    /// Kind of content, which decides the alterations.
    pub kind: Kind,
    /// Reads the file in a copy of the corpus.
    pub read: fn(&Path) -> anyhow::Result<()>,
}

/// Kind of a file's content, which decides how the file is altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; words are replaced too.
    Text,
    /// Bytes.
    Binary,
    /// Length of a JSON header in eight bytes, the header, and bytes: safetensors.
    Headed,
}

/// All formats.
pub const FORMATS: [Format; 26] = [
    headed("safetensors", "model/model.safetensors", |at| {
        generate(at, "model")
    }),
    text("config", "model/config.json", |at| generate(at, "model")),
    text("index", "sharded/model.safetensors.index.json", |at| {
        generate(at, "sharded")
    }),
    headed("adapter", "adapter/adapter_model.safetensors", |at| {
        generate(at, "adapter")
    }),
    text("adapter-config", "adapter/adapter_config.json", |at| {
        generate(at, "adapter")
    }),
    binary("gguf", "model.gguf", import),
    text("tokenizer", "model/tokenizer.json", |at| {
        tokenize(at, "chat.jsonl")
    }),
    text("tokenizer-config", "model/tokenizer_config.json", |at| {
        tokenize(at, "chat.jsonl")
    }),
    text("template", "chatting/chat_template.jinja", render),
    headed("shard", "data/letters/train.safetensors", dataset),
    text("manifest", "data/dataset.json", dataset),
    binary("parquet", "text.parquet", |at| tokenize(at, "text.parquet")),
    text("jsonl", "text.jsonl", |at| tokenize(at, "text.jsonl")),
    text("chat", "chat.jsonl", |at| tokenize(at, "chat.jsonl")),
    text("json", "text.json", |at| tokenize(at, "text.json")),
    text("sharegpt", "sharegpt.json", |at| {
        tokenize(at, "sharegpt.json")
    }),
    text("csv", "text.csv", |at| tokenize(at, "text.csv")),
    text("source", "text.py", |at| tokenize(at, "text.py")),
    binary("gz", "text.txt.gz", |at| tokenize(at, "text.txt.gz")),
    binary("zst", "text.jsonl.zst", |at| tokenize(at, "text.jsonl.zst")),
    text("tasks", "task.jsonl", |at| {
        Ok(read_tasks(&[at.join("task.jsonl")]).map(drop)?)
    }),
    text("questions", "questions.jsonl", |at| {
        Ok(read_questions(&at.join("questions.jsonl")).map(drop)?)
    }),
    text("toml-prepare", "prepare.toml", prepare_config),
    text("toml-pretrain", "pretrain.toml", pretrain_config),
    text("state", "run/latest/state.json", run),
    text("metrics", "run/metrics.jsonl", run),
];

const fn binary(
    name: &'static str,
    file: &'static str,
    read: fn(&Path) -> anyhow::Result<()>,
) -> Format {
    Format {
        name,
        file,
        kind: Kind::Binary,
        read,
    }
}

const fn headed(
    name: &'static str,
    file: &'static str,
    read: fn(&Path) -> anyhow::Result<()>,
) -> Format {
    Format {
        kind: Kind::Headed,
        ..binary(name, file, read)
    }
}

const fn text(
    name: &'static str,
    file: &'static str,
    read: fn(&Path) -> anyhow::Result<()>,
) -> Format {
    Format {
        kind: Kind::Text,
        ..binary(name, file, read)
    }
}

/// Returns the format of this name.
pub fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn options() -> LoadOptions<'static> {
    LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32))
}

/// Loads a model and generates two tokens.
fn generate(at: &Path, folder: &str) -> anyhow::Result<()> {
    let folder = at.join(folder);
    let folder = polymath_train::resolve_checkpoint(&folder)?;
    let base = polymath_train::resolve_base(&folder, Some(&at.join("model")))?;
    let base = base.filter(|_| polymath_model::is_adapter(&folder));
    let model = polymath_model::ModelSource {
        folder: &folder,
        base: base.as_deref(),
    }
    .load(&options())?;
    let sampling = SamplingConfig {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 1,
    };
    for token in Generation::new(&model, &[1, 2], sampling)?.take(2) {
        token?;
    }
    Ok(())
}

/// Imports a GGUF file into a folder and loads it.
fn import(at: &Path) -> anyhow::Result<()> {
    let folder = at.join("imported");
    let _ = std::fs::remove_dir_all(&folder);
    polymath_model::import_gguf(&at.join("model.gguf"), &folder)?;
    generate(at, "imported")
}

/// Prepares a file with the tokenizer of `model`.
fn tokenize(at: &Path, file: &str) -> anyhow::Result<()> {
    prepare_with(at, "model", file)
}

/// Renders conversations with the template of `chatting`.
fn render(at: &Path) -> anyhow::Result<()> {
    prepare_with(at, "chatting", "chat.jsonl")
}

fn prepare_with(at: &Path, model: &str, file: &str) -> anyhow::Result<()> {
    let output = at.join("made");
    let _ = std::fs::remove_dir_all(&output);
    let domain = DomainConfig {
        paths: vec![at.join(file).display().to_string()],
        ..DomainConfig::default()
    };
    let config = PrepareConfig {
        output,
        heldout_fraction: 0.3,
        seed: 0,
        tokenizer: TokenizerConfig {
            path: Some(at.join(model).join("tokenizer.json")),
            ..TokenizerConfig::default()
        },
        domains: BTreeMap::from([("made".to_owned(), domain)]),
    };
    prepare(&config, true, &NoProgress)?;
    Ok(())
}

/// Reads every token of a dataset.
fn dataset(at: &Path) -> anyhow::Result<()> {
    let dataset = Dataset::open(&at.join("data"))?;
    let mut tokens = Vec::new();
    for name in dataset.domain_names() {
        for split in [Split::Train, Split::Heldout] {
            let shard = dataset.shard(name, split)?;
            for index in 0..shard.documents() {
                let document = shard.document(index);
                tokens.clear();
                document.copy_tokens(0..document.len(), &mut tokens);
            }
        }
    }
    Ok(())
}

fn prepare_config(at: &Path) -> anyhow::Result<()> {
    let config: PrepareConfig = polymath_config::load(&at.join("prepare.toml"), &[])?;
    Ok(config.validate()?)
}

/// Validates the configs of pretraining and fine-tuning as a dry run does.
fn pretrain_config(at: &Path) -> anyhow::Result<()> {
    let file = at.join("pretrain.toml");
    let as_finetuning: Result<FinetuneConfig, _> = polymath_config::load(&file, &[]);
    drop(as_finetuning);
    let mut config: PretrainConfig = polymath_config::load(&file, &[])?;
    config.dataset = at.join("data");
    let plan = Pretraining::open(config)?.plan();
    let _ = plan.flops();
    Ok(())
}

/// Reads the parts of a run folder that the start of a run reads.
fn run(at: &Path) -> anyhow::Result<()> {
    let run = at.join("run");
    let checkpoint = polymath_train::verify(&run.join("latest"));
    drop(polymath_train::finished(&run));
    polymath_train::read_metrics(&run)?;
    polymath_train::resolve_checkpoint(&run)?;
    checkpoint?;
    Ok(())
}
