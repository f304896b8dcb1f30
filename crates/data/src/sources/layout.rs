//! Layouts of records: the fields with the text, with the prompt and its response, or with the messages.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::sources::fields::{CONVERSATIONS, MESSAGES, PAIRS, SYSTEM, TOOLS};

/// Names of a record's fields by their meaning, as in `fields = { prompt = "question", response = "answer" }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldNames {
    /// Text, all of which is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Prompt, which is read and not learned; requires `response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Response to `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Instruction, which is read and not learned; requires `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Further input to the instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Answer to `instruction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// List of messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// Role in a message; default: `role`, else `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Text in a message; default: `content`, else `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Tools of a conversation; default: `tools`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// System prompt, which comes before a prompt, an instruction or messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// Fields that make the document of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout<'a> {
    /// Records with a text.
    Text(&'a str),
    /// Records with a prompt and its response.
    Pair {
        system: Option<&'a str>,
        prompt: &'a str,
        response: &'a str,
    },
    /// Records with an instruction, its input and the answer.
    Instruction {
        system: Option<&'a str>,
        instruction: &'a str,
        input: Option<&'a str>,
        output: &'a str,
    },
    /// Records with a conversation.
    Messages(MessageFields<'a>),
}

/// Names of the record fields of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageFields<'a> {
    /// Name of the field with the list of messages.
    pub(crate) list: &'a str,
    /// Name of the field with a system prompt.
    pub(crate) system: Option<&'a str>,
    /// Name of the field with the tools.
    pub(crate) tools: &'a str,
    /// Names of the fields with a message's role and text, as far as the config sets them.
    pub(crate) role: Option<&'a str>,
    pub(crate) content: Option<&'a str>,
}

impl MessageFields<'static> {
    /// Fields of OpenAI's format: `messages` and `tools`.
    pub(crate) const USUAL: Self = Self {
        list: MESSAGES,
        system: None,
        tools: TOOLS,
        role: None,
        content: None,
    };

    /// ShareGPT's field `conversations`, with an optional system prompt next to it.
    const SHARE_GPT: Self = Self {
        list: CONVERSATIONS,
        system: Some(SYSTEM),
        ..Self::USUAL
    };
}

/// Predicates that tell which fields a record has, given a field's name.
pub(crate) struct FieldPredicates<'f> {
    /// Returns true if the field is a text.
    pub(crate) text: &'f dyn Fn(&str) -> bool,
    /// Returns true if the field is a list of messages.
    pub(crate) messages: &'f dyn Fn(&str) -> bool,
}

impl<'a> Layout<'a> {
    /// Returns the layout of records with these fields, by the usual field names; `None` if there is none.
    pub(crate) fn usual(has: &FieldPredicates) -> Option<Self> {
        let all = |names: &[&str]| names.iter().all(|name| (has.text)(name));
        if all(&["text"]) {
            return Some(Self::Text("text"));
        }
        if let Some((prompt, response)) = PAIRS.iter().find(|pair| all(&[pair.0, pair.1])) {
            let system = None;
            return Some(Self::Pair {
                system,
                prompt,
                response,
            });
        }
        if all(&["instruction", "output"]) {
            return Some(Self::Instruction {
                system: None,
                instruction: "instruction",
                input: all(&["input"]).then_some("input"),
                output: "output",
            });
        }
        let conversations = [MessageFields::USUAL, MessageFields::SHARE_GPT];
        let mut conversations = conversations.into_iter();
        let found = conversations.find(|fields| (has.messages)(fields.list))?;
        Some(Self::Messages(MessageFields {
            system: found.system.filter(|name| (has.text)(name)),
            ..found
        }))
    }

    /// Returns the names of the text fields in order; empty for messages.
    pub(crate) fn texts(&self) -> Vec<&'a str> {
        match *self {
            Self::Text(text) => vec![text],
            Self::Pair {
                system,
                prompt,
                response,
            } => system.into_iter().chain([prompt, response]).collect(),
            Self::Instruction {
                system,
                instruction,
                input,
                output,
            } => {
                let names = system.into_iter().chain([instruction]);
                names.chain(input).chain([output]).collect()
            }
            Self::Messages(_) => Vec::new(),
        }
    }

    /// Returns the names of the fields that every record of this layout must have.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        match *self {
            Self::Messages(fields) => [fields.list].into_iter().chain(fields.system).collect(),
            _ => self.texts(),
        }
    }
}

impl FieldNames {
    /// Returns the layout that the config defines, for records with these fields; `None` if a required field is
    /// missing.
    pub(crate) fn layout(&self, has: &FieldPredicates) -> Option<Layout<'_>> {
        let text = |name: &Option<String>| name.as_deref().is_some_and(|name| (has.text)(name));
        // These fields are optional.
        let system = self.system.as_deref().filter(|name| (has.text)(name));
        let input = self.input.as_deref().filter(|name| (has.text)(name));
        if let Some(name) = &self.text {
            return text(&self.text).then_some(Layout::Text(name));
        }
        if let (Some(prompt), Some(response)) = (&self.prompt, &self.response) {
            let found = text(&self.prompt) && text(&self.response);
            return found.then_some(Layout::Pair {
                system,
                prompt,
                response,
            });
        }
        if let (Some(instruction), Some(output)) = (&self.instruction, &self.output) {
            let found = text(&self.instruction) && text(&self.output);
            return found.then_some(Layout::Instruction {
                system,
                instruction,
                input,
                output,
            });
        }
        let list = self
            .messages
            .as_deref()
            .filter(|name| (has.messages)(name))?;
        Some(Layout::Messages(MessageFields {
            list,
            system,
            tools: self.tools.as_deref().unwrap_or(TOOLS),
            role: self.role.as_deref(),
            content: self.content.as_deref(),
        }))
    }

    /// Returns the field names in the config, each with its meaning.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = [
            ("text", &self.text),
            ("prompt", &self.prompt),
            ("response", &self.response),
            ("instruction", &self.instruction),
            ("input", &self.input),
            ("output", &self.output),
            ("messages", &self.messages),
            ("role", &self.role),
            ("content", &self.content),
            ("tools", &self.tools),
            ("system", &self.system),
        ];
        let given = names.into_iter();
        given.filter_map(|(meaning, name)| Some((meaning, name.as_deref()?)))
    }

    /// Checks that the names define exactly one layout. `key` is the configuration key of this table.
    ///
    /// # Errors
    /// Fails if a required name is missing or empty, or if names of different layouts are mixed.
    pub fn validate(&self, key: &str) -> Result<(), DataError> {
        let wrong = |message: String| Err(DataError::config(key, message));
        let given: Vec<&str> = self.named().map(|(meaning, _)| meaning).collect();
        if let Some((meaning, _)) = self.named().find(|(_, name)| name.is_empty()) {
            return wrong(format!(
                "`{meaning}` is empty: name a field, or leave it out"
            ));
        }
        // Required names, and optional names, of each layout.
        const LAYOUTS: [(&[&str], &[&str]); 4] = [
            (&["text"], &[]),
            (&["prompt", "response"], &["system"]),
            (&["instruction", "output"], &["input", "system"]),
            (&["messages"], &["role", "content", "tools", "system"]),
        ];
        let fits = |(needed, further): &(&[&str], &[&str])| {
            let known = |name: &&str| needed.contains(name) || further.contains(name);
            needed.iter().all(|name| given.contains(name)) && given.iter().all(known)
        };
        match LAYOUTS.iter().any(fits) {
            true => Ok(()),
            false => wrong(format!(
                "names {}: expected `text`; or `prompt` and `response`; or `instruction` and `output` (and `input`); or \
                 `messages` (and `role`, `content`, `tools`); each but `text` also with `system`",
                match given.is_empty() {
                    true => "no field".to_owned(),
                    false => format!("`{}`", given.join("`, `")),
                }
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a table of names must define exactly one layout.
    #[test]
    fn names_make_one_layout() {
        let check = |json: &str| {
            let names: FieldNames = serde_json::from_str(json).unwrap();
            names
                .validate("domains.law.fields")
                .map_err(|error| error.to_string())
        };
        for fine in [
            r#"{"text": "body"}"#,
            r#"{"prompt": "q", "response": "a", "system": "s"}"#,
            r#"{"instruction": "i", "output": "o", "input": "x"}"#,
            r#"{"messages": "dialog", "role": "speaker", "content": "said"}"#,
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (wrong, said) in [
            (
                r#"{"prompt": "q"}"#,
                "`domains.law.fields`: names `prompt`: expected",
            ),
            (
                r#"{"text": "t", "messages": "m"}"#,
                "names `text`, `messages`",
            ),
            (r#"{"text": "t", "system": "s"}"#, "names `text`, `system`"),
            (r#"{}"#, "names no field"),
            (r#"{"text": ""}"#, "`text` is empty"),
        ] {
            let error = check(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
