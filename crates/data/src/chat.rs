//! Conversations as a tokenizer's own chat template renders them: what `apply_chat_template` of `transformers` gives, and
//! beside it which stretches of the text are whose.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::DataError;
use crate::source::Part;

/// Stand around each message's content while it is rendered. They are no characters (Unicode keeps them for a program's
/// own use), so no template looks for them, and no white space, so that a template's trimming stops at them.
const BEGIN: char = '\u{fdd0}';
const END: char = '\u{fdd1}';
/// After [`BEGIN`], the message's number as a character for private use.
const FIRST_NUMBER: u32 = 0xf_0000;
const MOST_MESSAGES: usize = 0xfffd;

/// A tokenizer's chat template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    /// The special tokens: one of them ends a turn.
    special: Vec<String>,
}

/// The text of a tokenizer's chat template; `None` where it has none.
///
/// # Errors
/// A file that can't be read; several templates, none of which is named `default`.
pub fn chat_template(tokenizer: &Path) -> Result<Option<String>, DataError> {
    let Some(file) = template_file(tokenizer) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&file).map_err(DataError::file("read", &file))?;
    if file.extension().is_none_or(|kind| kind != "json") {
        return Ok(Some(text));
    }
    default_template(&text).map(Some).ok_or_else(|| {
        DataError::content(
            &file,
            "`chat_template` is neither a text nor a list with one named `default`",
        )
    })
}

/// Where a tokenizer's chat template stands: `chat_template.jinja`, else `tokenizer_config.json`, beside it; `None` where
/// neither has one.
pub(crate) fn template_file(tokenizer: &Path) -> Option<PathBuf> {
    let own = tokenizer.with_file_name("chat_template.jinja");
    if own.is_file() {
        return Some(own);
    }
    let config = tokenizer.with_file_name("tokenizer_config.json");
    let fields: Value = serde_json::from_slice(&std::fs::read(&config).ok()?).ok()?;
    fields.get("chat_template").map(|_| config)
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
        let (Some(file), Some(source)) = (template_file(path), chat_template(path)?) else {
            return Ok(None);
        };
        let name = |id| tokenizer.id_to_token(id).unwrap_or_default();
        let special = tokenizer
            .get_added_tokens_decoder()
            .into_values()
            .filter(|token| token.special)
            .map(|token| token.content);
        let template =
            Self::new(&source, (name(bos), name(eos)), special.collect()).map_err(|error| {
                DataError::content(&file, format!("the chat template is broken: {error:#}"))
            })?;
        Ok(Some(template))
    }

    fn new(
        source: &str,
        (bos_token, eos_token): (String, String),
        special: Vec<String>,
    ) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As `transformers` sets up Jinja.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(syntax);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_filter("tojson", to_json);
        environment.add_test("iterable", is_iterable);
        environment.add_template_owned("chat", without_generation(source))?;
        Ok(Self {
            environment,
            bos_token,
            eos_token,
            special,
        })
    }

    /// The text that `apply_chat_template` gives for these messages.
    fn render(&self, messages: &[Value]) -> Result<String, Error> {
        self.environment.get_template("chat")?.render(context! {
            messages => minijinja::Value::from(Serde(messages)),
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            add_generation_prompt => false,
            // As `transformers` gives them: a template may ask whether they are `none`.
            tools => (),
            documents => (),
        })
    }

    /// A conversation in parts: what the template adds, and what each message says. What an assistant says is scored,
    /// with the special token that ends its turn. The token that begins a document is left out, since every document is
    /// read after it.
    ///
    /// # Errors
    /// Messages without text, ones that the template refuses, or one whose text it changes.
    pub(crate) fn parts(&self, messages: &[Value]) -> Result<Vec<Part>, String> {
        if messages.len() > MOST_MESSAGES {
            return Err(format!(
                "has {} messages: expected at most {MOST_MESSAGES}",
                messages.len()
            ));
        }
        let marked = messages
            .iter()
            .enumerate()
            .map(|(number, message)| mark(number, message))
            .collect::<Result<Vec<Value>, String>>()?;
        let refused = |error: Error| {
            let mut reason = error
                .detail()
                .map_or_else(|| error.to_string(), str::to_owned);
            if reason.contains("strftime_now") {
                reason.push_str(
                    " (today's date; a data set must not depend on it: write a date into the template)",
                );
            }
            format!("is refused by the chat template: {reason}")
        };
        let plain = self.render(messages).map_err(refused)?;
        let rendered = self.render(&marked).map_err(refused)?;
        let parts = self.split(&rendered, messages);
        let again: String = parts.iter().map(|part| part.text.as_str()).collect();
        if again != plain {
            return Err(
                "has a message whose text the chat template changes or looks into (as with thoughts or the calls of a \
                 tool), so that what the assistant says can't be told apart: render it to `prompt` and `response`"
                    .into(),
            );
        }
        Ok(self.without_ends(parts))
    }

    fn split(&self, rendered: &str, messages: &[Value]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut after_assistant = false;
        let mut rest = rendered;
        while !rest.is_empty() {
            let (template, content) = rest.split_once(BEGIN).unwrap_or((rest, ""));
            // The end of the assistant's turn is the assistant's to say.
            let end = if after_assistant {
                self.turn_end(template)
            } else {
                0
            };
            let (turn_end, frame) = template.split_at(end);
            parts.extend(Part::template(turn_end, true));
            parts.extend(Part::template(frame, false));
            let mut letters = content.chars();
            let number = letters
                .next()
                .map_or(0, |letter| u32::from(letter).wrapping_sub(FIRST_NUMBER));
            let (said, after) = letters.as_str().split_once(END).unwrap_or_default();
            after_assistant = messages.get(number as usize).is_some_and(|message| {
                message.get("role").and_then(Value::as_str) == Some("assistant")
            });
            if !said.is_empty() {
                parts.push(Part::text(said, after_assistant));
            }
            rest = after;
        }
        parts
    }

    /// How much of what a template writes after an answer is the end of the turn: up to its first special token, where
    /// only white space comes before.
    fn turn_end(&self, template: &str) -> usize {
        let blank = template.len() - template.trim_start().len();
        let token = self
            .special
            .iter()
            .filter(|token| template[blank..].starts_with(token.as_str()));
        token.map(|token| blank + token.len()).max().unwrap_or(0)
    }

    /// Without the begin token, which every document is read after; and without white space after the last turn.
    fn without_ends(&self, mut parts: Vec<Part>) -> Vec<Part> {
        if let Some(first) = parts.first_mut()
            && first.from_template
            && let Some(rest) = first.text.strip_prefix(&self.bos_token)
        {
            first.text = rest.to_owned();
        }
        if let Some(last) = parts.last_mut()
            && last.from_template
        {
            last.text.truncate(last.text.trim_end().len());
        }
        parts.retain(|part| !part.text.is_empty());
        parts
    }
}

/// The template of `tokenizer_config.json`: a text, or the one of several that is named `default`.
fn default_template(json: &str) -> Option<String> {
    let fields: Value = serde_json::from_str(json).ok()?;
    match fields.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(templates) => templates
            .iter()
            .find(|template| template.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|template| Some(template.get("template")?.as_str()?.to_owned())),
        _ => None,
    }
}

/// A message whose content is marked; white space around it stays outside of the marks, where the template may trim it.
fn mark(number: usize, message: &Value) -> Result<Value, String> {
    let content = message
        .get("content")
        .and_then(Value::as_str)
        .ok_or("has a message whose `content` is no text")?;
    if message.get("role").and_then(Value::as_str).is_none() {
        return Err("has a message without `role`".into());
    }
    if content.contains([BEGIN, END]) {
        return Err(
            "has a message with U+FDD0 or U+FDD1, which are no characters: remove them".into(),
        );
    }
    let mut marked = message.clone();
    let core = content.trim();
    if !core.is_empty() {
        let at = content.len() - content.trim_start().len();
        let number = char::from_u32(FIRST_NUMBER + number as u32).unwrap_or(BEGIN);
        marked["content"] = format!(
            "{}{BEGIN}{number}{core}{END}{}",
            &content[..at],
            &content[at + core.len()..]
        )
        .into();
    }
    Ok(marked)
}

/// `{% generation %}` marks what the assistant says for `transformers`, and prints nothing: here it becomes a condition
/// that always holds.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        match tag.trim_matches(['{', '}', '%', '-', '+']).trim() {
            "generation" => text.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", "endif")),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text + rest
}

/// As in Python, where `none` is not, though templates here may go through it.
fn is_iterable(value: &minijinja::Value) -> bool {
    !value.is_none() && minijinja::tests::is_iterable(value)
}

/// As Python's `json.dumps(value, ensure_ascii=False)`: a space after `,` and `:`.
fn to_json(value: minijinja::Value, options: minijinja::value::Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let failed =
        |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut bytes = Vec::new();
    match indent {
        Some(spaces) => {
            let indent = " ".repeat(spaces);
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value
                .serialize(&mut serde_json::Serializer::with_formatter(
                    &mut bytes, pretty,
                ))
                .map_err(failed)?;
        }
        None => value
            .serialize(&mut serde_json::Serializer::with_formatter(
                &mut bytes,
                PythonFormatter,
            ))
            .map_err(failed)?,
    }
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% generation %}\
                         {{ m['content'] | trim }}{% endgeneration %}{{ '<|im_end|>' + '\\n' }}{% endfor %}";

    fn template(source: &str) -> ChatTemplate {
        let special = ["<|im_start|>", "<|im_end|>", "<s>"].map(String::from);
        ChatTemplate::new(source, ("<s>".into(), "<|im_end|>".into()), special.into()).unwrap()
    }

    fn messages(json: &str) -> Vec<Value> {
        serde_json::from_str(json).unwrap()
    }

    fn talk() -> Vec<Value> {
        messages(
            r#"[{"role": "user", "content": " Hi <|im_end|>"}, {"role": "assistant", "content": "Yes.\n"},
                {"role": "user", "content": "No?"}, {"role": "assistant", "content": "No."}]"#,
        )
    }

    /// What the assistant says is scored, with the token that ends its turn, and nothing else; the parts are the whole
    /// rendering, but for the white space at its end.
    #[test]
    fn only_the_assistant_is_scored() {
        let template = template(TURNS);
        let parts = template.parts(&talk()).unwrap();
        let scored: Vec<(&str, bool)> = parts
            .iter()
            .filter(|part| part.scored)
            .map(|part| (part.text.as_str(), part.from_template))
            .collect();
        assert_eq!(
            scored,
            [
                ("Yes.", false),
                ("<|im_end|>", true),
                ("No.", false),
                ("<|im_end|>", true)
            ]
        );
        let text: String = parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(text, template.render(&talk()).unwrap().trim_end());
        // What a user writes stays text, also where it looks like a special token.
        assert!(
            parts
                .iter()
                .any(|part| part.text == "Hi <|im_end|>" && !part.from_template)
        );
    }

    /// The begin token is read before every document anyway.
    #[test]
    fn the_begin_token_is_left_to_the_document() {
        let template = template(&format!("{{{{ bos_token }}}}{TURNS}"));
        assert!(
            template.parts(&talk()).unwrap()[0]
                .text
                .starts_with("<|im_start|>user")
        );
    }

    /// A template that refuses says why; one that changes a text is not guessed at.
    #[test]
    fn refusals_say_why() {
        let refusing = template("{{ raise_exception('roles must alternate') }}");
        let error = refusing.parts(&talk()).unwrap_err();
        assert!(
            error.contains("refused by the chat template: roles must alternate"),
            "{error}"
        );
        let changing = template("{% for m in messages %}{{ m.content | length }}{% endfor %}");
        let error = changing.parts(&talk()).unwrap_err();
        assert!(error.contains("changes or looks into"), "{error}");
        let empty = messages(r#"[{"role": "user", "content": null}]"#);
        assert!(refusing.parts(&empty).unwrap_err().contains("no text"));
    }

    /// Python's way with JSON, and with strings.
    #[test]
    fn templates_are_written_for_python() {
        let python = template("{{ {'a': [1, 'é']} | tojson }}{{ ' x '.strip() }}");
        assert_eq!(python.render(&[]).unwrap(), r#"{"a": [1, "é"]}x"#);
        let breaks = template("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}");
        assert_eq!(breaks.render(&talk()).unwrap(), "user");
    }
}
