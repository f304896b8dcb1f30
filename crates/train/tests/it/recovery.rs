//! Tests of recovery after a stop, a kill or a disk error at a critical moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{Tensor, Var};
use polymath_data::{Batch, IGNORED};
use polymath_train::{
    BatchSource, Objective, Outcome, RunFolder, SaveModel, Silent, TrainError, TrainingTask, fit,
    verify,
};

use crate::support::table::{
    CONFIG, Case, Scores, Steps, StopAfter, Table, optimizer_bytes, records, straight,
};

fn stop_after(step: u64, path: &Path, case: &Case) {
    let stop = AtomicBool::new(false);
    let folder = RunFolder::open(path, CONFIG, false).unwrap();
    let outcome = case
        .run(&folder, &Table::new(), &stop, &mut StopAfter(step, &stop))
        .unwrap();
    assert_eq!(outcome, Outcome::Interrupted { step });
}

fn resume(path: &Path, case: &Case) -> Table {
    let folder = RunFolder::open(path, CONFIG, true).unwrap();
    let table = Table::load(&folder.resumed().unwrap().path);
    case.run(&folder, &table, &AtomicBool::new(false), &mut Silent)
        .unwrap();
    table
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Checks that an evaluation that was due at a stop is repeated: the metrics lines and the best checkpoint are the
/// same.
#[test]
fn an_evaluation_due_at_a_stop_is_repeated() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let expected = straight(&whole);
    let parts = root.path().join("parts");
    let mut case = Case::new();
    stop_after(8, &parts, &case); // Step 8 is the best of the whole run.
    case.evaluated = 4;
    let table = resume(&parts, &case);
    assert_eq!(table.bits(), expected.bits());
    assert_eq!(optimizer_bytes(&whole), optimizer_bytes(&parts));
    assert_eq!(records(&whole), records(&parts));
    let best = std::fs::read_link(parts.join("best")).unwrap();
    assert_eq!(best, Path::new("step-000008"));
    verify(&parts.join("best")).unwrap();
}

/// Checks that rotation never removes a complete checkpoint in favor of a broken newer one, even if few are kept.
#[test]
fn rotation_never_prefers_a_broken_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut case = Case::new();
    stop_after(17, &path, &case);
    damage(&path.join("step-000017/model.safetensors"));
    case.keep = 1;
    case.evaluated = 9;
    let folder = RunFolder::open(&path, CONFIG, true).unwrap();
    assert_eq!(folder.resumed().unwrap().state.step, 16);
    folder
        .prepare_resume(&crate::support::table::saving())
        .unwrap();
    verify(&path.join("latest")).unwrap();
    let table = Table::load(&folder.resumed().unwrap().path);
    let stop = AtomicBool::new(false);
    // The first save is at step 16 + 1, before the broken checkpoint's step is reached.
    case.run(&folder, &table, &stop, &mut StopAfter(17, &stop))
        .unwrap();
    assert_eq!(verify(&path.join("latest")).unwrap().step, 17);

    let early = root.path().join("early");
    let mut case = Case::new();
    stop_after(19, &early, &case);
    damage(&early.join("step-000019/model.safetensors"));
    damage(&early.join("step-000018/model.safetensors"));
    case.keep = 1;
    let folder = RunFolder::open(&early, CONFIG, true).unwrap();
    let table = Table::load(&folder.resumed().unwrap().path);
    let stop = AtomicBool::new(false);
    case.run(&folder, &table, &stop, &mut StopAfter(17, &stop))
        .unwrap();
    assert_eq!(verify(&early.join("latest")).unwrap().step, 17);
}

/// Table objective whose disk is full from the third checkpoint on.
struct FullDisk(Table, std::cell::Cell<u32>);

impl Objective for FullDisk {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.0.loss(batch)
    }
    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.0.trainable()
    }
}

impl SaveModel for FullDisk {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        self.1.set(self.1.get() + 1);
        if self.1.get() < 3 {
            return self.0.save(folder);
        }
        let path = folder.join("model.safetensors");
        std::fs::write(&path, "half").unwrap();
        Err(TrainError::File {
            action: "write",
            path,
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }
}

/// Checks that the error for a checkpoint that can't be written names the file, that earlier checkpoints are kept,
/// and that the space is freed.
#[test]
fn a_full_disk_keeps_earlier_checkpoints() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let folder = RunFolder::open(&path, CONFIG, false).unwrap();
    let full = FullDisk(Table::new(), std::cell::Cell::new(0));
    let case = Case::new();
    let stop = AtomicBool::new(false);
    let error = case
        .settings(&stop, |settings| {
            fit(
                settings,
                &folder,
                TrainingTask {
                    objective: &full,
                    batches: &Steps,
                },
                &mut Scores(0),
                &mut Silent,
            )
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    assert_eq!(verify(&path.join("latest")).unwrap().step, 4);
    let left: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".tmp-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Checks that a learning rate below the resolution of 32-bit numbers is accepted.
#[test]
fn tiny_learning_rates_are_not_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut case = Case::new();
    case.training.learning_rate = 1e-12;
    case.training.weight_decay = 0.0;
    let folder = RunFolder::open(&root.path().join("run"), CONFIG, false).unwrap();
    case.run(&folder, &Table::new(), &AtomicBool::new(false), &mut Silent)
        .unwrap();
}

/// Checks that a run interrupted under an older batch rule is refused, with or without `--resume`, and stays
/// unchanged. A finished one can be opened.
#[test]
fn runs_of_an_older_batch_rule_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    stop_after(8, &path, &Case::new());
    let state = path.join("step-000008/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    let rule = format!("  \"batch_rule\": {},\n", polymath_data::BATCH_RULE);
    assert!(text.contains(&rule), "{text}");
    // Older versions had no such key and no checksum of the file.
    let before = |text: &str| {
        let text = text.replace(&rule, "");
        text.replace("\"schema\": 2", "\"schema\": 1")
    };
    let old = before(&text);
    std::fs::write(&state, &old).unwrap();
    for resume in [true, false] {
        let error = RunFolder::open(&path, CONFIG, resume).err().unwrap();
        for said in ["after step 8", "rule 1", "choose another `run`"] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }
    assert_eq!(std::fs::read_to_string(&state).unwrap(), old);
    let whole = root.path().join("whole");
    straight(&whole);
    let state = whole.join("step-000020/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, before(&text)).unwrap();
    let found = polymath_train::finished(&whole).unwrap();
    assert_eq!((found.step, found.batch_rule), (20, 1));
    verify(&whole.join("latest")).unwrap();
    // The run is refused in a comparison with runs of this version or with runs still to be trained. Alone it is
    // accepted.
    let other = root.path().join("other");
    straight(&other);
    let new = root.path().join("new");
    polymath_train::check_batch_rules(&[&whole, &whole]).unwrap();
    polymath_train::check_batch_rules(&[&other, &new]).unwrap();
    for beside in [&other, &new] {
        let error = polymath_train::check_batch_rules(&[&whole, beside]).unwrap_err();
        let said = format!(
            "1 of 2 runs were trained by an older rule of making batches: `{}` (rule 1)",
            whole.display()
        );
        assert!(error.to_string().contains(&said), "{error}");
    }
    let state = other.join("step-000020/state.json");
    forget_evaluation_rule(&state);
    let error = polymath_train::check_batch_rules(&[&other, &new]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("older rule of choosing the best checkpoint"),
        "{error}"
    );
}

/// Rewrites the `state.json` of a run as an older version wrote it: without an evaluation rule and without a checksum.
/// Returns the new text.
fn forget_evaluation_rule(state: &Path) -> String {
    let text = std::fs::read_to_string(state).unwrap();
    let rule = format!(
        "  \"evaluation_rule\": {},\n",
        polymath_data::EVALUATION_RULE
    );
    assert!(text.contains(&rule), "{text}");
    let old = text
        .replace(&rule, "")
        .replace("\"schema\": 2", "\"schema\": 1");
    std::fs::write(state, &old).unwrap();
    old
}

/// Checks that a run whose earlier evaluations used documents chosen by another rule is refused and stays unchanged:
/// its best score would be of other documents than later ones. A run without an evaluation may resume.
#[test]
fn runs_of_an_older_evaluation_rule_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    stop_after(8, &path, &Case::new());
    let file = path.join("step-000008/state.json");
    let old = forget_evaluation_rule(&file);
    for resume in [true, false] {
        let error = RunFolder::open(&path, CONFIG, resume).err().unwrap();
        for said in ["after step 8", "rule 1", "other documents", "another `run`"] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), old);
    let state: serde_json::Value = serde_json::from_str(&old).unwrap();
    assert!(state["best"]["score"]["bits_per_byte"].is_f64(), "{old}");
    let mut unevaluated = state;
    unevaluated["best"] = serde_json::Value::Null;
    std::fs::write(&file, unevaluated.to_string()).unwrap();
    let error = RunFolder::open(&path, CONFIG, true).err().unwrap();
    assert!(!error.to_string().contains("other documents"), "{error}");
}

/// Batch source whose batches have no targets, as a custom one may return.
struct Prompts;

impl BatchSource for Prompts {
    fn batch(&self, step: u64) -> Batch {
        let mut batch = Steps.batch(step);
        if step == 3 {
            batch.targets.fill(IGNORED);
        }
        batch
    }
}

/// Checks that a batch without targets is refused with its step, and that saved checkpoints are kept: a mean over no
/// token is not a loss of 0.
#[test]
fn a_batch_without_targets_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let folder = RunFolder::open(&path, CONFIG, false).unwrap();
    let error = Case::new()
        .settings(&AtomicBool::new(false), |settings| {
            let (table, scores) = (Table::new(), &mut Scores(0));
            fit(
                settings,
                &folder,
                TrainingTask {
                    objective: &table,
                    batches: &Prompts,
                },
                scores,
                &mut Silent,
            )
        })
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("step 4: no position of the batch has a target"),
        "{error}"
    );
    assert_eq!(verify(&path.join("latest")).unwrap().step, 2);
}
