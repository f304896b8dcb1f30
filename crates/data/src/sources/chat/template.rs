//! A chat template, rendered on a thread of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};

use super::conversation::Conversation;
use super::environment::FUEL;
use super::message::Message;
use super::segments::{MOST_MESSAGES, Segment, mark, segments, segments_text};
use crate::RecordNotes;
use crate::sources::document::Part;
use crate::sources::fields::TOOLS;
use crate::sources::notes::count;

/// Names of the templates that a tokenizer may have: the second is for conversations with tools.
pub(super) const DEFAULT: &str = "default";
pub(super) const TOOL_USE: &str = "tool_use";

/// The template itself, which is rendered on a thread of its own.
#[derive(Clone)]
pub(super) struct Template {
    pub(super) environment: Environment<'static>,
    pub(super) file: PathBuf,
    /// `bos_token` and the others that a template may write, by key.
    pub(super) names: BTreeMap<String, String>,
    /// The added tokens: one of them ends a turn.
    pub(super) added: Vec<String>,
    /// True if `{% generation %}` marks the scored text.
    pub(super) marks_generation: bool,
}

/// The reason why a conversation has no parts.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// True if the template took too many steps.
    pub(super) is_spent: bool,
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
    pub(super) fn render(
        &self,
        messages: &[minijinja::Value],
        tools: Option<&minijinja::Value>,
    ) -> Result<String, Error> {
        self.render_with(messages, tools, false)
    }

    /// Renders messages, and after them, if `asks` is true, the beginning of the assistant's next one.
    pub(super) fn render_with(
        &self,
        messages: &[minijinja::Value],
        tools: Option<&minijinja::Value>,
        asks: bool,
    ) -> Result<String, Error> {
        let name = match tools {
            Some(_) if self.environment.get_template(TOOL_USE).is_ok() => TOOL_USE,
            _ => DEFAULT,
        };
        self.environment.get_template(name)?.render(context! {
            messages => messages.to_vec(),
            add_generation_prompt => asks,
            // As `transformers` gives them: a template may ask whether they are `none`.
            tools => tools.cloned().unwrap_or(minijinja::Value::from(())),
            documents => (),
            ..minijinja::Value::from(Serde(&self.names))
        })
    }

    pub(super) fn parts(
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
    pub(super) fn refusal(&self, error: &Error) -> String {
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
                " (today's date; a dataset must not depend on it: write a date into the template)",
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
        if !self.marks_generation {
            let calls = |message: &&Message| message.is_scored && message.calls_tools();
            notes.unscored_calls += messages.iter().filter(calls).count() as u64;
        }
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
        // Set after a message of the assistant: true if that is scored.
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

    /// Returns the length of the end of a turn in the template's text after an answer: up to its first added token,
    /// where only white space comes before.
    pub(super) fn turn_end(&self, template: &str) -> usize {
        let blank = template.len() - template.trim_start().len();
        let token = self
            .added
            .iter()
            .filter(|token| template[blank..].starts_with(token.as_str()));
        token.map(|token| blank + token.len()).max().unwrap_or(0)
    }
}
