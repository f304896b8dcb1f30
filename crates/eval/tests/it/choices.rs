//! Test that the scores of choices with unequal lengths and multi-byte characters match the harness's definitions,
//! computed in f64: `acc` takes the largest log-likelihood, `acc_norm` the largest per character of the choice
//! without its delimiter.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use polymath_data::{Task, TaskItem};
use polymath_eval::{TaskEncoder, TaskScores, score_task};
use polymath_model::{ArchitectureConfig, EndTokens, LoadOptions, Ops, Precision, Transformer};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

use crate::support::drawn::numbers;
use crate::support::llama_reference::{logits, surprise, weights};

/// Vocabulary with one token per character of one to four bytes. The first token ends a text, the second is the
/// delimiter.
const LETTERS: [&str; 14] = [
    "<|endoftext|>",
    " ",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "é",
    "ß",
    "日",
    "本",
    "🙂",
    "€",
];
const CONTEXT: usize = 40;

fn model() -> Transformer {
    let architecture: ArchitectureConfig = serde_json::from_value(serde_json::json!({
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "initializer_range": 0.25,
    }))
    .unwrap();
    let config = architecture
        .resolve(LETTERS.len(), CONTEXT, EndTokens { begin: 0, end: 0 })
        .unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    Transformer::initialize(config, 8, &options).unwrap()
}

fn save_tokenizer(path: &Path) {
    let vocabulary = LETTERS
        .iter()
        .zip(0u32..)
        .map(|(letter, id)| ((*letter).to_owned(), id));
    let vocabulary = vocabulary.collect::<tokenizers::models::bpe::Vocab>();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, Vec::new())
        .build()
        .unwrap();
    Tokenizer::new(model).save(path, false).unwrap();
}

/// Returns a pseudo-random word of 1 to 6 characters.
fn word(number: usize) -> String {
    let length = number * 7 % 6 + 1;
    (0..length)
        .map(|at| LETTERS[2 + (number * 5 + at * (number % 3 + 1)) % 12])
        .collect()
}

fn items() -> Vec<TaskItem> {
    (0..80)
        .map(|number| TaskItem {
            line: number as u64 + 1,
            context: format!("{} {}", word(number), word(number + 3)),
            choices: (1..=3 + number % 2)
                .map(|at| word(number * 11 + at * 5))
                .collect(),
            answer: number % 3,
            delimiter: if number % 4 == 0 {
                String::new()
            } else {
                " ".to_owned()
            },
        })
        .collect()
}

fn ids(text: &str) -> Vec<u32> {
    let id = |letter: char| {
        let place = LETTERS.iter().position(|known| known.starts_with(letter));
        place.unwrap() as u32
    };
    text.chars().map(id).collect()
}

/// Returns the index of the largest value; all values differ.
fn largest(values: &[f64]) -> usize {
    let best = values.iter().copied().fold(f64::MIN, f64::max);
    values.iter().position(|value| *value == best).unwrap()
}

#[test]
fn choices_are_scored_by_the_harness_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    save_tokenizer(&tokenizer);
    let task = Arc::new(Task {
        name: "letters".into(),
        path: folder.path().join("letters.jsonl"),
        items: items(),
    });
    let model = model();
    let encoder = TaskEncoder::open(&tokenizer, 0, CONTEXT).unwrap();
    let encoded = encoder.encode(&task).unwrap();
    let scores: TaskScores = score_task(&model, &encoded, &mut |_, _| {}).unwrap();
    let weights = weights(&model);
    // Number of items that would be answered differently by each of four other rules of normalization.
    let mut otherwise = [0; 4];
    for (item, score) in task.items.iter().zip(&scores.items) {
        let context = ids(&item.context);
        let mut likelihoods = Vec::new();
        for (choice, found) in item.choices.iter().zip(&score.log_likelihoods) {
            let text = [&context[..], &ids(&item.delimiter), &ids(choice)].concat();
            let all = logits(model.config(), &weights, &text);
            let scored = (context.len()..text.len()).map(|at| surprise(&all[at - 1], text[at]));
            let expected = -scored.sum::<f64>();
            assert!(
                (found - expected).abs() < 1e-3,
                "line {}: {found} for {expected}",
                item.line
            );
            likelihoods.push(expected);
        }
        let by = |length: &dyn Fn(&String) -> usize| {
            let pairs = likelihoods.iter().zip(&item.choices);
            largest(
                &pairs
                    .map(|(value, choice)| value / length(choice) as f64)
                    .collect::<Vec<_>>(),
            )
        };
        let [whole, letters] = [by(&|_| 1), by(&|choice| choice.chars().count())];
        assert_eq!(score.choice, whole, "line {}", item.line);
        assert_eq!(score.choice_normalized, Some(letters), "line {}", item.line);
        assert_eq!(score.right, whole == item.answer, "line {}", item.line);
        assert_eq!(
            score.right_normalized,
            Some(letters == item.answer),
            "line {}",
            item.line
        );
        let delimited = |choice: &String| choice.chars().count() + item.delimiter.len();
        let others = [whole, by(&String::len), by(&delimited), 0];
        for (count, other) in otherwise.iter_mut().zip(others) {
            *count += usize::from(other != letters);
        }
    }
    assert!(otherwise.iter().all(|count| *count >= 2), "{otherwise:?}");
    let share = |right: &dyn Fn(&TaskItem, usize) -> bool, choice: &dyn Fn(usize) -> usize| {
        let items = task.items.iter().enumerate();
        items.filter(|(at, item)| right(item, choice(*at))).count() as f64 / 80.0
    };
    let right = |item: &TaskItem, choice: usize| item.answer == choice;
    let accuracy = share(&right, &|at| scores.items[at].choice);
    let normalized = share(&right, &|at| scores.items[at].choice_normalized.unwrap());
    assert!((scores.accuracy().value - accuracy).abs() < 1e-12);
    assert!((scores.normalized_accuracy().unwrap().value - normalized).abs() < 1e-12);
    assert!((accuracy - normalized).abs() > 1e-6);
}

/// Checks that a cloze item is answered right exactly if greedy decoding generates every token of its single choice,
/// from the first to the last.
#[test]
fn clozes_are_answered_by_greedy_decoding() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    save_tokenizer(&tokenizer);
    let model = model();
    let weights = weights(&model);
    let next = |text: &str| {
        let logits = logits(model.config(), &weights, &ids(text));
        LETTERS[largest(logits.last().unwrap())]
    };
    let is_letter = |token: &str| !token.trim().is_empty() && token != LETTERS[0];
    // Two characters after each context: those of greedy decoding, with another first one, and with another last one.
    let (mut items, mut expected) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let context = format!("{} {}", word(number), word(number + 3));
        let first = next(&context);
        let second = next(&format!("{context}{first}"));
        if !is_letter(first) || !is_letter(second) {
            continue;
        }
        let another = |token: &str| if token == "a" { "b" } else { "a" };
        let choices = [
            (first, second),
            (another(first), second),
            (first, another(second)),
        ];
        for (choice, right) in choices.into_iter().zip([true, false, false]) {
            expected.push(right);
            items.push(TaskItem {
                line: items.len() as u64 + 1,
                context: context.clone(),
                choices: vec![format!("{}{}", choice.0, choice.1)],
                answer: 0,
                delimiter: String::new(),
            });
        }
    }
    assert!(items.len() > 30, "{}", items.len());
    let task = Arc::new(Task {
        name: "next".into(),
        path: folder.path().join("next.jsonl"),
        items,
    });
    let encoder = TaskEncoder::open(&tokenizer, 0, CONTEXT).unwrap();
    let encoded = encoder.encode(&task).unwrap();
    let scores = score_task(&model, &encoded, &mut |_, _| {}).unwrap();
    let right: Vec<bool> = scores.items.iter().map(|item| item.right).collect();
    assert_eq!(right, expected);
    assert!((scores.accuracy().value - 1.0 / 3.0).abs() < 1e-12);
    assert!(scores.normalized_accuracy().is_none());
    assert!(
        scores
            .items
            .iter()
            .all(|item| item.right_normalized.is_none())
    );
}

/// Checks that forty items have the scores of the harness, stored by `scripts/check/fixtures.sh`: log-likelihoods,
/// `is_greedy`, `acc` and `acc_norm`, including empty contexts and choices that greedy decoding generates.
#[test]
fn scores_match_the_harness() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/harness.json");
    let text = std::fs::read_to_string(path).unwrap();
    let fixture: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture["letters"], serde_json::json!(LETTERS));
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    save_tokenizer(&tokenizer);
    std::fs::write(
        folder.path().join("config.json"),
        fixture["config"].to_string(),
    )
    .unwrap();
    let config = polymath_model::load_config(folder.path()).unwrap();
    let mut shapes = config.parameter_shapes();
    shapes.sort();
    let weights = shapes.iter().enumerate();
    let weights = weights.map(|(seed, (name, shape))| (name.clone(), numbers(seed, shape)));
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    let model = Transformer::from_weights(config, weights.collect(), &options).unwrap();
    let theirs = fixture["items"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let item = |(at, item): (usize, &serde_json::Value)| TaskItem {
        line: at as u64 + 1,
        context: text(&item["context"]),
        choices: item["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect(),
        answer: item["answer"].as_u64().unwrap() as usize,
        delimiter: text(&item["target_delimiter"]),
    };
    let task = Arc::new(Task {
        name: "letters".into(),
        path: folder.path().join("letters.jsonl"),
        items: theirs.iter().enumerate().map(item).collect(),
    });
    let encoder = TaskEncoder::open(&tokenizer, 0, 64).unwrap();
    let encoded = encoder.encode(&task).unwrap();
    let scores = score_task(&model, &encoded, &mut |_, _| {}).unwrap();
    let (mut greedy, mut unlike) = (0, 0);
    for (theirs, ours) in theirs.iter().zip(&scores.items) {
        let likelihoods: Vec<f64> =
            serde_json::from_value(theirs["log_likelihoods"].clone()).unwrap();
        for (theirs, ours) in likelihoods.iter().zip(&ours.log_likelihoods) {
            assert!((theirs - ours).abs() < 2e-4, "{ours} and not {theirs}");
        }
        assert_eq!(
            theirs["greedy"],
            serde_json::json!(ours.greedy),
            "line {}",
            ours.line
        );
        let decided = |right: bool| serde_json::json!(f64::from(u8::from(right)));
        assert_eq!(theirs["acc"], decided(ours.right), "line {}", ours.line);
        let normalized = ours.right_normalized.unwrap();
        assert_eq!(
            theirs["acc_norm"],
            decided(normalized),
            "line {}",
            ours.line
        );
        greedy += usize::from(ours.greedy.contains(&true));
        unlike += usize::from(ours.right != normalized);
    }
    assert!(greedy > 2 && unlike > 2, "{greedy} {unlike}");
}
