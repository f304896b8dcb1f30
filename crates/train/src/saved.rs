//! Reading of the configuration `run.toml` that is saved in a run folder.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Extension, Training, TrainingConfig, TrainingDefaults};

/// Name of the file in a run folder that holds the resolved configuration.
pub(crate) const CONFIG: &str = "run.toml";

/// Reads the configuration with which the run in `folder` was started. Returns `None` if the folder has no run, or if
/// its configuration can't be read.
pub fn saved_config<T: DeserializeOwned>(folder: &Path) -> Option<T> {
    let text = polymath_base::read_to_string(folder.join(CONFIG)).ok()?;
    toml::from_str(&text).ok()
}

/// Returns the extensions of the run to which a checkpoint belongs, as far as they happened before the checkpoint's
/// step.
pub fn extensions_of(checkpoint: &Path) -> Vec<Extension> {
    let run = checkpoint.parent().unwrap_or(Path::new("."));
    let training = training_of_run(run);
    let mut extensions = training.map_or_else(Vec::new, |training| training.extensions);
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    if let Some(step) = crate::checkpoint::step_of(&name) {
        extensions.retain(|extension| extension.after < step);
    }
    extensions
}

/// Returns the `[training]` table of the run in `folder`, if it can be read.
pub(crate) fn training_of_run(folder: &Path) -> Option<Training> {
    training_in(&polymath_base::read_to_string(folder.join(CONFIG)).ok()?)
}

/// Parses the text of a resolved config, and returns its `[training]` table.
pub(crate) fn training_in(config: &str) -> Option<Training> {
    training_of(&config.parse().ok()?)
}

/// Returns the `[training]` table of a resolved config.
pub(crate) fn training_of(config: &toml::Table) -> Option<Training> {
    let table: TrainingConfig = config.get("training")?.clone().try_into().ok()?;
    Some(table.resolve(&TrainingDefaults::UNUSED))
}
