//! A chat template and its rendering, which runs on a thread of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};

use super::conversation::Conversation;
use super::environment::FUEL;
use super::message::{CALLS, Message};
use super::segments::{MOST_MESSAGES, Segment, mark, segments, segments_text};
use crate::RecordNotes;
use crate::sources::document::Part;
use crate::sources::fields::TOOLS;
use crate::sources::notes::count;

/// Names of the templates that a tokenizer may have: the default one, and `tool_use` for conversations with tools.
pub(super) const DEFAULT: &str = "default";
pub(super) const TOOL_USE: &str = "tool_use";

/// A parsed chat template, with the values that it can use.
#[derive(Clone)]
pub(super) struct Template {
    pub(super) environment: Environment<'static>,
    pub(super) file: PathBuf,
    /// Special tokens that a template can write, by key such as `bos_token`.
    pub(super) names: BTreeMap<String, String>,
    /// Added tokens of the tokenizer; one of them ends a turn.
    pub(super) added: Vec<String>,
    /// True if the template marks the scored text with `{% generation %}`.
    pub(super) marks_generation: bool,
}

/// Reason why a conversation was not rendered.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// True if the template exceeded the limit of steps.
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
    /// Renders these messages as `apply_chat_template` does.
    pub(super) fn render(
        &self,
        messages: &[minijinja::Value],
        tools: Option<&minijinja::Value>,
    ) -> Result<String, Error> {
        self.render_with(messages, tools, false)
    }

    /// Renders messages. If `asks` is true, adds the beginning of the assistant's next message.
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
            // `transformers` passes `none` for missing tools, so a template can test for it.
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
                 tool), so that the assistant's text can't be found in the result: render it to `prompt` and `response`";
            return Err(reason.to_owned().into());
        }
        let unused = self
            .note_unused(conversation, &plain, notes)
            .map_err(refused)?;
        let writes_calls = !unused.iter().any(|key| CALLS.contains(&key.as_str()));
        Ok(self.split(&segments, messages, writes_calls, notes))
    }

    /// Counts the keys that have no effect on the rendered text; returns those of messages.
    fn note_unused<'c>(
        &self,
        conversation: &'c Conversation,
        plain: &str,
        notes: &mut RecordNotes,
    ) -> Result<Vec<&'c String>, Error> {
        let Conversation { messages, tools } = conversation;
        let without = |left_out: &dyn Fn(&str) -> bool| -> Result<bool, Error> {
            let kept = messages.iter().map(|message| message.without(left_out));
            let kept: Vec<minijinja::Value> = kept.collect();
            // If rendering fails without a key, the template uses it.
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
        let mut unused = Vec::new();
        for key in keys {
            if all || without(&|other| other == key)? {
                unused.push(key);
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
        Ok(unused)
    }

    /// Returns the reason why the template did not render a conversation.
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

    /// Parts the rendered text by what is scored. `writes_calls` is false if the template leaves out the tool calls of
    /// the messages: a message of calls alone is then an empty answer, which is not scored.
    fn split(
        &self,
        segments: &[Segment],
        messages: &[Message],
        writes_calls: bool,
        notes: &mut RecordNotes,
    ) -> Vec<Part> {
        let calls = |message: &&Message| message.is_scored && message.calls_tools();
        let calls = messages.iter().filter(calls).count() as u64;
        match (writes_calls, self.marks_generation) {
            (false, _) => notes.unwritten_calls += calls,
            (true, false) => notes.unscored_calls += calls,
            (true, true) => {}
        }
        let unscored_blocks = unscored_blocks(segments, messages, writes_calls);
        let in_block = |segment: &Segment| {
            segment
                .block
                .is_some_and(|block| !unscored_blocks.contains(&block))
        };
        let mut parts: Vec<Part> = Vec::new();
        // Some after a message of the assistant: true if that message is scored.
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
            // The token that ends the assistant's turn counts as part of the answer.
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

    /// Returns the number of bytes of the template's text after an answer that belong to the answer: up to the first
    /// added token if only white space comes before it, else 0.
    pub(super) fn turn_end(&self, template: &str) -> usize {
        let blank = template.len() - template.trim_start().len();
        let token = self
            .added
            .iter()
            .filter(|token| template[blank..].starts_with(token.as_str()));
        token.map(|token| blank + token.len()).max().unwrap_or(0)
    }
}

/// Returns the numbers of the `{% generation %}` blocks that are not scored: those of messages that are not to be
/// learned, and of tool calls that the template does not write.
fn unscored_blocks(segments: &[Segment], messages: &[Message], writes_calls: bool) -> Vec<usize> {
    let is_unscored = |message: &Message| {
        let has_text = !message.text("content").trim().is_empty();
        let is_blank = !has_text && message.calls_tools() && !writes_calls;
        message.is_answer && (!message.is_scored || is_blank)
    };
    let mut unscored: Vec<usize> = segments
        .iter()
        .filter_map(|segment| {
            let message = messages.get(segment.message?)?;
            is_unscored(message).then_some(segment.block?)
        })
        .collect();
    // A message without text has no segment. If there is a block for each answer, its block is known by the order.
    let answers: Vec<&Message> = messages
        .iter()
        .filter(|message| message.is_answer)
        .collect();
    let blocks = segments.iter().filter_map(|segment| segment.block).max();
    if blocks.map_or(0, |last| last + 1) == answers.len() {
        let by_order = (0..)
            .zip(answers)
            .filter(|(_, message)| is_unscored(message));
        unscored.extend(by_order.map(|(number, _)| number));
    }
    unscored
}
