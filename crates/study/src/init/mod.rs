//! First configs of a folder of texts, sized for this machine.
//!
//! [`Init::look`] finds the domains of the folder, [`Init::size`] sizes a model by timed steps, and [`Init::write`]
//! writes commented configs, which the ordinary commands accept as they are.

mod found;
mod sizing;

pub use found::{FoundDomain, FoundTexts};
pub use sizing::{Machine, PretrainingSize};

use std::path::{Path, PathBuf};

use polymath_base::StagedFile;
use toml::Value;

use crate::schema::{ConfigKind, HELD_OUT, LIMIT, Setting};
use crate::{StudyError, shell_word};

/// Name on the hub of the base for a fine-tuning config, if no model is pretrained.
const HUB_BASE: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// First configs for a folder of texts, before they are written.
pub struct Init {
    folder: PathBuf,
    /// Folder that the configs are written to.
    output: PathBuf,
    /// Name of the folder of texts, from which names of the dataset and the runs are made.
    name: String,
    /// Kinds of configs to write.
    kinds: Vec<ConfigKind>,
    /// Domains and niches found in the folder.
    pub found: FoundTexts,
}

impl Init {
    /// Searches `folder` for texts, and plans configs of these kinds in `output`. If no kinds are given, those that
    /// suit the texts are chosen.
    ///
    /// # Errors
    /// Fails if the folder can't be read or has no text, or a config exists already.
    pub fn look(folder: &Path, output: &Path, kinds: &[ConfigKind]) -> Result<Self, StudyError> {
        if !folder.is_dir() {
            return Err(StudyError::refused(format!(
                "`{}` is not a folder: give a folder with texts, each domain in a folder of its own",
                folder.display()
            )));
        }
        if let Some(made) = found::made(folder) {
            return Err(StudyError::refused(format!(
                "`{}` is {made}, whose files are not texts: give a folder with texts, each domain in a folder of its own",
                folder.display()
            )));
        }
        let found = FoundTexts::of(folder)?;
        let kinds = match kinds {
            [] => usual_kinds(&found),
            asked => asked.to_vec(),
        };
        let whole = folder.canonicalize().map_err(StudyError::file(folder))?;
        let init = Self {
            name: polymath_finetune::name_of_texts(&[whole.display().to_string()]),
            folder: folder.to_path_buf(),
            output: output.to_path_buf(),
            kinds,
            found,
        };
        init.check()?;
        Ok(init)
    }

    /// Fails if the folder lacks the text that the configs need, or if a config exists already.
    fn check(&self) -> Result<(), StudyError> {
        let needs_text = |kind: &ConfigKind| *kind != ConfigKind::Finetune;
        let empty = self.found.domains.is_empty() && self.found.niches.is_empty();
        if empty || self.found.domains.is_empty() && self.kinds.iter().any(needs_text) {
            let mut message = format!(
                "`{}` has no text to learn from: put texts there, each domain in a folder of its own",
                self.folder.display()
            );
            for note in &self.found.notes {
                message += &format!("\n  {note}");
            }
            return Err(StudyError::refused(message));
        }
        for path in self.paths() {
            if path.symlink_metadata().is_ok() {
                return Err(StudyError::refused(format!(
                    "`{}` exists and is not overwritten: move it, or choose another output folder",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Returns the kinds of configs that will be written.
    pub fn kinds(&self) -> &[ConfigKind] {
        &self.kinds
    }

    /// Returns the paths of the configs that will be written.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.kinds.iter().map(|kind| self.path(*kind)).collect()
    }

    fn path(&self, kind: ConfigKind) -> PathBuf {
        let name = format!("{}.toml", kind.name());
        match self.output == Path::new(".") {
            true => name.into(),
            false => self.output.join(name),
        }
    }

    fn has(&self, kind: ConfigKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Returns the folder of the dataset that the configs make.
    pub fn dataset(&self) -> String {
        format!("data/{}", self.name)
    }

    /// Returns the folder of the pretraining's run.
    pub fn run(&self) -> String {
        format!("checkpoints/{}", self.name)
    }

    /// Writes the configs. Existing files are never replaced.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    pub fn write(&self, sized: Option<&PretrainingSize>) -> Result<(), StudyError> {
        std::fs::create_dir_all(&self.output).map_err(StudyError::file(&self.output))?;
        for kind in &self.kinds {
            let path = self.path(*kind);
            let (about, settings) = match kind {
                ConfigKind::Prepare => self.prepare(),
                ConfigKind::Pretrain => self.pretrain(sized),
                _ => self.finetune(),
            };
            let file = shell_word(&path.display().to_string());
            let head = format!("{about}: polymath {} {file}", kind.name());
            write_new(&path, &kind.filled(&head, &settings))?;
        }
        Ok(())
    }

    fn prepare(&self) -> (String, Vec<Setting>) {
        let mut settings = vec![Setting::of(&[], "output", self.dataset())];
        for domain in &self.found.domains {
            let table = ["domains", &domain.name];
            let paths = domain.paths.iter().cloned().map(Value::String).collect();
            settings.push(Setting::of(&table, "paths", Value::Array(paths)));
            if domain.survey.documents > 1 {
                let held = Setting::of(&table, "heldout_groups", HELD_OUT);
                settings
                    .push(held.because("usually enough for a verdict, up to half of the groups"));
            }
        }
        ("Text of each domain".into(), settings)
    }

    fn pretrain(&self, sized: Option<&PretrainingSize>) -> (String, Vec<Setting>) {
        let mut settings = vec![
            Setting::of(&[], "dataset", self.dataset()),
            Setting::of(&[], "run", self.run()),
        ];
        settings.extend(sized.iter().flat_map(|sized| sized.settings()));
        ("A model of this text".into(), settings)
    }

    fn finetune(&self) -> (String, Vec<Setting>) {
        let own = self.has(ConfigKind::Pretrain) || Path::new(&self.run()).is_dir();
        let niche = self.found.niches.first().or(self.found.domains.first());
        let paths = niche.map_or_else(Vec::new, |niche| niche.paths.clone());
        let paths = paths.into_iter().map(Value::String).collect();
        let base = match own {
            true => self.run(),
            false => HUB_BASE.to_owned(),
        };
        let mut settings = vec![
            Setting::of(&[], "base", base),
            Setting::of(&[], "texts", Value::Array(paths)),
            Setting::of(&[], "run", self.run() + "-tuned"),
        ];
        let limited = match own {
            true => {
                settings.push(Setting::of(&[], "retain", self.dataset()));
                "bits per byte that a retained domain may lose"
            }
            false => "bits per byte that text which the base generates may lose",
        };
        let limits = toml::Table::from_iter([("default".to_owned(), LIMIT.into())]);
        let limits = Setting::of(&["retention"], "limits", Value::Table(limits));
        settings.push(limits.because(limited));
        ("A fine-tuning on the niche".into(), settings)
    }
}

/// Returns the kinds of configs that suit the texts.
fn usual_kinds(found: &FoundTexts) -> Vec<ConfigKind> {
    let mut kinds = Vec::new();
    if !found.domains.is_empty() {
        kinds.extend([ConfigKind::Prepare, ConfigKind::Pretrain]);
    }
    if !found.niches.is_empty() {
        kinds.push(ConfigKind::Finetune);
    }
    kinds
}

/// Writes a new file durably, never over another.
fn write_new(path: &Path, text: &str) -> Result<(), StudyError> {
    use std::io::Write;
    let write = || {
        let mut staged = StagedFile::create(path)?;
        staged.file().write_all(text.as_bytes())?;
        staged.commit_new()
    };
    write().map_err(StudyError::file(path))
}
