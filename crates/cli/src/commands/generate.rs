//! `polymath generate`: answers a prompt and streams the answer to stdout.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::anyhow;
use polymath_chat::{Answer, ChatMessage, ChatModel, Engine, Prompt, Request};
use polymath_input::BYTE_ORDER_MARK;

use super::answers;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results::Results;

/// Prints the answer to the prompt, or its continuation.
pub fn run(arguments: &arguments::Generate, environment: &Environment) -> Result<(), Failure> {
    let prompt = prompt(arguments)?;
    let model = answers::open(
        &arguments.checkpoint,
        arguments.base.as_deref(),
        environment,
    )?;
    let request = Request {
        sampling: answers::sampling(&model, &arguments.sampling)?,
        max_tokens: Some(arguments.max_tokens),
        stop: arguments.stop.clone(),
    };
    let text = prompt.as_deref().unwrap_or_default();
    let answer = match messages(arguments, prompt.as_deref(), &model)? {
        Some(messages) => write(
            arguments,
            &model,
            Prompt::Messages(&messages),
            text,
            &request,
        )?,
        None => write(arguments, &model, Prompt::Text(text), text, &request)?,
    };
    if let Some(remark) = answers::remark(&model, &answer) {
        environment.say(&remark);
    }
    environment.say(&answers::speed(&answer));
    Ok(())
}

/// Reads the prompt. Returns `None` if there is none.
fn prompt(arguments: &arguments::Generate) -> Result<Option<String>, Failure> {
    let text = match (&arguments.prompt, &arguments.prompt_file) {
        (Some(dash), _) if dash == "-" => standard_input()?,
        (Some(text), _) => return Ok(Some(text.clone())),
        (None, Some(file)) if file == Path::new("-") => standard_input()?,
        (None, Some(file)) if is_pipe(file) => piped(file)?,
        (None, Some(file)) => polymath_input::read_text(file).map_err(Failure::usage)?,
        (None, None) => return Ok(None),
    };
    // Files lose their byte order mark when they are read; standard input may be a file of Windows as well.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    // The newline at the end of the last line belongs to the file, not to the prompt.
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// Returns true for a pipe, such as the shell's `<(command)`. Only a file that the user names may be one: a pipe among
/// other files would wait for a writer.
fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn piped(pipe: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::fs::File::open(pipe).and_then(|mut file| file.read_to_string(&mut text));
    read.map(|_| text)
        .map_err(|error| Failure::usage(anyhow!("can't read `{}`: {error}", pipe.display())))
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::usage(anyhow!("can't read standard input: {error}")))?;
    Ok(text)
}

/// Returns the messages for the chat template, or `None` to continue the prompt as it is.
fn messages(
    arguments: &arguments::Generate,
    prompt: Option<&str>,
    model: &ChatModel,
) -> Result<Option<Vec<ChatMessage>>, Failure> {
    if let (Some(_), false) = (&arguments.system, model.has_template()) {
        return Err(Failure::usage(anyhow!(
            "`--system`: `{}` has no chat template, which would say where a system message goes: write it into the prompt",
            model.name()
        )));
    }
    let Some(prompt) = prompt.filter(|_| model.has_template() && !arguments.raw) else {
        return Ok(None);
    };
    let system = arguments.system.iter();
    let mut messages: Vec<ChatMessage> = system
        .map(|text| ChatMessage::new("system", text))
        .collect();
    messages.push(ChatMessage::new("user", prompt));
    Ok(Some(messages))
}

fn write(
    arguments: &arguments::Generate,
    model: &ChatModel,
    prompt: Prompt,
    text: &str,
    request: &Request,
) -> Result<Answer, Failure> {
    let mut output = Results::open();
    if arguments.echo {
        let shown = match prompt {
            // The answer begins with the prompt's trailing spaces.
            Prompt::Text(_) => text.trim_end_matches(' '),
            Prompt::Messages(_) => text,
        };
        output.write(shown)?;
        output.write(if matches!(prompt, Prompt::Messages(_)) {
            "\n"
        } else {
            ""
        })?;
    }
    let mut lost = None;
    let mut sink = |piece: &str| match output.write(piece).and_then(|()| output.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            lost = Some(failure);
            ControlFlow::Break(())
        }
    };
    let answer = Engine::new(model)
        .answer(prompt, request, &mut sink)
        .map_err(answers::failure)?;
    if let Some(failure) = lost {
        return Err(failure);
    }
    output.write("\n")?;
    output.flush()?;
    Ok(answer)
}
