//! Prompts for the model: a conversation so far, and the beginning of the assistant's next message.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::format::{Item, StrftimeItems};
use minijinja::{Error, ErrorKind, Value, context};
use polymath_tokenizer::EndTokens;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::environment::on_deep_stack;
use super::template::Template;
use super::{ChatTemplate, DEFAULT, DataError, PLAIN_CHAT_TEMPLATE};

/// A message of a conversation, with its role and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Role: `system`, `user` or `assistant`, or another one that the template knows.
    pub role: String,
    /// Text of the message.
    pub content: String,
}

impl ChatMessage {
    /// Creates a message from a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// Chat template that renders prompts, as `apply_chat_template` of `transformers` does with
/// `add_generation_prompt=True`.
pub struct PromptTemplate {
    template: Arc<Template>,
}

impl PromptTemplate {
    /// Opens the template of the tokenizer at `path`; `None` if it has none. `ends` are the tokens that begin
    /// and end a document.
    ///
    /// # Errors
    /// Fails if the template is not valid or a file can't be read.
    pub fn open(
        path: &Path,
        tokenizer: &Tokenizer,
        ends: EndTokens,
    ) -> Result<Option<Self>, DataError> {
        let opened = ChatTemplate::of(path, tokenizer, ends)?;
        Ok(opened.map(|opened| {
            let mut template = opened.template;
            let environment = &mut Arc::make_mut(&mut template).environment;
            environment.add_function("strftime_now", strftime_now);
            Self { template }
        }))
    }

    /// Takes the template of a dataset's conversations. It can't use today's date, since a dataset must not depend on
    /// the day of its preparation.
    pub(crate) fn undated(template: &ChatTemplate) -> Self {
        Self {
            template: Arc::clone(&template.template),
        }
    }

    /// Compiles [`PLAIN_CHAT_TEMPLATE`], the form of conversations without a chat template.
    ///
    /// # Errors
    /// Fails if the system starts no thread to compile it on.
    pub(crate) fn plain() -> Result<Self, DataError> {
        let file = Path::new("the template of conversations without a chat template");
        let sources = vec![(DEFAULT, PLAIN_CHAT_TEMPLATE.to_owned())];
        let compiled = ChatTemplate::new(file, sources, BTreeMap::new(), Vec::new());
        let template = compiled.map_err(|error| DataError::content(file, format!("{error:#}")))?;
        Ok(Self::undated(&template))
    }

    /// Returns the path of the chat template's file.
    pub fn file(&self) -> PathBuf {
        self.template.file.clone()
    }

    /// Renders the messages and the beginning of the assistant's answer. If no token ends an answer, this includes the
    /// spaces that the template puts before the text of an answer.
    ///
    /// # Errors
    /// Fails if the template refuses the messages; the error gives the reason.
    pub fn prompt(&self, messages: &[ChatMessage]) -> Result<String, String> {
        let prompt = self.render(messages, true)?;
        Ok(prompt + &self.spaces_before_answer().unwrap_or_default())
    }

    /// Finds the spaces that the template writes between the end of a prompt and the text of an answer; `None` if it
    /// writes anything else there, or if a token ends an answer.
    fn spaces_before_answer(&self) -> Option<String> {
        const ANSWER: &str = "polymath";
        self.turn_separator()?;
        let mut messages = vec![ChatMessage::new("user", "a")];
        let prompt = self.render(&messages, true).ok()?;
        messages.push(ChatMessage::new("assistant", ANSWER));
        let answered = self.render(&messages, false).ok()?;
        let (spaces, _) = answered.strip_prefix(&prompt)?.split_once(ANSWER)?;
        let is_blank = spaces.chars().all(|letter| letter == ' ');
        is_blank.then(|| spaces.to_owned())
    }

    /// Finds the added token with which the template ends a message of the assistant; `None` if it uses none.
    pub fn turn_end(&self) -> Option<String> {
        const ANSWER: &str = "polymath";
        let messages = [
            ChatMessage::new("user", "a"),
            ChatMessage::new("assistant", ANSWER),
        ];
        let rendered = self.render(&messages, false).ok()?;
        let (_, after) = rendered.rsplit_once(ANSWER)?;
        let end = after[..self.template.turn_end(after)].trim();
        (!end.is_empty()).then(|| end.to_owned())
    }

    /// Finds the text that the template puts between an answer and the next message of the user, at which an answer
    /// ends if no token ends it; `None` if the template has such a token or no such text.
    pub fn turn_separator(&self) -> Option<String> {
        const ANSWER: &str = "polymath";
        const NEXT: &str = "transformer";
        let messages = [
            ChatMessage::new("user", "a"),
            ChatMessage::new("assistant", ANSWER),
            ChatMessage::new("user", NEXT),
        ];
        let rendered = self.render(&messages, false).ok()?;
        let (_, after) = rendered.rsplit_once(ANSWER)?;
        let (between, _) = after.split_once(NEXT)?;
        let has_token = self
            .template
            .added
            .iter()
            .any(|token| between.contains(token.as_str()));
        (!has_token && !between.trim().is_empty()).then(|| between.to_owned())
    }

    fn render(&self, messages: &[ChatMessage], asks: bool) -> Result<String, String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => &message.role, content => &message.content })
            .collect();
        let template = Arc::clone(&self.template);
        let rendered = on_deep_stack(move || template.render_with(&messages, None, asks));
        let text = rendered
            .and_then(|text| text)
            .map_err(|error| format!("the conversation {}", self.template.refusal(&error)))?;
        Ok(super::segments::segments_text(&text))
    }
}

/// Formats the current local time as Python's `datetime.now().strftime` does.
fn strftime_now(format: &str) -> Result<String, Error> {
    let items: Vec<Item> = StrftimeItems::new(format).collect();
    if items.iter().any(|item| matches!(item, Item::Error)) {
        let message = format!("strftime_now: `{format}` has an unknown directive");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(chrono::Local::now()
        .format_with_items(items.iter())
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> PromptTemplate {
        let added = vec!["<|im_end|>".to_owned()];
        let sources = vec![(DEFAULT, source.to_owned())];
        let opened = ChatTemplate::new("t.jinja".as_ref(), sources, BTreeMap::new(), added);
        let mut template = Arc::into_inner(opened.unwrap().template).unwrap();
        template
            .environment
            .add_function("strftime_now", strftime_now);
        PromptTemplate {
            template: Arc::new(template),
        }
    }

    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    /// Checks that a prompt ends where the assistant's answer begins, and that the prompt of a longer conversation
    /// begins with that of a shorter one.
    #[test]
    fn prompts_end_where_the_assistant_begins() {
        let template = template(CHATML);
        let mut messages = vec![ChatMessage::new("user", "Hello")];
        let first = template.prompt(&messages).unwrap();
        assert_eq!(
            first,
            "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        );
        messages.push(ChatMessage::new("assistant", "Hi"));
        messages.push(ChatMessage::new("user", "Bye"));
        let second = template.prompt(&messages).unwrap();
        assert!(second.starts_with(&(first + "Hi<|im_end|>\n")), "{second}");
        assert_eq!(template.turn_end().unwrap(), "<|im_end|>");
    }

    /// Checks that an answer ends at the next message of the user, where no token ends it.
    #[test]
    fn text_between_turns_ends_an_answer() {
        let plain = PromptTemplate::plain().unwrap();
        assert_eq!(plain.turn_end(), None);
        assert_eq!(plain.turn_separator().unwrap(), "\nuser: ");
        let hello = [ChatMessage::new("user", "Hello")];
        let asked = plain.prompt(&hello).unwrap();
        assert_eq!(asked, "user: Hello\nassistant: ");
        // Other programs take the prompt as the template writes it. A space at its end would be a token of its own,
        // which training text does not have before a word.
        assert_eq!(
            plain.render(&hello, true).unwrap(),
            "user: Hello\nassistant:"
        );
        assert_eq!(template(CHATML).turn_separator(), None);
        let only_content = template("{% for m in messages %}{{ m.content }}{% endfor %}");
        assert_eq!(only_content.turn_separator(), None);
    }

    /// Checks that the error gives the template's reason, and that a template can use the date.
    #[test]
    fn refusals_and_dates() {
        let refusing = template("{{ raise_exception('no system role') }}");
        let error = refusing.prompt(&[]).unwrap_err();
        assert!(
            error.contains("no system role") && error.contains("t.jinja"),
            "{error}"
        );
        let dated = template("{{ strftime_now('%Y') }}").prompt(&[]).unwrap();
        assert!(dated.len() == 4 && dated.starts_with('2'), "{dated}");
        let wrong = template("{{ strftime_now('%!') }}").prompt(&[]);
        assert!(wrong.unwrap_err().contains("unknown directive"));
        assert_eq!(template("{{ messages[0].content }}").turn_end(), None);
    }
}
