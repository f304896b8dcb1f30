//! Comparison of a resumed run's configuration with the saved configuration that the run was started with.

use std::path::Path;

use crate::saved::training_of;
use crate::{TrainError, Training, is_same_place, locate};

/// Keys whose values a resumed run may change: evaluation, saving, recomputation, and the run's length, which
/// `RunFolder::lengthen` compares. `run` is among them because the path of the same folder may be spelled differently,
/// and the keys `extensions` and `fields` of a niche because earlier versions did not save them: the niche's dataset,
/// which records what it was made from, is compared instead.
const FREE: [&str; 9] = [
    "evaluation",
    "checkpoint",
    "run",
    "extensions",
    "fields",
    "training.tokens",
    "training.steps",
    "training.extensions",
    RECOMPUTE,
];

/// Key that selects the activations to recompute. It changes memory and time, but no bit of the result.
const RECOMPUTE: &str = "training.recompute";

/// Keys whose values are paths. Two spellings of the same path, such as from two working directories, count as equal.
const PLACES: [&str; 3] = ["base", "dataset", "retain"];

fn text_at<'a>(config: &'a toml::Table, key: &str) -> Option<&'a str> {
    config.get(key)?.as_str()
}

/// Checks that the configuration `config` of a resumed run equals the one saved in the file `saved`, except for the
/// length of the run, what is recomputed, and the intervals of evaluation and saving. Returns the `[training]` table of
/// the saved configuration. `resolve` fills in defaults that the saved configuration may lack; if it returns `None`,
/// the saved one is compared as it is.
pub(crate) fn refuse_changes(
    saved: &Path,
    config: &str,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Training>, TrainError> {
    let text = polymath_base::read_to_string(saved).map_err(TrainError::file("read", saved))?;
    let resolved = resolve(&text).unwrap_or(text);
    let mut before: toml::Table = resolved.parse().map_err(|error: toml::de::Error| {
        TrainError::Run(format!(
            "`{}`, the configuration the run was started with, is not valid TOML: {}",
            saved.display(),
            error.message()
        ))
    })?;
    let now: toml::Table = config.parse().unwrap_or_default();
    let folder = saved.parent().unwrap_or(Path::new("."));
    for key in PLACES {
        let (Some(old), Some(new)) = (text_at(&before, key), text_at(&now, key)) else {
            continue;
        };
        if is_same_place(&locate(Path::new(old), folder), Path::new(new)) {
            before.insert(key.into(), new.into());
        }
    }
    match first_difference(&before, &now, &FREE) {
        None => Ok(training_of(&before)),
        Some(changed) => Err(TrainError::Run(format!(
            "`{changed}` differs from what this run was started with (see `{}`): resume with the same config, or \
             choose another `run`",
            saved.display()
        ))),
    }
}

/// Returns the first key in which two resolved configurations differ, or `None`. Ignores `run`, `training.recompute`
/// and the keys `free`. Returns `run.toml` if a configuration is not valid TOML.
pub fn changed_key(before: &str, now: &str, free: &[&str]) -> Option<String> {
    let (Ok(before), Ok(now)) = (before.parse(), now.parse()) else {
        return Some("run.toml".into());
    };
    first_difference(&before, &now, &[&["run", RECOMPUTE], free].concat())
}

fn first_difference(before: &toml::Table, now: &toml::Table, free: &[&str]) -> Option<String> {
    let mut keys = before.keys().chain(now.keys());
    keys.find_map(|key| difference(key, before.get(key), now.get(key), free))
}

/// Returns the first key, `key` itself or one below it, whose values differ between two tables.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a resumed run may recompute other activations than before, since that changes no result, but may
    /// change no other key.
    #[test]
    fn recomputation_is_not_a_change() {
        let config = |keys: &str| format!("seed = 1\n[training]\nsteps = 5\n{keys}");
        let (before, now) = (config(""), config("recompute = \"block\""));
        assert_eq!(changed_key(&before, &now, &[]), None);
        let other = config("accumulation_steps = 2");
        let changed = changed_key(&before, &other, &[]);
        assert_eq!(changed.as_deref(), Some("training.accumulation_steps"));
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("run.toml");
        std::fs::write(&saved, &before).unwrap();
        refuse_changes(&saved, &now, &|_| None).unwrap();
        let error = refuse_changes(&saved, &other, &|_| None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`training.accumulation_steps` differs")
        );
    }

    /// Checks that two spellings of one path do not count as a change, and that another path does.
    #[test]
    fn another_base_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for base in ["one", "two"] {
            std::fs::create_dir(at.join(base)).unwrap();
        }
        let config = |base: &Path| format!("base = {base:?}");
        let saved = at.join("run.toml");
        std::fs::write(&saved, config(&at.join("one"))).unwrap();
        let now = |base: &str| refuse_changes(&saved, &config(&at.join(base)), &|_| None);
        now("two/../one").unwrap();
        let error = now("two").unwrap_err().to_string();
        assert!(error.contains("`base` differs"), "{error}");
    }
}
