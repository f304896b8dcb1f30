//! Configs that a tuning writes for its steps, `prepare.toml` and `finetune.toml`, which the ordinary commands can
//! read.

use std::fmt::Write;
use std::path::Path;

use polymath_config::toml_key;
use polymath_data::{DomainConfig, PrepareConfig, SourceSurvey, survey};
use polymath_finetune::{FinetuneConfig, Method, RetentionConfig, name_of_texts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::base::TuneBase;
use super::folder::write;
use super::request::{Retained, refused};
use super::{TuneFolder, TuneRequest};
use crate::schema::{HELD_OUT, free_name};
use crate::{StudyError, shell_word};

/// Least and greatest number of groups that a small niche holds out, which is a tenth of its documents. A larger niche
/// holds out the usual twentieth.
const HELD_OUT_OF_NICHE: [u64; 2] = [4, 32];
/// Number of held-out groups of which half, the `test` split, give an interval. A niche holds out as many if they are
/// at most a quarter of its documents.
const HELD_OUT_FOR_INTERVAL: u64 = 10;
/// Number of bytes of the niche that are read to count its documents.
const SURVEYED: u64 = 8_000_000;

/// Inputs from which the configs of a tuning are made.
pub(super) struct Configs<'a> {
    pub request: &'a TuneRequest,
    pub folder: &'a TuneFolder,
    pub base: &'a TuneBase,
    /// Name of the niche.
    pub niche: &'a str,
    pub retained: &'a Retained,
}

/// Config, and the text of the file that it was parsed from.
pub(super) struct Written<T> {
    pub text: String,
    pub config: T,
}

/// Path of retained text, with the name of its domain.
struct Named {
    name: String,
    path: String,
}

impl Configs<'_> {
    /// Returns the config of the preparation: the niche and retained text, in the base's tokens.
    pub fn prepare(&self) -> Result<Written<PrepareConfig>, StudyError> {
        let path = self.folder.prepare_config();
        let mut text = format!(
            "# Text in the tokens of the base. Written by `polymath tune`; by hand: polymath prepare {}\n\
             # Every key: polymath config prepare\n\
             output = {}\n\n\
             [tokenizer]\n\
             path = {}  # of the base\n\
             bos_token = {}\n\
             eos_token = {}\n\n\
             # The niche: what the model learns.\n\
             [domains.{}]\n\
             paths = {}\n",
            shell_word(&path.display().to_string()),
            quoted(&self.folder.data()),
            quoted(&self.base.tokenizer),
            string(&self.base.begin),
            string(&self.base.end),
            toml_key(self.niche),
            list(&self.request.data),
        );
        let settings = self.request.text_settings(self.niche);
        let with_settings = |text: &str| {
            let set = polymath_config::overridden(&path, text, &settings, &[]);
            set.map_err(StudyError::refused)
        };
        let config = read::<PrepareConfig>(&path, with_settings(&text)?)?.config;
        if let Some(niche) = config.domains.get(self.niche) {
            let found = survey(niche, SURVEYED).map_err(StudyError::refused)?;
            if niche.pairs.is_none() {
                text += self.form_of_pairs(&found);
            }
            text += &held_out_of_niche(niche, found.documents);
        }
        if let Retained::Texts(texts) = self.retained {
            text += "\n# Retained domains: what the model should keep. Half of the held-out groups judge the result.\n";
            for Named { name, path } in self.names(texts) {
                let paths = vec![path];
                let domain = DomainConfig {
                    paths: paths.clone(),
                    ..DomainConfig::default()
                };
                let found = survey(&domain, SURVEYED).map_err(StudyError::refused)?;
                write!(
                    text,
                    "[domains.{}]\npaths = {}\n{}heldout_groups = {HELD_OUT}\n\n",
                    toml_key(&name),
                    list(&paths),
                    self.form_of_pairs(&found)
                )
                .expect("a string takes all text");
            }
            text.truncate(text.trim_end().len());
            text += "\n";
        }
        read(&path, with_settings(&text)?)
    }

    /// Returns the line that reads prompts and their responses as messages, if there are any and the base chats; empty
    /// otherwise.
    fn form_of_pairs(&self, found: &SourceSurvey) -> &'static str {
        match self.base.has_template && found.pairs > 0 {
            true => {
                "pairs = \"chat\"  # a prompt and its response are messages, as the base reads them in a chat\n"
            }
            false => "",
        }
    }

    /// Gives each retained domain a unique name, after its file or folder.
    fn names(&self, texts: &[String]) -> Vec<Named> {
        let mut named: Vec<Named> = Vec::new();
        for path in texts {
            let name = name_of_texts(std::slice::from_ref(path));
            let is_taken =
                |name: &str| name == self.niche || named.iter().any(|other| other.name == name);
            let name = free_name(name, is_taken);
            named.push(Named {
                name,
                path: path.clone(),
            });
        }
        named
    }

    /// Returns the config of the fine-tuning.
    pub fn finetune(&self) -> Result<Written<FinetuneConfig>, StudyError> {
        let path = self.folder.finetune_config();
        let mut text = format!(
            "# The fine-tuning. Written by `polymath tune`; by hand: polymath finetune {} --resume\n\
             # Every key: polymath config finetune\n\
             base = {}\n\
             dataset = {}\n\
             domain = {}\n",
            shell_word(&path.display().to_string()),
            string(&self.base.named),
            quoted(&self.folder.data()),
            string(self.niche),
        );
        match self.retained {
            Retained::Nothing => {}
            Retained::Texts(_) => {
                text += &format!(
                    "retain = {}  # all of its domains but the niche\n",
                    quoted(&self.folder.data())
                );
            }
            Retained::Dataset(dataset) => text += &format!("retain = {}\n", quoted(dataset)),
        }
        text += &format!("run = {}\n", quoted(&self.folder.run()));
        text += &method(self.request.method);
        text += &self.retention();
        let settings = self.request.training_settings();
        let shared = polymath_train::EXCLUSIVE_KEYS;
        let text = polymath_config::overridden(&path, &text, &settings, shared);
        read(&path, text.map_err(StudyError::refused)?)
    }

    fn retention(&self) -> String {
        if *self.retained == Retained::Nothing {
            #[derive(Serialize)]
            struct File {
                retention: RetentionConfig,
            }
            let file = File {
                retention: RetentionConfig::without_text(self.request.limits()),
            };
            let tables = toml::to_string(&file).expect("retention is numbers and words");
            return format!(
                "\n# No retained text was given: the base generates text. It is replayed beside the niche's, the base's\n\
                 # predictions on it are distilled, and the forgetting budget (bits per byte) applies to it. The\n\
                 # strengths are those of the beginning: the training adapts them to the budget.\n{tables}"
            );
        }
        let mut text = "\n# Forgetting budget: the most bits per byte that a retained domain may lose. Replay and distillation\n\
             # on the retained text follow from it.\n[retention.limits]\n"
            .to_owned();
        for (domain, limit) in self.request.limits() {
            writeln!(text, "{} = {limit:?}", toml_key(&domain)).expect("a string takes all text");
        }
        text
    }
}

/// Returns the line that holds out more of a small niche than the usual share, which would be too few documents for a
/// verdict; empty if the setting is given.
fn held_out_of_niche(niche: &DomainConfig, documents: u64) -> String {
    if niche.heldout_groups.is_some() {
        return String::new();
    }
    let [fewest, most] = HELD_OUT_OF_NICHE;
    let usual = documents / 20;
    let mut wanted = (documents / 10).min(most);
    if documents >= 4 * HELD_OUT_FOR_INTERVAL {
        wanted = wanted.max(HELD_OUT_FOR_INTERVAL);
    }
    match wanted > usual && wanted >= fewest {
        true => format!("heldout_groups = {wanted}  # of about {documents}\n"),
        false => String::new(),
    }
}

fn method(method: Method) -> String {
    let said = match method {
        Method::Full => "every weight is trained",
        Method::Lora | Method::Dora => "an adapter is trained, and merged into the base at the end",
        Method::Frozen => "a part of the weights is trained",
    };
    format!("method = {}  # {said}\n", string(method.name()))
}

impl<T> Written<T> {
    /// Writes the config to `path`, unless the file exists.
    ///
    /// # Errors
    /// Fails if the file says something else.
    pub fn keep(&self, path: &Path) -> Result<(), StudyError> {
        match polymath_base::read_to_string(path) {
            Ok(found) => {
                let same = found.parse::<Table>().ok() == self.text.parse::<Table>().ok();
                if same {
                    return Ok(());
                }
                Err(refused(format!(
                    "`{0}` says something else than this request: it was edited, the data have changed, or another version \
                     of the program wrote it. Go on with \
                     the ordinary command that its first line names, or choose another output folder",
                    path.display()
                )))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(path, &self.text),
            Err(error) => Err(StudyError::file(path)(error)),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path, text: String) -> Result<Written<T>, StudyError> {
    let config = polymath_config::parse(path, &text, &[]).map_err(StudyError::refused)?;
    Ok(Written { text, config })
}

fn string(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn quoted(path: &Path) -> String {
    string(&path.display().to_string())
}

fn list(texts: &[String]) -> String {
    let texts = texts.iter().cloned().map(Value::String);
    Value::Array(texts.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks how many groups a niche of each size holds out: a tenth of its documents from 4 to 32, 10 where these are
    /// a quarter of it, and the usual share where that is as much.
    #[test]
    fn a_small_niche_holds_out_a_tenth() {
        let of = |documents: u64, heldout_groups| {
            let niche = DomainConfig {
                heldout_groups,
                ..DomainConfig::default()
            };
            held_out_of_niche(&niche, documents)
        };
        for (documents, wanted) in [
            (20, None),
            (39, None),
            (40, Some(10)),
            (99, Some(10)),
            (110, Some(11)),
            (320, Some(32)),
            (600, Some(32)),
            (640, None),
            (1000, None),
        ] {
            let expected = wanted.map_or(String::new(), |wanted| {
                format!("heldout_groups = {wanted}  # of about {documents}\n")
            });
            assert_eq!(of(documents, None), expected, "{documents} documents");
        }
        assert_eq!(of(110, Some(3)), "");
    }
}
