//! Conversations as a tokenizer's own chat template renders them: what `apply_chat_template` of `transformers` gives, and
//! beside it which stretches of the text are whose.

mod conversation;
mod environment;
mod segments;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};
use polymath_tokenizer::{Settings, read_optional_json};
use serde_json::Value;
use tokenizers::Tokenizer;

pub(crate) use conversation::{Conversation, known_role};

use crate::notes::count;
use crate::record::TOOLS;
use crate::source::Part;
use crate::{DataError, RecordNotes};
use conversation::Message;
use environment::{FUEL, environment, on_deep_stack};
use segments::{MOST_MESSAGES, Segment, mark, segments, segments_text};

/// Names of the templates that a tokenizer may have: the second is for conversations with tools.
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A tokenizer's chat template.
pub(crate) struct ChatTemplate {
    template: Arc<Template>,
    /// The reason why it is not asked again: it did not end in time, or again and again took too many steps.
    hung: OnceLock<String>,
    /// Conversations one after the other for which it took too many steps.
    spent: AtomicU32,
}

/// So many conversations may take too many steps, one after the other, until the template is at fault and not they: each
/// takes a tenth of a second to find out.
const MOST_SPENT: u32 = 3;

/// The template itself, which is rendered on a thread of its own.
struct Template {
    environment: Environment<'static>,
    file: PathBuf,
    /// `bos_token` and the others that a template may write, by key.
    names: BTreeMap<String, String>,
    /// The added tokens: one of them ends a turn.
    added: Vec<String>,
    /// Whether `{% generation %}` says what is scored.
    marks_generation: bool,
}

/// The text of a tokenizer's chat template; `None` where it has none.
///
/// # Errors
/// A file that can't be read; several templates, none of which is named `default`.
pub fn chat_template(tokenizer: &Path) -> Result<Option<String>, DataError> {
    let found = templates(tokenizer)?;
    Ok(found.map(|(_, mut templates)| templates.swap_remove(0).1))
}

/// Where a tokenizer's chat template stands: `chat_template.jinja`, else `tokenizer_config.json`, beside it; `None` where
/// neither has one.
///
/// # Errors
/// A file that can't be read.
pub(crate) fn template_file(tokenizer: &Path) -> Result<Option<PathBuf>, DataError> {
    Ok(templates(tokenizer)?.map(|(file, _)| file))
}

/// The file and the templates in it by name, the default one first.
type Templates = (PathBuf, Vec<(&'static str, String)>);

fn templates(tokenizer: &Path) -> Result<Option<Templates>, DataError> {
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
    /// The template of the tokenizer at `path`; `None` where it has none. `(bos, eos)` are the tokens that begin and end
    /// a document.
    ///
    /// # Errors
    /// A template that is broken.
    pub(crate) fn of(
        path: &Path,
        tokenizer: &Tokenizer,
        (bos, eos): (u32, u32),
    ) -> Result<Option<Self>, DataError> {
        let Some((file, sources)) = templates(path)? else {
            return Ok(None);
        };
        let settings = Settings::beside(path)?;
        let mut names: BTreeMap<String, String> = settings
            .names
            .into_iter()
            .map(|(key, named)| (key.to_owned(), named.token))
            .collect();
        // A key that is null is undefined to a template; one that no file has is the document's own token. What begins with
        // the end token has no begin token.
        for (key, id) in [("bos_token", bos), ("eos_token", eos)] {
            let known = names.contains_key(key) || settings.nulls.contains(&key);
            if !known && (id == eos) == (key == "eos_token") {
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

    /// A conversation in parts: what the template adds, and what each message says. What the assistant says is scored,
    /// with the token that ends its turn; where the template has `{% generation %}`, what that encloses.
    ///
    /// # Errors
    /// Messages that the template refuses, or one whose text it changes.
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
    /// Counts conversations that took too many steps, until it is known that all do.
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

/// The reason why a conversation has no parts.
struct Refusal {
    reason: String,
    /// Whether the template took too many steps.
    is_spent: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_spent: false,
        }
    }
}

impl Template {
    /// The text that `apply_chat_template` gives for these messages.
    fn render(
        &self,
        messages: &[minijinja::Value],
        tools: Option<&minijinja::Value>,
    ) -> Result<String, Error> {
        let name = match tools {
            Some(_) if self.environment.get_template(TOOL_USE).is_ok() => TOOL_USE,
            _ => DEFAULT,
        };
        self.environment.get_template(name)?.render(context! {
            messages => messages.to_vec(),
            add_generation_prompt => false,
            // As `transformers` gives them: a template may ask whether they are `none`.
            tools => tools.cloned().unwrap_or(minijinja::Value::from(())),
            documents => (),
            ..minijinja::Value::from(Serde(&self.names))
        })
    }

    fn parts(
        &self,
        conversation: &Conversation,
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, Refusal> {
        let Conversation { messages, tools } = conversation;
        if messages.len() > MOST_MESSAGES {
            let reason = format!(
                "has {} messages: expected at most {MOST_MESSAGES}",
                messages.len()
            );
            return Err(reason.into());
        }
        let unmarked: Vec<minijinja::Value> = messages.iter().map(Message::for_template).collect();
        let marked = (0..)
            .zip(messages)
            .map(|(number, message)| mark(number, message));
        let marked: Vec<minijinja::Value> = marked.collect();
        let refused = |error: Error| Refusal {
            reason: self.refusal(&error),
            is_spent: error.kind() == ErrorKind::OutOfFuel,
        };
        let plain = self.render(&unmarked, tools.as_ref()).map_err(refused)?;
        let rendered = self.render(&marked, tools.as_ref()).map_err(refused)?;
        let segments = segments(&rendered);
        let again = segments.iter().map(|segment| segment.text);
        let plain_segments = segments_text(&plain);
        if again.collect::<String>() != plain_segments {
            let reason = "has a message whose text the chat template changes or looks into (as with thoughts or the calls of a \
                 tool), so that what the assistant says can't be told apart: render it to `prompt` and `response`";
            return Err(reason.to_owned().into());
        }
        self.note_unused(conversation, &plain, notes)
            .map_err(refused)?;
        Ok(self.split(&segments, conversation, notes))
    }

    /// Counts the keys that make no difference to what is rendered.
    fn note_unused(
        &self,
        conversation: &Conversation,
        plain: &str,
        notes: &mut RecordNotes,
    ) -> Result<(), Error> {
        let Conversation { messages, tools } = conversation;
        let without = |left_out: &dyn Fn(&str) -> bool| -> Result<bool, Error> {
            let kept = messages.iter().map(|message| message.without(left_out));
            let kept: Vec<minijinja::Value> = kept.collect();
            // A template that needs a key refuses to do without.
            Ok(self
                .render(&kept, tools.as_ref())
                .is_ok_and(|text| text == plain))
        };
        let mut keys: Vec<&String> = messages
            .iter()
            .flat_map(|message| message.further_keys())
            .collect();
        let all = !keys.is_empty() && without(&|_| true)?;
        let every = keys.clone();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            if all || without(&|other| other == key)? {
                for _ in every.iter().filter(|other| **other == key) {
                    count(&mut notes.unused_message_keys, key);
                }
            }
        }
        if tools.is_some() {
            let unmarked = messages.iter().map(Message::for_template);
            let unmarked: Vec<minijinja::Value> = unmarked.collect();
            if self.render(&unmarked, None).is_ok_and(|text| text == plain) {
                count(&mut notes.unused_keys, TOOLS);
            }
        }
        Ok(())
    }

    /// The reason why the template did not render a conversation.
    fn refusal(&self, error: &Error) -> String {
        let mut reason = match error.kind() {
            ErrorKind::OutOfFuel if error.detail().is_none() => {
                format!("it takes more than {FUEL} steps, or too much memory")
            }
            _ => error
                .detail()
                .map_or_else(|| error.to_string(), str::to_owned),
        };
        if reason.contains("strftime_now") {
            reason.push_str(
                " (today's date; a data set must not depend on it: write a date into the template)",
            );
        }
        format!(
            "is refused by the chat template in `{}`: {reason}",
            self.file.display()
        )
    }

    fn split(
        &self,
        segments: &[Segment],
        conversation: &Conversation,
        notes: &mut RecordNotes,
    ) -> Vec<Part> {
        let messages = &conversation.messages;
        // A message that is not to be learned takes its whole `{% generation %}` along.
        let unscored_blocks: Vec<usize> = segments
            .iter()
            .filter_map(|segment| {
                let message = &messages.get(segment.message?)?;
                (message.is_answer && !message.is_scored).then_some(segment.block?)
            })
            .collect();
        let in_block = |segment: &Segment| {
            segment
                .block
                .is_some_and(|block| !unscored_blocks.contains(&block))
        };
        let mut parts: Vec<Part> = Vec::new();
        // Whether the assistant has just spoken, and is scored.
        let mut after_answer = None;
        for segment in segments.iter().filter(|segment| !segment.text.is_empty()) {
            if let Some(message) = segment.message.and_then(|number| messages.get(number)) {
                let scored = if self.marks_generation {
                    in_block(segment)
                } else {
                    message.is_scored
                };
                parts.push(Part::text(segment.text, scored));
                after_answer = message.is_answer.then_some(scored);
                continue;
            }
            // The end of the assistant's turn is the assistant's to say.
            let end = after_answer.map_or(0, |_| self.turn_end(segment.text));
            let (turn_end, frame) = segment.text.split_at(end);
            let scored = match self.marks_generation {
                true => [in_block(segment); 2],
                false => [after_answer == Some(true), false],
            };
            if end > 0 && after_answer == Some(true) && !scored[0] {
                notes.unlearned_ends += 1;
            }
            parts.extend(Part::template(turn_end, scored[0]));
            parts.extend(Part::template(frame, scored[1]));
            if end > 0 || !frame.trim().is_empty() {
                after_answer = None;
            }
        }
        parts
    }

    /// How much of what a template writes after an answer is the end of the turn: up to its first added token, where
    /// only white space comes before.
    fn turn_end(&self, template: &str) -> usize {
        let blank = template.len() - template.trim_start().len();
        let token = self
            .added
            .iter()
            .filter(|token| template[blank..].starts_with(token.as_str()));
        token.map(|token| blank + token.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
