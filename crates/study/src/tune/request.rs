//! Request of a tuning (base, text of the niche, text to retain, settings), and its checks.

use std::path::{Path, PathBuf};

use polymath_finetune::retention::LimitsConfig;
use polymath_finetune::{Method, name_of_texts};
use polymath_hub::{DatasetFiles, Repository};
use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::model_files::is_gguf;
use crate::schema::LIMIT;

/// Request of a tuning, as saved in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneRequest {
    /// Model to start from: a model folder, a run folder, a GGUF file, or `owner/name` of the hub.
    pub base: String,
    /// Text of the niche: files, folders or globs, as `paths` in `prepare`.
    pub data: Vec<String>,
    /// Text whose quality the model should keep, each path as a domain; or one prepared dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retain: Vec<String>,
    /// Given forgetting limits in bits per byte; if they are empty, [`Self::limits`] has the default. They apply to the
    /// retained text, or else to text that the base generates.
    #[serde(default, skip_serializing_if = "LimitsConfig::is_empty")]
    pub limits: LimitsConfig,
    /// Fine-tuning method, which decides the trained parameters.
    pub method: Method,
    /// Changes to the fine-tuning's config, as `key.sub=value`. Those of the niche's text, such as `fields` and
    /// `on_bad_record`, change the config of the preparation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
}

/// Retained text of a request, by its kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Retained {
    /// No retained text: the limits apply to text that the base generates.
    Nothing,
    /// Paths of raw text, each of which is a domain.
    Texts(Vec<String>),
    /// Folder of a prepared dataset.
    Dataset(PathBuf),
}

impl TuneRequest {
    /// Checks the request before any work: that its paths exist and its parts fit together.
    ///
    /// # Errors
    /// Fails with the argument at fault.
    pub fn check(&self) -> Result<(), StudyError> {
        let base = Path::new(&self.base);
        let is_name = Repository::parse(&self.base).is_some();
        if !base.exists() && !is_name {
            return Err(refused(format!(
                "`{}`: there is no such folder or file, and it is not a name on the hub: expected a model folder, a run \
                 folder, a `.gguf` file, or `owner/name` of the hub",
                self.base
            )));
        }
        if base.is_file() && !self.is_gguf() {
            return Err(refused(format!(
                "`{}` is a file, but not a `.gguf`: give the folder of the model (with its `config.json`)",
                self.base
            )));
        }
        if self.data.is_empty() {
            return Err(refused(
                "no data is given: name a file, a folder or a glob of the text to learn".into(),
            ));
        }
        for path in self.data.iter().chain(&self.retain) {
            if !path.starts_with(DatasetFiles::SCHEME)
                && !is_glob(path)
                && !Path::new(path).exists()
            {
                return Err(refused(format!(
                    "`{path}`: there is no such file or folder"
                )));
            }
        }
        self.check_settings()?;
        self.retained().map(drop)
    }

    /// Returns true if the base is a GGUF file.
    pub(super) fn is_gguf(&self) -> bool {
        is_gguf(Path::new(&self.base))
    }

    /// Returns the retained text: raw text, or one prepared dataset.
    pub(super) fn retained(&self) -> Result<Retained, StudyError> {
        let is_dataset = |path: &String| Path::new(path).join("dataset.json").is_file();
        match &self.retain[..] {
            [] => Ok(Retained::Nothing),
            [only] if is_dataset(only) => Ok(Retained::Dataset(only.into())),
            several => match several.iter().find(|path| is_dataset(path)) {
                Some(dataset) => Err(refused(format!(
                    "`retain`: `{dataset}` is a prepared dataset, which can't be combined with other text: give it \
                     alone, or prepare one dataset of all"
                ))),
                None => Ok(Retained::Texts(several.to_vec())),
            },
        }
    }

    /// Returns the forgetting limits of the tuning: the given ones, or else the default limit for every domain.
    pub fn limits(&self) -> LimitsConfig {
        match self.limits.is_empty() {
            true => LimitsConfig::from([("default".to_owned(), LIMIT)]),
            false => self.limits.clone(),
        }
    }

    /// Returns the default folder of a tuning: in the current folder, named after the base and the data.
    pub fn default_output(&self) -> PathBuf {
        format!("{}-{}", self.base_name(), name_of_texts(&self.data)).into()
    }

    /// Returns the base's name: of a file or folder without its extension, or of the run that a checkpoint belongs to.
    fn base_name(&self) -> String {
        let path = self.base.split('@').next().unwrap_or(&self.base);
        let of_run =
            |name: &str| ["best", "latest", "closest"].contains(&name) || name.starts_with("step-");
        let parts = path.split(['/', '\\']);
        let mut parts = parts.filter(|part| !part.is_empty() && ![".", ".."].contains(part));
        let name = parts.rfind(|part| !of_run(part));
        let name = name.unwrap_or("model");
        let plain = match self.is_gguf() {
            true => without_type(name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
            false => name,
        };
        plain.to_owned()
    }
}

/// Returns a GGUF file's name without the type of its numbers (`Q4_K_M`, `f16`), which the tuned model does not keep.
fn without_type(name: &str) -> &str {
    let is_type = |end: &str| {
        let end = end.to_ascii_lowercase();
        let number = end.strip_prefix("iq").or(end.strip_prefix('q'));
        ["f16", "bf16", "f32"].contains(&&*end)
            || number
                .is_some_and(|number| number.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    match name.rfind(['.', '-']) {
        Some(at) if at > 0 && is_type(&name[at + 1..]) => &name[..at],
        _ => name,
    }
}

fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

pub(super) fn refused(reason: String) -> StudyError {
    StudyError::refused(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(base: &str, data: &[&str]) -> TuneRequest {
        TuneRequest {
            base: base.into(),
            data: data.iter().map(|path| (*path).to_owned()).collect(),
            retain: Vec::new(),
            limits: LimitsConfig::new(),
            method: Method::Full,
            settings: Vec::new(),
        }
    }

    /// Checks that the folder is named after base and data.
    #[test]
    fn the_folder_is_named_after_base_and_data() {
        for (base, data, name) in [
            (
                "HuggingFaceTB/SmolLM2-135M-Instruct@main",
                &["support.jsonl"][..],
                "SmolLM2-135M-Instruct-support",
            ),
            ("checkpoints/own/best", &["notes/**/*.md"], "own-notes"),
            (
                "checkpoints/own/step-000020/",
                &["a/x.md", "a/y.md"],
                "own-a",
            ),
            ("./own", &["v1.jsonl"], "own-v1"),
        ] {
            assert_eq!(request(base, data).default_output(), Path::new(name));
        }
    }

    /// Checks that the type of a GGUF file's numbers is not part of the name.
    #[test]
    fn names_have_no_type_of_numbers() {
        for (name, plain) in [
            ("SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct"),
            ("qwen3-0.6b-q8_0", "qwen3-0.6b"),
            ("small-f16", "small"),
            ("small-IQ4_XS", "small"),
            ("v1.2", "v1.2"),
            ("my-quest", "my-quest"),
        ] {
            assert_eq!(without_type(name), plain);
        }
    }

    /// Checks that a request that can't be met is refused with the argument at fault.
    #[test]
    fn impossible_requests_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir_all(at("set")).unwrap();
        std::fs::write(at("set/dataset.json"), "{}").unwrap();
        for name in ["chat.jsonl", "model.safetensors"] {
            std::fs::write(at(name), "").unwrap();
        }
        let fine = request("owner/name", &[&at("chat.jsonl")]);
        fine.check().unwrap();
        let refused = |change: &dyn Fn(&mut TuneRequest), said: &str| {
            let mut request = fine.clone();
            change(&mut request);
            let error = request.check().unwrap_err();
            assert!(
                error.is_refusal() && error.to_string().contains(said),
                "{error}"
            );
        };
        refused(
            &|request| request.base = "nowhere".into(),
            "`nowhere`: there is no such",
        );
        refused(
            &|request| request.base = at("model.safetensors"),
            "is a file, but not a `.gguf`",
        );
        refused(&|request| request.data.clear(), "no data is given");
        refused(
            &|request| request.data.push(at("gone.jsonl")),
            "gone.jsonl`: there is no such",
        );
        refused(
            &|request| request.retain.push(at("gone")),
            "gone`: there is no such",
        );
        refused(
            &|request| request.retain = vec![at("set"), at("chat.jsonl")],
            "is a prepared dataset, which can't be combined",
        );
        for (setting, said) in [
            ("run=elsewhere", "`--output` names the folder"),
            ("dataset=set", "the arguments after the base name the text"),
            ("retention.limits.default=0.1", "`--limits` sets the budget"),
        ] {
            refused(&|request| request.settings = vec![setting.into()], said);
        }
        let mut running = fine.clone();
        running.settings = vec!["running.seed=1".into()];
        running.check().unwrap();
    }

    /// Checks that a method among the settings is the request's, and that settings of the text are parted from those of
    /// the training.
    #[test]
    fn settings_are_parted() {
        let mut request = request("own", &["a.jsonl"]);
        let settings = [
            "method=dora",
            "fields.prompt=q",
            "training.steps=5",
            "groups=3",
        ];
        request.settings = settings.map(str::to_owned).to_vec();
        request.take_method().unwrap();
        assert_eq!(request.method, Method::Dora);
        assert_eq!(
            request.text_settings("a b"),
            ["domains.\"a b\".fields.prompt=q"]
        );
        assert_eq!(
            request.training_settings(),
            ["training.steps=5", "groups=3"]
        );
        request.settings = vec!["method=full".into()];
        let error = request.take_method().unwrap_err().to_string();
        assert!(error.contains("different methods"), "{error}");
        request.settings = vec!["method=magic".into()];
        assert!(request.take_method().is_err());
    }
}
