//! Checks that a resumed run has the configuration it was started with.

use std::path::Path;

use crate::TrainError;

/// Refuses a configuration that differs from the saved one, apart from the intervals of evaluation and saving.
pub(crate) fn refuse_changes(saved: &Path, config: &str) -> Result<(), TrainError> {
    let text = polymath_base::read_to_string(saved).map_err(TrainError::file("read", saved))?;
    let before: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        TrainError::Run(format!(
            "`{}`, the configuration the run was started with, is not valid TOML: {}",
            saved.display(),
            error.message()
        ))
    })?;
    let now: toml::Table = config.parse().unwrap_or_default();
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
    // The path of the run folder may be spelled differently or have changed: the open folder is the right one.
    keys.retain(|key| !["evaluation", "checkpoint", "run"].contains(&key.as_str()));
    for key in keys {
        if let Some(changed) = difference(key, before.get(key), now.get(key)) {
            return Err(TrainError::Run(format!(
                "`{changed}` differs from what this run was started with (see `{}`): resume with the same config, or \
                 choose another `run`",
                saved.display()
            )));
        }
    }
    Ok(())
}

/// Returns the first key at or under `key` whose values differ.
fn difference(
    key: &str,
    before: Option<&toml::Value>,
    now: Option<&toml::Value>,
) -> Option<String> {
    if before == now {
        return None;
    }
    if let (Some(toml::Value::Table(before)), Some(toml::Value::Table(now))) = (before, now) {
        return before.keys().chain(now.keys()).find_map(|inner| {
            difference(&format!("{key}.{inner}"), before.get(inner), now.get(inner))
        });
    }
    Some(key.to_owned())
}
