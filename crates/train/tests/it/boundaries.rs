//! Tests that runs that are killed between any two changes of their folder, or stopped at any step, end with the same
//! files as an uninterrupted run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use polymath_train::{
    Checkpointing, Evaluation, Fit, Interval, Observer, Outcome, RunFolder, Silent, StepMetrics,
    TrainingTask, fit, verify,
};
use serde_json::Value;

use crate::support::table::{CONFIG, Case, Scores, Steps, Table};

/// Test run that evaluates every 2 steps and saves a checkpoint every `every` steps.
struct TrainedRun {
    every: u64,
    keep: usize,
}

impl TrainedRun {
    /// Trains the test run in the folder `run`, from its newest checkpoint if there is one.
    fn train(&self, run: &Path, stop: &AtomicBool, observer: &mut dyn Observer) -> Outcome {
        let folder = RunFolder::open(run, CONFIG, true).unwrap();
        let checkpoint = Checkpointing {
            every: Interval::Steps(self.every),
            keep: self.keep,
            milestones: vec![5],
        };
        if let Some(outcome) = folder.finished_outcome(&checkpoint).unwrap() {
            folder.mark_best(&folder.resumed().unwrap().state).unwrap();
            return outcome;
        }
        let (table, evaluated) = match folder.resumed() {
            None => (Table::new(), 0),
            Some(from) => {
                let done = 1 + from.state.step / 2 - u64::from(from.state.evaluation_due);
                (Table::load(&from.path), done)
            }
        };
        let case = Case::new();
        case.settings(stop, |settings| {
            let settings = Fit {
                training: settings.training,
                evaluation: &Evaluation {
                    every: Interval::Steps(2),
                    max_tokens: 1,
                },
                evaluate_first: true,
                checkpoint: &checkpoint,
                seed: settings.seed,
                data_fingerprint: settings.data_fingerprint.clone(),
                ops: settings.ops,
                stop,
            };
            let mut scores = Scores(evaluated);
            fit(
                &settings,
                &folder,
                TrainingTask {
                    objective: &table,
                    batches: &Steps,
                },
                &mut scores,
                observer,
            )
            .unwrap()
        })
    }

    fn go_on(&self, run: &Path) {
        let outcome = self.train(run, &AtomicBool::new(false), &mut Silent);
        assert!(
            matches!(outcome, Outcome::Finished { steps: 20, .. }),
            "{outcome:?}"
        );
    }
}

/// Returns everything in a run's folder by path, without times: the targets of links and the text of files.
fn content(run: &Path) -> BTreeMap<PathBuf, String> {
    fn add(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            if path.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                found.insert(name, format!("-> {}", target.display()));
            } else if path.ends_with("tensorboard") || path.ends_with(".lock") {
                // The metrics contain times, and the lock file a process id.
            } else if path.is_dir() {
                add(&path, root, found);
            } else {
                found.insert(name, timeless(&path));
            }
        }
    }
    let mut found = BTreeMap::new();
    add(run, run, &mut found);
    found
}

fn timeless(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let json = path
        .extension()
        .is_some_and(|end| end == "json" || end == "jsonl");
    if !json {
        return format!("{bytes:?}");
    }
    let values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    values
        .map(|value| {
            let mut value = value.unwrap();
            for key in ["seconds", "tokens_per_second", "checksum"] {
                value.as_object_mut().unwrap().remove(key);
            }
            format!("{value}\n")
        })
        .collect()
}

fn assert_same(found: &Path, expected: &Path, what: &str) {
    let (found, expected) = (content(found), content(expected));
    let names = |content: &BTreeMap<PathBuf, String>| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "{what}");
    for (name, text) in &expected {
        assert_eq!(&found[name], text, "{what}: {}", name.display());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), place).unwrap();
        } else if path.is_dir() {
            copy(&path, &place);
        } else {
            std::fs::copy(&path, place).unwrap();
        }
    }
}

/// Observer that copies the run's folder before the first checkpoint and after each.
struct Snapshots {
    run: PathBuf,
    kept: PathBuf,
    taken: RefCell<Vec<PathBuf>>,
}

impl Snapshots {
    fn take(&self) {
        let place = self.kept.join(self.taken.borrow().len().to_string());
        copy(&self.run, &place);
        self.taken.borrow_mut().push(place);
    }
}

impl Observer for Snapshots {
    fn begin(&mut self, _step: u64, _total: u64) {
        self.take();
    }
    fn after_checkpoint(&mut self, _path: &Path) {
        self.take();
    }
}

fn point(run: &Path, name: &str, target: &Path) {
    let _ = std::fs::remove_file(run.join(name));
    std::os::unix::fs::symlink(target, run.join(name)).unwrap();
}

/// Makes every state that the run's folder can have between two snapshots, if the process is killed between two changes
/// of the folder or in the middle of one.
fn between(before: &Path, after: &Path, make: &mut dyn FnMut(&str) -> PathBuf) {
    let names = |run: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(run).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("step-")).collect()
    };
    let (old, new) = (names(before), names(after));
    let saved = new.iter().find(|name| !old.contains(name)).unwrap();
    let gone: Vec<&String> = old.iter().filter(|name| !new.contains(name)).collect();
    let mut state = |what: &str, reached: u32| {
        let run = make(&format!("{what} {saved}"));
        copy(before, &run);
        std::fs::copy(after.join("metrics.jsonl"), run.join("metrics.jsonl")).unwrap();
        if reached == 0 {
            let beside = run.join(format!(".{saved}.polymath-tmp"));
            std::fs::create_dir(&beside).unwrap();
            std::fs::write(beside.join("model.safetensors"), "half").unwrap();
            return;
        }
        copy(&after.join(saved), &run.join(saved));
        if reached >= 2 {
            point(&run, "latest", Path::new(saved));
        }
        if reached >= 3 {
            point(
                &run,
                "best",
                &std::fs::read_link(after.join("best")).unwrap(),
            );
        }
        if let (true, Some(first)) = (reached >= 4, gone.first()) {
            let aside = run.join(format!(".old-{first}.polymath-tmp"));
            std::fs::rename(run.join(first), &aside).unwrap();
            if reached == 5 {
                std::fs::remove_file(aside.join("model.safetensors")).unwrap();
            }
        }
    };
    let changes = [
        "writing",
        "before the links of",
        "before `best` of",
        "before the rotation of",
        "in the rotation of",
        "halfway through the rotation of",
    ];
    for (reached, what) in (0..).zip(changes) {
        state(what, reached);
    }
}

/// Checks that a run that is killed between any two changes of its folder ends with the same files, even if only the
/// links of the last checkpoint or its rotation were missing.
#[test]
fn a_run_killed_between_any_two_changes_ends_the_same() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let kept = TrainedRun { every: 2, keep: 2 };
    let mut snapshots = Snapshots {
        run: whole.clone(),
        kept: root.path().join("snapshots"),
        taken: RefCell::default(),
    };
    kept.train(&whole, &AtomicBool::new(false), &mut snapshots);
    let mut states = Vec::new();
    for pair in snapshots.taken.borrow().windows(2) {
        between(&pair[0], &pair[1], &mut |what| {
            let run = root.path().join(format!("state {}", states.len()));
            states.push((run.clone(), what.to_owned()));
            run
        });
    }
    assert_eq!(states.len(), 6 * 11, "10 checkpoints and a milestone");
    for (run, what) in states {
        kept.go_on(&run);
        assert_same(&run, &whole, &what);
        std::fs::remove_dir_all(run).unwrap();
    }
}

/// Observer that sets the stop flag after a step, or in the evaluation that follows it.
struct StopAt<'a> {
    step: u64,
    evaluating: bool,
    done: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAt<'_> {
    fn after_step(&mut self, metrics: &StepMetrics) {
        self.done = metrics.step;
        if !self.evaluating && self.done == self.step {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
    fn evaluating(&mut self, _done: u64, _all: u64) {
        if self.evaluating && self.done == self.step {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

/// Checks that a run that is stopped at any step or in any evaluation ends with the same files. The checkpoint that
/// was saved only because of the stop is gone, and a repeated evaluation leaves no trace.
#[test]
fn a_run_stopped_anywhere_ends_the_same() {
    let root = tempfile::tempdir().unwrap();
    for (number, kept) in [
        TrainedRun { every: 2, keep: 1 },
        TrainedRun { every: 3, keep: 2 },
        TrainedRun { every: 7, keep: 3 },
    ]
    .into_iter()
    .enumerate()
    {
        let whole = root.path().join(format!("whole {number}"));
        kept.go_on(&whole);
        for step in 0..=20 {
            for evaluating in [false, true] {
                let run = root.path().join(format!("{number} {step} {evaluating}"));
                let stop = AtomicBool::new(false);
                let mut observer = StopAt {
                    step,
                    evaluating,
                    done: 0,
                    stop: &stop,
                };
                let stops = (step > 0 || evaluating) && (!evaluating || step % 2 == 0);
                let outcome = kept.train(&run, &stop, &mut observer);
                if stops {
                    assert_eq!(outcome, Outcome::Interrupted { step });
                    if step > 0 {
                        assert_eq!(verify(&run.join("latest")).unwrap().step, step);
                    }
                }
                kept.go_on(&run);
                let what = format!("stopped at {step}, evaluating: {evaluating}, case {number}");
                assert_same(&run, &whole, &what);
            }
        }
    }
}

/// Checks that resuming a finished run changes nothing and is not an error, and that it is refused without
/// `--resume`.
#[test]
fn resuming_a_finished_run_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (whole, run) = (root.path().join("whole"), root.path().join("run"));
    let kept = TrainedRun { every: 2, keep: 2 };
    kept.go_on(&whole);
    copy(&whole, &run);
    kept.go_on(&run);
    assert_same(&run, &whole, "again");
    let refused = RunFolder::open(&run, CONFIG, false).err().unwrap();
    assert!(refused.to_string().contains("is finished"), "{refused}");
}
