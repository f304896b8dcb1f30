//! Writes a valid file of every format, produced by the program itself from made-up text.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use candle_core::{Device, Tensor};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use polymath_data::{NoProgress, PrepareConfig, prepare};
use polymath_finetune::{FinetuneConfig, Finetuning};
use polymath_model::{GgufExport, GgufType};
use polymath_pretrain::{PretrainConfig, Pretraining};
use polymath_train::{Launch, Silent};
use serde_json::json;

/// Chat template with the usual constructs: a loop, a filter, a condition, a macro.
const TEMPLATE: &str = "{% macro name(role) %}{{ role | upper }}{% endmacro %}{% for message in messages %}{% if loop.first %}\
{{ bos_token }}{% endif %}{{ name(message['role']) }}: {{ message['content'] | trim }}{{ eos_token }}\\n{% endfor %}\
{% if add_generation_prompt %}ASSISTANT: {% endif %}";

/// Files whose readers need the whole folder of this name.
const MODEL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Writes the corpus into the new folder `at`.
///
/// # Errors
/// Fails if the folder can't be written.
pub fn write(at: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(at)?;
    let at = at.canonicalize()?;
    write_text(&at).context("text")?;
    write_runs(&at).context("runs")?;
    write_models(&at).context("models")
}

/// Generates sentences of made-up words.
fn sentences() -> Vec<String> {
    let syllables = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu"];
    (0..80usize)
        .map(|number| {
            let word = |place: usize| {
                let first = syllables[(number * 7 + place * place) % 10];
                let second = syllables[(number + place * 3) % 10];
                format!("{first}{second}")
            };
            (0..12).map(word).collect::<Vec<_>>().join(" ") + "."
        })
        .collect()
}

fn lines(values: impl IntoIterator<Item = serde_json::Value>) -> String {
    values
        .into_iter()
        .map(|value| format!("{value}\n"))
        .collect()
}

fn write_text(at: &Path) -> anyhow::Result<()> {
    let sentences = sentences();
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text);
    let records = lines(sentences.iter().map(|text| json!({ "text": text })));
    write("text.jsonl", &records)?;
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let chats = sentences
        .chunks_exact(2)
        .map(|pair| json!({ "messages": [turn("user", &pair[0]), turn("assistant", &pair[1])] }));
    write("chat.jsonl", &lines(chats))?;
    let list: Vec<_> = sentences
        .iter()
        .map(|text| json!({ "text": text }))
        .collect();
    write("text.json", &serde_json::to_string_pretty(&list)?)?;
    let share_gpt = sentences.chunks_exact(2).map(|pair| {
        json!({
            "system": "ba",
            "conversations": [
                { "from": "human", "value": pair[0] },
                { "from": "function_call", "value": "ki" },
                { "from": "observation", "value": "lu" },
                { "from": "gpt", "value": pair[1] },
            ],
        })
    });
    let share_gpt: Vec<_> = share_gpt.collect();
    write(
        "sharegpt.json",
        &serde_json::Value::from(share_gpt).to_string(),
    )?;
    let rows = sentences.chunks_exact(2);
    let rows = rows.map(|pair| format!("{},\"{}\n\"\"do\"\"\"\n", pair[0], pair[1]));
    write(
        "text.csv",
        &format!("prompt,response\n{}", rows.collect::<String>()),
    )?;
    write("text.py", &sentences.join("\n"))?;
    let tasks = (0..6).map(
        |number| json!({ "context": "ba", "choices": ["do", "ki lu", "me"], "answer": number % 3 }),
    );
    write("task.jsonl", &lines(tasks))?;
    let questions = (0..6).map(|number| json!({ "prompt": sentences[number], "answer": "ba" }));
    write("questions.jsonl", &lines(questions))?;
    let plain = sentences.join("\n\n");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(plain.as_bytes())?;
    std::fs::write(at.join("text.txt.gz"), packed.finish()?)?;
    std::fs::write(
        at.join("text.jsonl.zst"),
        zstd::encode_all(records.as_bytes(), 3)?,
    )?;
    std::fs::write(at.join("text.parquet"), table(&sentences)?)?;
    write(
        "prepare.toml",
        "output = \"data\"\nheldout_fraction = 0.2\nseed = 3\n[tokenizer]\nvocab_size = 300\nsample_bytes = 100000\n\
         [domains.letters]\npaths = [\"text.jsonl\"]\ntext_field = \"text\"\n[domains.chat]\npaths = [\"chat.jsonl\"]\n\
         questions = \"questions.jsonl\"\n",
    )?;
    write(
        "pretrain.toml",
        "dataset = \"data\"\nrun = \"run\"\nseed = 1\n[mixture]\ntemperature = 0.5\n[model]\nhidden_size = 16\n\
         num_hidden_layers = 2\nnum_attention_heads = 2\n[training]\nsteps = 4\nbatch_size = 2\nsequence_length = 32\n\
         learning_rate = 1e-3\nwarmup_steps = 1\n[evaluation]\nevery = 2\nmax_tokens = 200\n[checkpoint]\nevery = 2\nkeep = 2\n",
    )?;
    Ok(())
}

/// Writes a parquet file of one column.
fn table(sentences: &[String]) -> anyhow::Result<Vec<u8>> {
    let schema = Arc::new(parse_message_type(
        "message text { required binary text (UTF8); }",
    )?);
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for rows in sentences.chunks(30) {
        let mut group = writer.next_row_group()?;
        let mut column = group.next_column()?.context("the one column")?;
        let values: Vec<ByteArray> = rows.iter().map(|text| text.as_str().into()).collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)?;
        column.close()?;
        group.close()?;
    }
    Ok(writer.into_inner()?)
}

/// Writes a dataset, a short pretraining run, and an adapter tuned from it.
fn write_runs(at: &Path) -> anyhow::Result<()> {
    let here = |name: &str| at.join(name).display().to_string();
    let mut config: PrepareConfig = polymath_config::load(&at.join("prepare.toml"), &[])?;
    config.output = at.join("data");
    for domain in config.domains.values_mut() {
        domain.paths.iter_mut().for_each(|path| *path = here(path));
        domain.questions = domain.questions.take().map(|path| at.join(path));
    }
    prepare(&config, true, &NoProgress)?;
    let mut config: PretrainConfig = polymath_config::load(&at.join("pretrain.toml"), &[])?;
    (config.dataset, config.run) = (at.join("data"), at.join("run"));
    let launch = Launch::on(Device::Cpu);
    Pretraining::open(config)?.run(&launch, &mut Silent)?;
    let config = format!(
        "base = {:?}\ndataset = {:?}\ndomain = \"letters\"\nretain = {:?}\nrun = {:?}\nmethod = \"lora\"\n[training]\nsteps = 2\n\
         batch_size = 2\nsequence_length = 32\n[evaluation]\nevery = 2\nmax_tokens = 200\n[lora]\nrank = 2\nalpha = 4\n",
        here("run"),
        here("data"),
        here("data"),
        here("tuned")
    );
    let config: FinetuneConfig = toml::from_str(&config)?;
    Finetuning::open(config, &NoProgress)?.run(&launch, &mut Silent)?;
    Ok(())
}

/// Writes model folders from the run's checkpoint: whole, in two shards, with another chat template, as an adapter, as
/// GGUF.
fn write_models(at: &Path) -> anyhow::Result<()> {
    let checkpoint = at.join("run/best");
    for folder in ["model", "chatting", "sharded"] {
        std::fs::create_dir_all(at.join(folder))?;
        for name in MODEL_FILES {
            let from = checkpoint.join(name);
            if from.is_file() {
                std::fs::copy(from, at.join(folder).join(name))?;
            }
        }
    }
    std::fs::write(at.join("chatting/chat_template.jinja"), TEMPLATE)?;
    let settings = at.join("model/tokenizer_config.json");
    let mut known: serde_json::Value = serde_json::from_slice(&std::fs::read(&settings)?)?;
    known["chat_template"] = TEMPLATE.into();
    std::fs::write(&settings, format!("{known:#}\n"))?;
    shard(&at.join("sharded"))?;
    std::fs::create_dir_all(at.join("adapter"))?;
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(
            at.join("tuned/latest").join(name),
            at.join("adapter").join(name),
        )?;
    }
    let options = GgufExport {
        kind: GgufType::F32,
        chat_template: Some(TEMPLATE),
        base: None,
    };
    polymath_model::export_gguf(&at.join("model"), &at.join("model.gguf"), &options)?;
    Ok(())
}

/// Splits the weights of a folder into two files with an index.
fn shard(folder: &Path) -> anyhow::Result<()> {
    let whole = folder.join("model.safetensors");
    let tensors: HashMap<String, Tensor> = candle_core::safetensors::load(&whole, &Device::Cpu)?;
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    let mut index = serde_json::Map::new();
    for (number, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let file = format!("model-{:05}-of-00002.safetensors", number + 1);
        let part: HashMap<String, Tensor> = names
            .iter()
            .map(|name| ((*name).clone(), tensors[*name].clone()))
            .collect();
        candle_core::safetensors::save(&part, folder.join(&file))?;
        index.extend(
            names
                .iter()
                .map(|name| ((*name).clone(), file.clone().into())),
        );
    }
    let index = json!({ "metadata": {}, "weight_map": index });
    std::fs::write(
        folder.join("model.safetensors.index.json"),
        format!("{index:#}\n"),
    )?;
    std::fs::remove_file(whole)?;
    Ok(())
}
