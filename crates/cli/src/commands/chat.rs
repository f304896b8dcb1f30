//! `polymath chat`: a conversation with one model, or with two side by side.

use std::io::{BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::anyhow;
use polymath_chat::{ChatModel, Request, Session};
use polymath_input::BYTE_ORDER_MARK;

use super::answers;
use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results::Results;

const HELP: &str = "\
/reset      begin a new conversation
/save FILE  write the conversation to a new file, as JSON Lines
/help       this list
/quit       leave, as the end of input does (Ctrl-D)
//…         a message that begins with a slash";

/// Reads messages from stdin and prints the answers.
pub fn run(arguments: &arguments::Chat, environment: &Environment) -> Result<(), Failure> {
    let paths = [Some(&arguments.model), arguments.other.as_ref()];
    let mut models = Vec::new();
    for path in paths.into_iter().flatten() {
        let model = answers::open(path, arguments.base.as_deref(), environment)?;
        note_template(&model, arguments, environment)?;
        models.push(model);
    }
    let mut requests = Vec::new();
    for model in &models {
        requests.push(Request {
            sampling: answers::sampling(model, &arguments.sampling)?,
            max_tokens: Some(arguments.max_tokens),
            stop: arguments.stop.clone(),
        });
    }
    let sessions = models.iter();
    let mut conversation = Conversation {
        sessions: sessions
            .map(|model| Session::new(model, arguments.system.clone()))
            .collect(),
        requests,
        labels: paths
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect(),
        output: Results::open(),
        environment,
    };
    let input = std::io::stdin().lock();
    let interactive = input.is_terminal() && conversation.output.is_terminal();
    if interactive {
        environment.say("`/help` lists the commands, Ctrl-D leaves");
    }
    conversation.read(input, interactive)
}

/// Tells the user that a model without a chat template continues text instead of answering.
fn note_template(
    model: &ChatModel,
    arguments: &arguments::Chat,
    environment: &Environment,
) -> Result<(), Failure> {
    if model.has_template() {
        return Ok(());
    }
    if arguments.system.is_some() {
        return Err(Failure::usage(anyhow!(
            "`--system`: `{}` has no chat template, which would say where a system message goes: leave it out",
            model.name()
        )));
    }
    environment.say(&format!(
        "`{}` has no chat template: it continues your text, line by line, and does not know turns; tune a model that has \
         one, such as a chat model of the hub, or put a `chat_template.jinja` beside its tokenizer",
        model.name()
    ));
    Ok(())
}

struct Conversation<'a> {
    sessions: Vec<Session<'a>>,
    requests: Vec<Request>,
    labels: Vec<String>,
    output: Results,
    environment: &'a Environment,
}

impl Conversation<'_> {
    /// Reads lines until the end of input or `/quit`. On a terminal, the error of a message that can't be answered is
    /// printed and the conversation continues; otherwise the error ends the command.
    fn read(&mut self, mut input: impl BufRead, interactive: bool) -> Result<(), Failure> {
        let mut number = 0;
        loop {
            if interactive {
                self.output.write("> ")?;
                self.output.flush()?;
            }
            let mut bytes = Vec::new();
            let read = input.read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| anyhow!("can't read standard input: {error}"))?;
            if read == 0 {
                if interactive {
                    self.output.write("\n")?;
                }
                return self.output.flush();
            }
            number += 1;
            match self.line(&bytes, number) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return self.output.flush(),
                Err(failure @ Failure::OutputClosed) => return Err(failure),
                Err(failure) if !interactive => return Err(failure),
                Err(failure) => {
                    let message = failure.message().unwrap_or_default();
                    crate::lines::say(&format!("error: {message}"));
                }
            }
        }
    }

    /// Executes a line of input: a command if it begins with a slash, else a message to answer.
    fn line(&mut self, bytes: &[u8], number: usize) -> Result<ControlFlow<()>, Failure> {
        let line = std::str::from_utf8(bytes)
            .map_err(|_| Failure::usage(anyhow!("line {number} of standard input is not UTF-8")))?;
        let line = match number {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        };
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(message) = line.strip_prefix("//") {
            self.answer(&format!("/{message}"))?;
            return Ok(ControlFlow::Continue(()));
        }
        let Some(command) = line.strip_prefix('/') else {
            self.answer(line)?;
            return Ok(ControlFlow::Continue(()));
        };
        let (command, rest) = command.split_once(' ').unwrap_or((command, ""));
        self.command(command, rest.trim())
    }

    fn command(&mut self, command: &str, rest: &str) -> Result<ControlFlow<()>, Failure> {
        match command {
            "quit" | "exit" => return Ok(ControlFlow::Break(())),
            "help" => self.environment.say(HELP),
            "reset" => {
                self.sessions.iter_mut().for_each(Session::reset);
                self.environment.say("a new conversation begins");
            }
            "save" if rest.is_empty() => {
                return Err(Failure::usage(anyhow!("`/save`: expected a file name")));
            }
            "save" => {
                polymath_chat::save(&self.sessions, Path::new(rest))?;
                self.environment.say(&format!("saved `{rest}`"));
            }
            _ => {
                return Err(Failure::usage(anyhow!(
                    "`/{command}`: unknown command; `/help` lists them, and `//` begins a message with a slash"
                )));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Prints the answer of every model, with the model's name if there are several.
    fn answer(&mut self, text: &str) -> Result<(), Failure> {
        for at in 0..self.sessions.len() {
            if self.labels.len() > 1 {
                self.output.write(&format!("[{}]\n", self.labels[at]))?;
                self.output.flush()?;
            }
            let (session, output) = (&mut self.sessions[at], &mut self.output);
            let mut lost = None;
            let mut sink = |piece: &str| match output.write(piece).and_then(|()| output.flush()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    lost = Some(failure);
                    ControlFlow::Break(())
                }
            };
            let request = &mut self.requests[at];
            let before = session.left_out();
            let answer = session
                .respond(text, request, &mut sink)
                .map_err(answers::failure)?;
            if let Some(failure) = lost {
                return Err(failure);
            }
            // Changes the seed, so that the next turn draws other random numbers.
            request.sampling.seed = request.sampling.seed.wrapping_add(1);
            self.output.write("\n")?;
            self.output.flush()?;
            if session.left_out() > before {
                self.environment.say(&format!(
                    "the context is full: the model reads the first {} messages no more; `/reset` begins a new conversation",
                    session.left_out()
                ));
            }
            if let Some(remark) = answers::remark(session.model(), &answer) {
                self.environment.say(&remark);
            }
        }
        Ok(())
    }
}
