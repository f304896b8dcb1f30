//! Tests of the text that the base generates: reproducible, stored once, and refused if the base repeats itself.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_data::Split;
use polymath_finetune::FinetuneError;
use polymath_finetune::retention::{HeldOutPart, SelfReplay};
use polymath_model::{DocumentSampler, LoadOptions, Transformer};
use polymath_train::Observer;

use crate::support::tiny::{VOCABULARY, frozen, ops};

/// Checks that a document generated in parallel with others equals the same document generated alone, even if the
/// others end earlier.
#[test]
fn documents_do_not_depend_on_their_neighbors() {
    let base = frozen(1);
    let composition = DocumentSampler {
        temperature: 0.9,
        max_tokens: 16,
        seed: 3,
    };
    let together = composition.documents(&base, 0, 24).unwrap();
    assert!(
        together
            .iter()
            .any(|document| document.len() < 16 && document.ends_with(&[0]))
    );
    assert!(together.iter().any(|document| document.len() == 16));
    for (number, document) in together.iter().enumerate() {
        assert!(
            document[..document.len() - 1]
                .iter()
                .all(|token| *token != 0)
        );
        let alone = composition.documents(&base, number as u64, 1).unwrap();
        assert_eq!(alone[0], *document);
    }
    let other = DocumentSampler {
        seed: 4,
        ..composition
    };
    assert_ne!(together, other.documents(&base, 0, 24).unwrap());
}

/// Observer that collects the run's messages.
#[derive(Default)]
struct Messages(Vec<String>);

impl Observer for Messages {
    fn message(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

/// Checks that a complete dataset is written, reproducibly, and reused, and that it is generated again if it is
/// damaged or of another base.
#[test]
fn generated_text_is_reused() {
    let root = tempfile::tempdir().unwrap();
    let base = frozen(1);
    let replay = SelfReplay {
        output: root.path().join("run.replay"),
        tokenizer: tokenizer_json().into_bytes(),
        base_sha256: "base".into(),
        tokens: 500,
        composition: DocumentSampler {
            temperature: 1.0,
            max_tokens: 16,
            seed: 3,
        },
        frame: None,
        held_out: HeldOutPart::None,
    };
    let prepare = |replay: &SelfReplay| {
        let mut said = Messages::default();
        let stop = AtomicBool::new(false);
        let dataset = replay.prepare(&base, &stop, &mut said);
        (dataset.unwrap(), said.0.join("; "))
    };
    let (first, said) = prepare(&replay);
    assert!(said.contains("generating 500 tokens"), "{said}");
    let shard = first.shard("self", Split::Train).unwrap();
    assert!(shard.tokens() >= 500);
    assert_eq!(first.shard("self", Split::Heldout).unwrap().documents(), 0);
    let (again, said) = prepare(&replay);
    assert_eq!(
        (again.fingerprint(), said.as_str()),
        (first.fingerprint(), "")
    );

    let path = root.path().join("run.replay/self/train.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    drop(shard);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let (again, said) = prepare(&replay);
    assert!(
        said.contains("train.safetensors") && said.contains("again"),
        "{said}"
    );
    assert_eq!(again.fingerprint(), first.fingerprint());
    let other = SelfReplay {
        base_sha256: "another".into(),
        ..replay
    };
    assert!(prepare(&other).1.contains("generating"));
    // A stop prevents only the generation of new text.
    let stopped = |replay: &SelfReplay| {
        replay.prepare(&base, &AtomicBool::new(true), &mut Messages::default())
    };
    assert!(stopped(&other).is_ok());
    let new = SelfReplay {
        output: root.path().join("new.replay"),
        ..other
    };
    assert!(matches!(stopped(&new), Err(FinetuneError::Stopped)));
}

/// Returns the text of a `tokenizer.json` with one word for each token ID.
fn tokenizer_json() -> String {
    let words: Vec<String> = (0..VOCABULARY)
        .map(|id| format!("\"w{id}\": {id}"))
        .collect();
    format!(
        "{{\"version\": \"1.0\", \"model\": {{\"type\": \"WordLevel\", \"vocab\": {{{}}}, \"unk_token\": \"w1\"}}}}",
        words.join(", ")
    )
}

/// Returns a model with random weights of the given seed, whose logits are multiplied by `factor` so that its
/// distributions are sharper.
fn sharpened(seed: u64, factor: f64) -> Transformer {
    let model = frozen(seed);
    let mut weights = model.frozen().clone();
    let norm = weights.get_mut("model.norm.weight").unwrap();
    *norm = (&*norm * factor).unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, ops());
    Transformer::from_weights(model.config().clone(), weights, &options).unwrap()
}

/// Returns settings to generate text of `tokens` tokens in the folder `root`, a quarter of which is held out.
fn held_out_replay(root: &Path, tokens: u64) -> SelfReplay {
    SelfReplay {
        output: root.join("run.replay"),
        tokenizer: tokenizer_json().into_bytes(),
        base_sha256: "base".into(),
        tokens,
        composition: DocumentSampler {
            temperature: 1.0,
            max_tokens: 16,
            seed: 3,
        },
        frame: None,
        held_out: HeldOutPart::Quarter,
    }
}

/// Checks that a base that repeats itself is refused with the measured value and advice, after three seeds and before
/// much text is generated, and that no generated text remains that a later run could use.
#[test]
fn a_repeating_base_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let replay = held_out_replay(root.path(), 50_000);
    let mut said = Messages::default();
    let repeating = sharpened(1, 1e4);
    let refused = replay.prepare(&repeating, &AtomicBool::new(false), &mut said);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("the base repeats itself"), "{error}");
    assert!(error.contains("expected at least"), "{error}");
    assert!(error.contains("`retain`"), "{error}");
    let attempts = said.0.iter().filter(|text| text.contains("has collapsed"));
    assert_eq!(attempts.count(), 3, "{:?}", said.0);
    assert!(!replay.exists());
    // The same settings are of use for a base that does not repeat itself.
    let dataset = replay.prepare(&frozen(1), &AtomicBool::new(false), &mut said);
    let dataset = dataset.unwrap();
    let documents = |split| dataset.shard("self", split).unwrap().documents();
    assert_eq!(documents(Split::Train) / documents(Split::Heldout), 3);
    assert!(replay.exists());
}

/// Checks that generated text is generated again if its file of held-out documents is damaged.
#[test]
fn damaged_heldout_text_is_generated_again() {
    let root = tempfile::tempdir().unwrap();
    let replay = held_out_replay(root.path(), 500);
    let base = frozen(1);
    let prepare = || {
        let mut said = Messages::default();
        let dataset = replay.prepare(&base, &AtomicBool::new(false), &mut said);
        (dataset.unwrap().fingerprint().to_owned(), said.0)
    };
    let first = prepare();
    assert_eq!(prepare(), (first.0.clone(), Vec::new()));
    std::fs::write(root.path().join("run.replay/self/heldout.safetensors"), "").unwrap();
    let (again, said) = prepare();
    assert_eq!(again, first.0);
    assert!(said[0].contains("generated again"), "{said:?}");
}
