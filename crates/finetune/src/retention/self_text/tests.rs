use polymath_model::EndTokens;
use polymath_train::{OptimizerChoice, TrainingConfig, TrainingDefaults};

use super::*;

fn training() -> Training {
    let config: TrainingConfig = toml::from_str("steps = 10\nbatch_size = 16").unwrap();
    config.resolve(&TrainingDefaults {
        length: polymath_train::Length::Steps(1),
        batch_size: 1,
        sequence_length: 256,
        learning_rate: 1e-3,
        optimizer: OptimizerChoice::Adamw,
        weight_decay: 0.0,
        padding: 0.0,
        epoch_tokens: 1,
        tokens_at_once: None,
    })
}

/// Checks that by default the base generates as many tokens as the run replays, rounded to the lower bound times a
/// power of two and within bounds, and enough documents for held-out splits.
#[test]
fn as_much_is_generated_as_is_replayed() {
    let training = training();
    let replay = ReplayConfig {
        source: ReplaySource::Generated,
        share: 1.0 / 3.0,
        beside: true,
        ..ReplayConfig::default()
    };
    let tokens = |steps, holds_out| default_tokens(&training, steps, &replay, holds_out);
    // Eight rows of 256 tokens beside the sixteen of a step.
    assert_eq!(tokens(1, false), 6250);
    assert_eq!(tokens(4, false), 12_500);
    assert_eq!(tokens(10, false), 25_000);
    assert_eq!(tokens(20, false), 50_000);
    assert_eq!(tokens(30, false), 100_000);
    assert_eq!(tokens(10_000, false), 200_000);
    assert_eq!(tokens(10, true), 50_000);
}

/// Writes the folder of a model whose tokenizer has the given chat template. Returns the folder's path.
fn chat_model(at: &Path, template: &str) -> PathBuf {
    let words = ["<s>", "<end>", "<user>", "<assistant>", "why", "so"];
    let vocabulary: Vec<String> = (words.iter().enumerate())
        .map(|(id, word)| format!("\"{word}\": {id}"))
        .collect();
    let added: Vec<String> = (words[..4].iter().enumerate())
        .map(|(id, word)| {
            format!(
                "{{\"id\": {id}, \"content\": \"{word}\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \
                 \"normalized\": false, \"special\": true}}"
            )
        })
        .collect();
    let folder = at.join("chat");
    std::fs::create_dir(&folder).unwrap();
    let tokenizer = at.join("tokenizer.json");
    std::fs::write(
        &tokenizer,
        format!(
            "{{\"version\": \"1.0\", \"added_tokens\": [{}], \"pre_tokenizer\": {{\"type\": \"Whitespace\"}}, \"model\": \
             {{\"type\": \"WordLevel\", \"vocab\": {{{}}}, \"unk_token\": \"so\"}}}}",
            added.join(", "),
            vocabulary.join(", ")
        ),
    )
    .unwrap();
    let settings =
        serde_json::json!({ "bos_token": "<s>", "eos_token": "<end>", "chat_template": template });
    std::fs::write(at.join("tokenizer_config.json"), settings.to_string()).unwrap();
    let shape: polymath_model::ArchitectureConfig =
        toml::from_str("hidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 2").unwrap();
    let config = shape
        .resolve(words.len(), 16, EndTokens { begin: 0, end: 1 })
        .unwrap();
    let ops = polymath_model::Ops::fused(polymath_model::Precision::F32);
    let options = LoadOptions::frozen(&candle_core::Device::Cpu, ops);
    let model = polymath_model::Transformer::initialize(config, 1, &options).unwrap();
    let tokenizer = TokenizerFiles::read(&tokenizer).unwrap();
    polymath_model::save(&folder, &model, &tokenizer).unwrap();
    folder
}

/// Checks that a chat model generates questions and answers inside the tokens of its chat template, with one begin
/// token, and that a template that refuses a question without an answer makes it generate plain documents.
#[test]
fn the_frame_is_that_of_the_chat_template() {
    let root = tempfile::tempdir().unwrap();
    let template = "<s>{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}\
                    {% if add_generation_prompt %}<assistant>{% endif %}";
    let folder = chat_model(root.path(), template);
    let frame = conversation_frame(&folder).unwrap().unwrap();
    assert_eq!(frame.before_question, [2]);
    assert_eq!(frame.before_answer, [1, 3]);
    assert_eq!(frame.ends, [1]);
    let ops = polymath_model::Ops::fused(polymath_model::Precision::F32);
    let options = LoadOptions::frozen(&candle_core::Device::Cpu, ops);
    let base = polymath_model::load(&folder, &options).unwrap();
    let sampler = DocumentSampler {
        temperature: 1.0,
        max_tokens: 16,
        seed: 1,
    };
    let documents = sampler.sample(&base, Some(&frame), 0..40).unwrap();
    for document in &documents {
        let tokens = &document.tokens;
        assert_eq!(tokens[0], 2, "{tokens:?}");
        let answer = tokens.windows(2).position(|pair| pair == [1, 3]).unwrap();
        assert!(
            answer <= 8,
            "a question takes half of the document: {tokens:?}"
        );
        let fixed = document.drawn.iter().filter(|drawn| !**drawn).count();
        assert_eq!(fixed, 3, "{tokens:?}");
        assert!(tokens.len() == 16 || tokens.ends_with(&[1]), "{tokens:?}");
    }
    assert!(documents.iter().any(|document| document.tokens.len() < 16));

    let other = tempfile::tempdir().unwrap();
    let folder = chat_model(other.path(), "{{ raise_exception('no question alone') }}");
    assert!(conversation_frame(&folder).unwrap().is_none());
}

/// Checks that generated text is kept beside a base only if the base lies in a run folder of the same owner, and that a
/// folder that can't be written is not chosen.
#[test]
fn a_folder_that_is_no_run_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    assert!(has_same_owner(root.path(), &root.path().join("new/run")));
    let place = root.path().join("self-replay/seed-1");
    assert!(can_write_beside(&place));
    std::fs::remove_dir(root.path().join("self-replay")).unwrap();
    std::fs::write(root.path().join("self-replay"), "a file in the way").unwrap();
    assert!(!can_write_beside(&place));
}
