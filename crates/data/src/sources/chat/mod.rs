//! Rendering of conversations by a tokenizer's own chat template, as `apply_chat_template` of `transformers` does,
//! together with the origin of each piece of text: the template or a message.

mod conversation;
mod environment;
mod message;
mod ordered;
mod plain;
mod prompt;
mod python_json;
pub(crate) mod roles;
mod segments;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use minijinja::Error;
use polymath_tokenizer::{EndTokens, TokenizerSettings, read_optional_json};
use serde_json::Value;
use tokenizers::Tokenizer;

pub(crate) use self::conversation::Conversation;
use self::environment::{environment, on_deep_stack};
pub use self::plain::PLAIN_CHAT_TEMPLATE;
pub use self::prompt::{ChatMessage, PromptTemplate};
use self::template::{DEFAULT, Refusal, TOOL_USE, Template};
use crate::sources::document::Part;
use crate::{DataError, RecordNotes};

/// A tokenizer's chat template.
pub(crate) struct ChatTemplate {
    template: Arc<Template>,
    /// Reason why the template is not used any more: a rendering exceeded the time limit, or several in a row exceeded
    /// the limit of steps. `None` while it is in use.
    hung: OnceLock<String>,
    /// Number of consecutive conversations that exceeded the limit of steps.
    spent: AtomicU32,
}

/// File beside the tokenizer with the template for conversations with tools, where `transformers` writes it.
const FOR_TOOLS: &str = "additional_chat_templates/tool_use.jinja";

/// Number of consecutive conversations that must exceed the limit of steps before the template itself counts as
/// faulty. Each of them costs a tenth of a second.
const MOST_SPENT: u32 = 3;

/// Returns the text of a tokenizer's chat template; `None` if it has none.
///
/// # Errors
/// Fails if a file can't be read, or if there are several templates and none is named `default`.
pub fn chat_template(tokenizer: &Path) -> Result<Option<String>, DataError> {
    let found = templates(tokenizer)?;
    Ok(found.map(|(_, mut templates)| templates.swap_remove(0).1))
}

/// Finds the files of a tokenizer's chat templates: `chat_template.jinja`, else `tokenizer_config.json`, and the file
/// of the template for tools; empty if there is no template.
///
/// # Errors
/// Fails if a file can't be read.
pub(crate) fn template_files(tokenizer: &Path) -> Result<Vec<PathBuf>, DataError> {
    let Some((file, _)) = main_templates(tokenizer)? else {
        return Ok(Vec::new());
    };
    let for_tools = file_for_tools(tokenizer)?;
    Ok([file].into_iter().chain(for_tools).collect())
}

/// A file, and the templates in it with their names, the default one first.
type Templates = (PathBuf, Vec<(&'static str, String)>);

fn templates(tokenizer: &Path) -> Result<Option<Templates>, DataError> {
    let Some((file, mut templates)) = main_templates(tokenizer)? else {
        return Ok(None);
    };
    if let Some(for_tools) = file_for_tools(tokenizer)? {
        templates.retain(|(name, _)| *name != TOOL_USE);
        templates.push((TOOL_USE, polymath_input::read_text(&for_tools)?));
    }
    Ok(Some((file, templates)))
}

/// Returns the path of the template for tools; `None` if there is no such file.
fn file_for_tools(tokenizer: &Path) -> Result<Option<PathBuf>, DataError> {
    let path = tokenizer.with_file_name(FOR_TOOLS);
    Ok(polymath_input::is_file(&path)?.then_some(path))
}

/// Returns the templates of `chat_template.jinja`, else of `tokenizer_config.json`.
fn main_templates(tokenizer: &Path) -> Result<Option<Templates>, DataError> {
    let own = tokenizer.with_file_name("chat_template.jinja");
    if polymath_input::is_file(&own)? {
        let text = polymath_input::read_text(&own)?;
        return Ok(Some((own, vec![(DEFAULT, text)])));
    }
    let config = tokenizer.with_file_name("tokenizer_config.json");
    let fields = read_optional_json(&config)?.unwrap_or_default();
    let templates = match &fields["chat_template"] {
        Value::Null => return Ok(None),
        Value::String(template) => vec![(DEFAULT, template.clone())],
        several => {
            let named = |name: &'static str| {
                let mut all = several.as_array()?.iter();
                let template = all.find(|template| template["name"] == name)?;
                Some((name, template["template"].as_str()?.to_owned()))
            };
            let Some(default) = named(DEFAULT) else {
                let message =
                    "`chat_template` is neither a text nor a list with one named `default`";
                return Err(DataError::content(&config, message));
            };
            [Some(default), named(TOOL_USE)]
                .into_iter()
                .flatten()
                .collect()
        }
    };
    Ok(Some((config, templates)))
}

impl ChatTemplate {
    /// Opens the chat template of the tokenizer at `path`; `None` if it has none. `ends` are the tokens that
    /// begin and end a document.
    ///
    /// # Errors
    /// Fails if the template is not valid, or if a file can't be read.
    pub(crate) fn of(
        path: &Path,
        tokenizer: &Tokenizer,
        ends: EndTokens,
    ) -> Result<Option<Self>, DataError> {
        let Some((file, sources)) = templates(path)? else {
            return Ok(None);
        };
        let settings = TokenizerSettings::beside(path)?;
        let mut names: BTreeMap<String, String> = settings
            .names
            .into_iter()
            .map(|(key, named)| (key.to_owned(), named.token))
            .collect();
        // A key that is null is undefined in the template. A key that no file has gets the document's own token. If
        // documents begin with their end token, there is no `bos_token`.
        for (key, id) in [("bos_token", ends.begin), ("eos_token", ends.end)] {
            let known = names.contains_key(key) || settings.nulls.contains(&key);
            if !known && (id == ends.end) == (key == "eos_token") {
                names.insert(
                    key.to_owned(),
                    tokenizer.id_to_token(id).unwrap_or_default(),
                );
            }
        }
        let added = tokenizer.get_added_tokens_decoder().into_values();
        let added = added.map(|token| token.content).collect();
        let template = Self::new(&file, sources, names, added).map_err(|error| {
            DataError::content(&file, format!("the chat template is broken: {error:#}"))
        })?;
        Ok(Some(template))
    }

    fn new(
        file: &Path,
        sources: Vec<(&'static str, String)>,
        names: BTreeMap<String, String>,
        added: Vec<String>,
    ) -> Result<Self, Error> {
        let environment = on_deep_stack(move || environment(&sources))??;
        let used = environment
            .templates()
            .any(|(_, template)| template.source().contains("polymath_generation"));
        let template = Template {
            environment,
            file: file.to_path_buf(),
            names,
            added,
            marks_generation: used,
        };
        Ok(Self {
            template: Arc::new(template),
            hung: OnceLock::new(),
            spent: AtomicU32::new(0),
        })
    }

    /// Renders a conversation and returns its text in parts: what the template adds, and the content of each message.
    /// Answers of the assistant are scored together with the token that ends the turn. If the template has `{%
    /// generation %}`, the text within it is scored instead.
    ///
    /// # Errors
    /// Fails if the template refuses the messages, or if it changes the text of a message.
    pub(crate) fn parts(
        &self,
        conversation: Conversation,
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        if let Some(reason) = self.hung.get() {
            return Err(reason.clone());
        }
        let template = self.template.clone();
        let rendered = on_deep_stack(move || {
            let mut notes = RecordNotes::default();
            (template.parts(&conversation, &mut notes), notes)
        });
        match rendered {
            Ok((parts, counted)) => {
                notes.add(counted);
                self.count_spent(parts)
            }
            Err(error) => {
                let reason = self.template.refusal(&error);
                Err(self.hung.get_or_init(|| reason).clone())
            }
        }
    }
}

impl ChatTemplate {
    /// Counts consecutive conversations that exceeded the limit of steps; disables the template when there are too
    /// many.
    fn count_spent(&self, parts: Result<Vec<Part>, Refusal>) -> Result<Vec<Part>, String> {
        let refused = match parts {
            Ok(parts) => {
                self.spent.store(0, Ordering::Relaxed);
                return Ok(parts);
            }
            Err(refused) => refused,
        };
        if refused.is_spent && self.spent.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_SPENT {
            self.hung.get_or_init(|| refused.reason.clone());
        }
        Err(refused.reason)
    }
}

#[cfg(test)]
mod tests;
