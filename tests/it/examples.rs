//! Tests that run the examples of library use.

#[path = "../../examples/objective.rs"]
#[allow(dead_code, reason = "an example's `main` is not called here")]
mod objective;
#[path = "../../examples/pretrain.rs"]
#[allow(dead_code, reason = "an example's `main` is not called here")]
mod pretrain;

use objective::{Smoothed, batches, data, small_model};
use polymath_model::TokenizerFiles;
use polymath_train::{Best, LanguageModel, Objective, Outcome, is_finished};

/// Checks the example of pretraining in forty lines: the run ends, its last evaluation is its best, and its
/// checkpoint can be loaded.
#[test]
fn pretraining_in_forty_lines() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = pretrain::pretrain(folder.path()).unwrap();
    let Outcome::Finished { steps, best } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((steps, best.unwrap().step), (60, 60));
    assert!(polymath_model::load_config(&folder.path().join("run/best")).is_ok());
    let code = include_str!("../../examples/pretrain.rs");
    let lines = code.lines().filter(|line| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with("//") || line.starts_with("use "))
    });
    assert!(lines.count() <= 40);
}

/// Checks the example of a custom objective: without smoothing, its loss equals the cross-entropy; with smoothing, it
/// lies between that and the loss of a uniform guess. The training loop checks that every parameter has a gradient.
#[test]
fn a_custom_objective() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = data(folder.path()).unwrap();
    let transformer = small_model(&dataset).unwrap();
    let batch = batches(&dataset).unwrap().batch(0);
    let plain = || LanguageModel {
        transformer: &transformer,
        tokenizer: TokenizerFiles::read(&dataset.tokenizer_path()).unwrap(),
    };
    let loss = |smoothing: f64| {
        let model = plain();
        let loss = Smoothed { model, smoothing }.loss(&batch).unwrap();
        f64::from(loss.to_scalar::<f32>().unwrap())
    };
    let expected = f64::from(plain().loss(&batch).unwrap().to_scalar::<f32>().unwrap());
    assert!((loss(0.0) - expected).abs() < 1e-4 * expected);
    // The loss is linear in the smoothing ε.
    let middle = f64::midpoint(loss(0.0), loss(1.0));
    assert!((loss(0.5) - middle).abs() < 1e-4 * middle);
    let run = folder.path().join("run");
    let outcome = objective::train(&dataset, &run, 0.1).unwrap();
    assert!(
        matches!(
            outcome,
            Outcome::Finished {
                best: Some(Best { step: 60, .. }),
                ..
            }
        ),
        "{outcome:?}"
    );
    assert!(is_finished(&run));
}
