//! Jinja environment like that of `transformers`, with limits on a template's steps, memory and time, because
//! templates come from untrusted sources.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python_json::{python_float, to_json};
use super::segments::{GENERATION_BEGIN, GENERATION_END};

/// Maximum bytes of a template. The longest known ones have about 20 kB.
const LONGEST_SOURCE: usize = 1 << 17;
/// Maximum steps of a rendering. Each step can also allocate about 64 bytes.
pub(super) const FUEL: u64 = 4_000_000;
/// Stack size in bytes. Parsers and values recurse once per nesting level, and a source of [`LONGEST_SOURCE`] bytes
/// limits the number of levels.
const STACK: usize = 1 << 29;

/// Maximum time of a rendering. Most renderings reach the limit of steps first, but some operations, such as printing
/// nested lists, take time without steps.
const LONGEST_TIME: Duration = Duration::from_secs(5);

/// Runs `work` on a thread whose stack is large enough for the deepest template. If `work` exceeds the time limit,
/// returns an error and leaves the thread running.
pub(super) fn on_deep_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let failed = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let (sender, result) = channel();
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            // If the time limit was exceeded, the receiver is gone.
            let _ = sender.send(work());
        })
        .map_err(|error| failed(format!("no thread can be started: {error}")))?;
    result
        .recv_timeout(LONGEST_TIME)
        .map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                let seconds = LONGEST_TIME.as_secs();
                Error::new(
                    ErrorKind::OutOfFuel,
                    format!("it takes more than {seconds} seconds"),
                )
            }
            RecvTimeoutError::Disconnected => failed("it makes the template engine panic".into()),
        })
}

/// Creates an environment with `sources` as templates, by name.
pub(super) fn environment(
    sources: &[(&'static str, String)],
) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(call_method);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_filter("tojson", to_json);
    environment.add_filter("polymath_generation", |text: String| {
        format!("{GENERATION_BEGIN}{text}{GENERATION_END}")
    });
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.set_formatter(|out, state, value| {
        let number = (value.kind() == ValueKind::Number && !value.is_integer())
            .then(|| f64::try_from(value.clone()).ok())
            .flatten();
        match number {
            Some(number) => Ok(out.write_str(&python_float(number))?),
            None => escape_formatter(out, state, value),
        }
    });
    for (name, source) in sources {
        if source.len() > LONGEST_SOURCE {
            let message = format!(
                "it has {} bytes: expected at most {LONGEST_SOURCE}",
                source.len()
            );
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        environment.add_template_owned(*name, with_marked_generation(source))?;
    }
    Ok(environment)
}

/// Replaces `{% generation %}`, with which a template marks the text of the assistant, by a filter that puts marks
/// around this text.
fn with_marked_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        match tag.trim_matches(['{', '}', '%', '-', '+']).trim() {
            "generation" => text.push_str(&tag.replace("generation", "filter polymath_generation")),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text + rest
}

/// Calls a method of Python on a value.
fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), method, arguments) {
        (Some(text), "title", []) => Ok(title(text).into()),
        _ => unknown_method_callback(state, value, method, arguments),
    }
}

/// Returns a text in title case as Python's `str.title` does: each run of letters begins with a capital, also after an
/// apostrophe.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for letter in text.chars() {
        match in_word {
            true => titled.extend(letter.to_lowercase()),
            false => titled.extend(letter.to_uppercase()),
        }
        in_word = letter.is_alphabetic();
    }
    titled
}

/// Returns true if a value is a sequence for Jinja in Python, which counts texts and maps as well.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Map | ValueKind::String
    )
}

/// Returns true if a value is iterable as in Python: `none` is not, although templates here may loop over it.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && minijinja::tests::is_iterable(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks expressions whose values are those of Jinja in Python, and differ in the engine alone.
    #[test]
    fn expressions_have_the_values_of_python() {
        for (expression, expected) in [
            ("\"they're o'neill\".title()", "They'Re O'Neill"),
            ("'two WORDS'.title()", "Two Words"),
            ("'a' is sequence", "True"),
            ("{'a': 1} is sequence", "True"),
            ("[1] is sequence and (1, 2) is sequence", "True"),
            ("1 is sequence or none is sequence", "False"),
        ] {
            let source = format!("{{{{ {expression} }}}}");
            let environment = environment(&[("t", source)]).unwrap();
            let rendered = environment.get_template("t").unwrap().render(()).unwrap();
            assert_eq!(rendered, expected, "{expression}");
        }
    }
}
