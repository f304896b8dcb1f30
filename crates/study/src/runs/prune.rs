//! Removal of checkpoints that nothing needs.
//!
//! A run keeps what its links point to, its newest checkpoint, its milestones, and every checkpoint that another run or
//! model came from, by the path or the SHA-256 of its base. Of a run that is in use, or whose newest checkpoint is not
//! whole, nothing is removed, nor is a folder that holds files which the run did not write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polymath_finetune::Lineage;
use polymath_train::{Check, Inspection, StoredCheckpoint, linked, locate, project_of};
use serde::Serialize;

use super::walk::{self, Links, Walk};
use super::{Run, RunCondition};
use crate::StudyError;

/// Folder that a removal takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Folder of the run that the checkpoint belongs to.
    pub run: PathBuf,
    /// Folder to remove.
    pub path: PathBuf,
    /// Size of the folder's files in bytes.
    pub bytes: u64,
    /// Reason why nothing needs the folder.
    pub why: &'static str,
}

/// Run or checkpoint that a removal leaves although it would normally be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Folder of the run or checkpoint.
    pub path: PathBuf,
    /// Reason why the folder stays.
    pub why: String,
}

/// Plan of a removal: folders to remove, and folders that stay for a special reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PrunePlan {
    /// Folders to remove.
    pub removals: Vec<Removal>,
    /// Folders that stay, each with the reason.
    pub kept: Vec<Skipped>,
    /// Folders that were searched for runs and models that need a checkpoint.
    pub searched: Vec<PathBuf>,
}

impl PrunePlan {
    /// Returns the size in bytes of all folders to remove.
    pub fn bytes(&self) -> u64 {
        self.removals.iter().map(|removal| removal.bytes).sum()
    }

    fn keep(&mut self, path: &Path, why: String) {
        self.kept.push(Skipped {
            path: path.to_path_buf(),
            why,
        });
    }

    /// Plans to remove the folder `path` of `run`, unless it contains files that the run did not write.
    fn remove(&mut self, run: &Path, path: &Path, why: &'static str, written: &Written) {
        if let Some(name) = written.stranger(path) {
            let why = format!("the run did not write `{name}` in it: move that elsewhere");
            return self.keep(path, why);
        }
        self.removals.push(Removal {
            run: run.to_path_buf(),
            path: path.to_path_buf(),
            bytes: walk::size(path),
            why,
        });
    }
}

/// Plans the removal of the checkpoints of `runs` that nothing needs. Runs and models that need one are looked for in
/// `folders`, in the working directory, and in the projects of the runs.
///
/// # Errors
/// Fails if a folder or a lineage can't be read, since what it needs is then unknown.
pub fn plan_prune(runs: &[Run], folders: &[PathBuf]) -> Result<PrunePlan, StudyError> {
    let needed = Needed::of(runs, folders)?;
    let mut plan = PrunePlan {
        searched: needed.searched.clone(),
        ..PrunePlan::default()
    };
    for run in runs {
        plan_run(run, &needed, &mut plan)?;
    }
    Ok(plan)
}

/// Removes the planned folders. Stops with an error if a run has begun to train meanwhile.
///
/// # Errors
/// Fails if a run is in use, or if a folder can't be removed.
pub fn prune(plan: &PrunePlan) -> Result<(), StudyError> {
    for removals in plan.removals.chunk_by(|one, next| one.run == next.run) {
        let folders: Vec<PathBuf> = removals
            .iter()
            .map(|removal| removal.path.clone())
            .collect();
        polymath_train::remove_checkpoints(&removals[0].run, &folders)?;
    }
    Ok(())
}

fn plan_run(run: &Run, needed: &Needed, plan: &mut PrunePlan) -> Result<(), StudyError> {
    let folder = &run.folder;
    match &run.condition {
        RunCondition::Running { .. } => {
            plan.keep(folder, "a process trains it".into());
            return Ok(());
        }
        RunCondition::Broken { message } => {
            plan.keep(folder, format!("it is broken: {message}"));
            return Ok(());
        }
        _ => {}
    }
    // The newest checkpoint may be all that is left of a run: its digests are compared before others go.
    let found = Inspection::of(folder, Check::Lengths)?;
    let Some(newest) = found.newest() else {
        return Ok(());
    };
    if let Err(error) = polymath_train::verify(&newest.path) {
        plan.keep(folder, format!("it is broken: {error}"));
        return Ok(());
    }
    let written = Written::of(newest);
    let (links, milestones) = (linked(folder), milestones(folder));
    for checkpoint in &found.checkpoints {
        let path = &checkpoint.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if checkpoint.step == newest.step || links.iter().any(|link| *link == name) {
            continue;
        }
        if milestones.contains(&checkpoint.step) {
            plan.keep(path, "it is one of `checkpoint.milestones`".into());
        } else if let Some(by) = needed.by(checkpoint) {
            plan.keep(path, format!("`{}` came from it", by.display()));
        } else {
            plan.remove(folder, path, "neither newest nor best", &written);
        }
    }
    for (name, path) in walk::folders(folder) {
        if name.starts_with("broken-step-") {
            let why = "broken, and set aside when the run continued";
            plan.remove(folder, &path, why, &written);
        }
    }
    Ok(())
}

/// Names of the files that a run writes into its checkpoints.
struct Written {
    names: BTreeSet<String>,
}

impl Written {
    /// Takes the names of a checkpoint's files from a complete checkpoint.
    fn of(checkpoint: &StoredCheckpoint) -> Self {
        let state = checkpoint.state.as_ref().ok();
        let listed = state.into_iter().flat_map(|state| state.sha256.keys());
        let names = listed.cloned().chain(["state.json".into()]);
        Self {
            names: names.collect(),
        }
    }

    /// Returns a file or subfolder of `folder` that a run does not write, such as a person's notes; `None` if there is
    /// none.
    fn stranger(&self, folder: &Path) -> Option<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name());
        let names = names.filter(|name| !polymath_base::is_leftover(name));
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !self.names.contains(name)).min()
    }
}

/// Returns the steps whose checkpoints the run's config keeps permanently.
fn milestones(run: &Path) -> BTreeSet<u64> {
    let config: Option<toml::Table> = polymath_train::saved_config(run);
    let listed = config
        .as_ref()
        .and_then(|config| config.get("checkpoint")?.get("milestones")?.as_array());
    let steps = listed.into_iter().flatten();
    steps
        .filter_map(|step| step.as_integer()?.try_into().ok())
        .collect()
}

/// Checkpoints that other runs and models were made from and may still need.
#[derive(Debug, Default)]
struct Needed {
    places: Vec<Origin>,
    /// Folders that were searched for such runs and models.
    searched: Vec<PathBuf>,
}

/// Checkpoint from which a run or model was made.
#[derive(Debug)]
struct Origin {
    /// Run or model that was made from the checkpoint.
    of: PathBuf,
    /// Folder of the checkpoint, with symbolic links resolved.
    folder: Option<PathBuf>,
    /// SHA-256 of the checkpoint's weights; `None` if it was not recorded.
    sha256: Option<String>,
}

impl Needed {
    fn of(runs: &[Run], folders: &[PathBuf]) -> Result<Self, StudyError> {
        let mut scopes = vec![PathBuf::from(".")];
        scopes.extend(folders.iter().cloned());
        scopes.extend(runs.iter().filter_map(|run| project_of(&run.folder)));
        let (mut seen, mut walked) = (BTreeSet::new(), BTreeSet::new());
        let mut needed = Self::default();
        for scope in scopes {
            // Runs of one project have the same scope.
            if scope
                .canonicalize()
                .is_ok_and(|folder| !walked.insert(folder))
            {
                continue;
            }
            let Walk { runs, models } = walk::walk(&scope, Links::Follow)?;
            needed.searched.push(scope);
            for folder in runs.into_iter().chain(models) {
                let is_new = folder
                    .canonicalize()
                    .is_ok_and(|folder| seen.insert(folder));
                if is_new {
                    needed.add(&folder)?;
                }
            }
        }
        Ok(needed)
    }

    /// Adds the base of a run or model, and the bases before it.
    fn add(&mut self, folder: &Path) -> Result<(), StudyError> {
        // A model beside others in a folder is not a checkpoint of a run: its lineage is its own.
        let mut lineages = vec![Lineage::of(folder)?];
        for (name, path) in walk::folders(folder) {
            if name.starts_with("step-") || name == "mixed" {
                self.add_adapter(folder, &path);
                lineages.push(Lineage::of(&path)?);
            }
        }
        self.add_adapter(folder, folder);
        for lineage in lineages.into_iter().flatten() {
            for place in lineage.checkpoint.iter().chain([&lineage.base]) {
                self.push(folder, Some(place), Some(&lineage.base_sha256));
            }
            for stage in &lineage.earlier {
                self.push(folder, Some(&stage.base), Some(&stage.base_sha256));
            }
        }
        Ok(())
    }

    fn add_adapter(&mut self, of: &Path, folder: &Path) {
        if let Ok(named) = polymath_model::named_base(folder) {
            let place = locate(Path::new(&named.name), folder);
            self.push(of, Some(&place), None);
        }
    }

    fn push(&mut self, of: &Path, place: Option<&Path>, sha256: Option<&str>) {
        self.places.push(Origin {
            of: of.to_path_buf(),
            folder: place.and_then(|place| place.canonicalize().ok()),
            sha256: sha256.map(str::to_owned),
        });
    }

    /// Returns the run or model that was made from a checkpoint; `None` if there is none.
    fn by(&self, checkpoint: &StoredCheckpoint) -> Option<&Path> {
        let folder = checkpoint.path.canonicalize().ok();
        let state = checkpoint.state.as_ref().ok();
        let sha256 = state.and_then(|state| state.sha256.get("model.safetensors"));
        let is_it = |origin: &&Origin| {
            folder.is_some() && origin.folder == folder
                || sha256.is_some() && origin.sha256.as_ref() == sha256
        };
        self.places.iter().find(is_it).map(|origin| &*origin.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a checkpoint is needed by a model that came from it over another fine-tuning, whose own base is
    /// gone.
    #[test]
    fn bases_of_earlier_fine_tunings_are_needed() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().canonicalize().unwrap();
        let [first, other] = ["step-000001", "step-000002"].map(|step| at.join("run").join(step));
        let model = at.join("model");
        for folder in [&first, &other, &model] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let stage = |base: &Path| {
            format!(
                "base = {base:?}\nbase_sha256 = \"{}\"\nmethod = \"full\"\nniche = \"n\"\ndataset = \"d\"\n",
                base.display()
            )
        };
        let text = format!("{}[[earlier]]\n{}", stage(&at.join("gone")), stage(&first));
        std::fs::write(model.join("base.toml"), text).unwrap();
        let mut needed = Needed::default();
        needed.add(&model).unwrap();
        let by = |path: &Path| {
            let checkpoint = StoredCheckpoint {
                step: 1,
                path: path.to_path_buf(),
                state: Err("not read".into()),
            };
            needed.by(&checkpoint).map(Path::to_path_buf)
        };
        assert_eq!(by(&first), Some(model.clone()));
        assert_eq!(by(&other), None);
    }
}
