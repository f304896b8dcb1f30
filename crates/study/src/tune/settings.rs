//! Settings `key.sub=value` of a tuning, split into those of the fine-tuning's config and those of the niche's text.

use polymath_config::toml_key;
use polymath_finetune::Method;
use serde::Deserialize;

use super::TuneRequest;
use super::request::refused;
use crate::StudyError;

/// Keys that a tuning sets itself, each with the argument that decides its value.
const DECIDED: [(&str, &str); 7] = [
    ("base", "the first argument names the base"),
    ("dataset", "the arguments after the base name the text"),
    ("texts", "the arguments after the base name the text"),
    ("domain", "the niche is named after its file or folder"),
    ("run", "`--output` names the folder of the tuning"),
    ("retain", "`--retain` names the text to keep"),
    ("retention.limits", "`--limits` sets the budget"),
];
/// Keys that describe the niche's text. They have the same names in `prepare.toml` and `finetune.toml`.
const OF_TEXT: [&str; 8] = [
    "extensions",
    "fields",
    "pairs",
    "separator",
    "on_bad_record",
    "group",
    "group_field",
    "heldout_groups",
];

/// Returns true if a setting assigns `key` or a key below it.
fn sets(setting: &str, key: &str) -> bool {
    let set = setting.split('=').next().unwrap_or_default().trim();
    let below = set.strip_prefix(key);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_of_text(setting: &str) -> bool {
    OF_TEXT.iter().any(|key| sets(setting, key))
}

impl TuneRequest {
    /// Moves the method from the settings to the request, since a tuning must know whether it trains an adapter.
    ///
    /// # Errors
    /// Fails if the method is unknown, or another than `--lora` asks for.
    pub(super) fn take_method(&mut self) -> Result<(), StudyError> {
        #[derive(Deserialize)]
        struct Config {
            method: Method,
        }
        let is_method = |setting: &String| sets(setting, "method");
        let (given, rest): (Vec<String>, _) = self.settings.drain(..).partition(is_method);
        self.settings = rest;
        let Some(setting) = given.last() else {
            return Ok(());
        };
        let Config { method } =
            polymath_config::from_overrides(&given).map_err(StudyError::refused)?;
        if self.method != Method::Full && self.method != method {
            return Err(refused(format!(
                "`{setting}` and `--lora` ask for different methods: give one of them"
            )));
        }
        self.method = method;
        Ok(())
    }

    /// Fails if a setting assigns a key that a tuning sets itself.
    pub(super) fn check_settings(&self) -> Result<(), StudyError> {
        for setting in &self.settings {
            let decided = DECIDED.iter().find(|(key, _)| sets(setting, key));
            if let Some((key, by)) = decided {
                return Err(refused(format!(
                    "`{setting}`: `tune` sets `{key}` itself: {by}"
                )));
            }
        }
        Ok(())
    }

    /// Returns the settings of the niche's text, as settings of `prepare.toml`.
    pub(super) fn text_settings(&self, niche: &str) -> Vec<String> {
        let of_text = self.settings.iter().filter(|setting| is_of_text(setting));
        of_text
            .map(|setting| format!("domains.{}.{setting}", toml_key(niche)))
            .collect()
    }

    /// Returns those settings, as `key=value`, that belong to the fine-tuning's config.
    pub(super) fn training_settings(&self) -> Vec<String> {
        let of_training = self.settings.iter().filter(|setting| !is_of_text(setting));
        of_training.cloned().collect()
    }
}
