//! Check that a resumed run has the configuration that it was started with.

use std::path::Path;

use crate::TrainError;

/// Fails if a configuration differs from the saved one, other than in the intervals of evaluation and saving.
/// `resolve` fills in the defaults of the saved one; if it returns `None`, the saved one is compared as it is.
pub(crate) fn refuse_changes(
    saved: &Path,
    config: &str,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<(), TrainError> {
    let text = polymath_base::read_to_string(saved).map_err(TrainError::file("read", saved))?;
    let resolved = resolve(&text).unwrap_or(text);
    let before: toml::Table = resolved.parse().map_err(|error: toml::de::Error| {
        TrainError::Run(format!(
            "`{}`, the configuration the run was started with, is not valid TOML: {}",
            saved.display(),
            error.message()
        ))
    })?;
    let now: toml::Table = config.parse().unwrap_or_default();
    // The path of the run folder may be written differently or have changed: the open folder is the right one.
    match first_difference(&before, &now, &["evaluation", "checkpoint", "run"]) {
        None => Ok(()),
        Some(changed) => Err(TrainError::Run(format!(
            "`{changed}` differs from what this run was started with (see `{}`): resume with the same config, or \
             choose another `run`",
            saved.display()
        ))),
    }
}

/// Returns the first key in which two resolved configs differ, ignoring `run` and the keys `free`. Returns `run.toml`
/// if a config is not TOML.
pub fn changed_key(before: &str, now: &str, free: &[&str]) -> Option<String> {
    let (Ok(before), Ok(now)) = (before.parse(), now.parse()) else {
        return Some("run.toml".into());
    };
    first_difference(&before, &now, &[&["run"], free].concat())
}

fn first_difference(before: &toml::Table, now: &toml::Table, free: &[&str]) -> Option<String> {
    let mut keys = before.keys().chain(now.keys());
    keys.find_map(|key| difference(key, before.get(key), now.get(key), free))
}

/// Returns the first key, at or below `key`, whose values differ.
fn difference(
    key: &str,
    before: Option<&toml::Value>,
    now: Option<&toml::Value>,
    free: &[&str],
) -> Option<String> {
    if before == now || free.contains(&key) {
        return None;
    }
    if let (Some(toml::Value::Table(before)), Some(toml::Value::Table(now))) = (before, now) {
        return before.keys().chain(now.keys()).find_map(|inner| {
            let key = format!("{key}.{inner}");
            difference(&key, before.get(inner), now.get(inner), free)
        });
    }
    Some(key.to_owned())
}
