//! Conversation of several turns with a model.

use std::path::Path;

use serde_json::json;

use crate::{Answer, ChatError, ChatMessage, ChatModel, End, Engine, Prompt, Request, Sink};

/// Conversation with a model. Without a chat template, it is a single text that user and model extend in turns.
pub struct Session<'m> {
    engine: Engine<'m>,
    system: Option<String>,
    messages: Vec<ChatMessage>,
    /// Number of messages after the system message that the model no longer reads.
    left_out: usize,
}

impl<'m> Session<'m> {
    /// Begins a conversation with an optional system message.
    pub fn new(model: &'m ChatModel, system: Option<String>) -> Self {
        let mut session = Self {
            engine: Engine::new(model),
            system,
            messages: Vec::new(),
            left_out: 0,
        };
        session.reset();
        session
    }

    /// Returns the model of the conversation.
    pub fn model(&self) -> &'m ChatModel {
        self.engine.model()
    }

    /// Returns all messages so far, including the system message and those that the model no longer reads.
    pub fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    /// Returns the number of earliest messages that the model no longer reads, since the context is full.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Removes all messages but the system message.
    pub fn reset(&mut self) {
        self.engine.reset();
        self.left_out = 0;
        let system = self.system.iter();
        self.messages = system
            .map(|text| ChatMessage::new("system", text))
            .collect();
    }

    /// Answers a message of the user and passes each piece of the answer to `sink`. If the conversation does not fit
    /// into the model's context, its earliest turns are left out, as [`Self::left_out`] says. After an error, the
    /// conversation is as before the call.
    ///
    /// # Errors
    /// Fails like [`Engine::answer`]; with [`ChatError::ContextFull`] if the message alone does not fit.
    pub fn respond(
        &mut self,
        text: &str,
        request: &Request,
        sink: Sink,
    ) -> Result<Answer, ChatError> {
        self.messages.push(ChatMessage::new("user", text));
        let before = self.left_out;
        let answered = loop {
            match self.answer(request, sink) {
                Err(ChatError::ContextFull { .. }) if self.leave_out_turn() => {}
                answered => break answered,
            }
        };
        match answered {
            Ok(answer) => {
                let mut said = answer.text.clone();
                if let (End::Stop(stop), false) = (&answer.end, self.model().has_template()) {
                    said.push_str(stop);
                }
                self.messages.push(ChatMessage::new("assistant", said));
                Ok(answer)
            }
            Err(error) => {
                self.messages.pop();
                self.left_out = before;
                Err(error)
            }
        }
    }

    fn answer(&mut self, request: &Request, sink: Sink) -> Result<Answer, ChatError> {
        let read = self.read_messages();
        if self.model().has_template() {
            return self.engine.answer(Prompt::Messages(&read), request, sink);
        }
        let text = plain_text(&read);
        self.engine.answer(Prompt::Text(&text), request, sink)
    }

    /// Returns the messages that the model reads: the system message, and all that are not left out.
    fn read_messages(&self) -> Vec<ChatMessage> {
        let (system, turns) = self.messages.split_at(self.system.iter().count());
        [system, &turns[self.left_out..]].concat()
    }

    /// Leaves out the earliest turn that is still read: a message of the user and its answer. Returns false if only the
    /// last message is left.
    fn leave_out_turn(&mut self) -> bool {
        let turns = self.messages.len() - self.system.iter().count();
        let is_left = turns > self.left_out + 2;
        if is_left {
            self.left_out += 2;
        }
        is_left
    }

    /// Returns the conversation as one text, for a model without a chat template. Each message of the user begins a
    /// new line.
    pub fn plain_text(&self) -> String {
        plain_text(&self.messages)
    }

    /// Returns the conversation as a line of JSON with the key `messages`, or `text` for a model without a chat
    /// template. A file of such lines can be prepared as a dataset.
    pub fn to_json(&self) -> String {
        let mut record = match self.model().has_template() {
            true => json!({"messages": self.messages}),
            false => json!({"text": self.plain_text()}),
        };
        record["model"] = self.model().name().into();
        record.to_string()
    }
}

fn plain_text(messages: &[ChatMessage]) -> String {
    let mut text = String::new();
    for message in messages {
        if message.role == "user" && !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&message.content);
        if message.role == "system" {
            text.push('\n');
        }
    }
    text
}

/// Writes conversations as JSON Lines into a new file.
///
/// # Errors
/// Fails if the file exists or can't be written.
pub fn save(sessions: &[Session], path: &Path) -> Result<(), ChatError> {
    let failed = |source| ChatError::Save {
        path: path.to_path_buf(),
        source,
    };
    if polymath_base::exists(path).map_err(failed)? {
        let reason = "it exists already: choose another name";
        return Err(failed(std::io::Error::other(reason)));
    }
    let lines: String = sessions
        .iter()
        .map(|session| session.to_json() + "\n")
        .collect();
    polymath_base::write(path, lines.as_bytes()).map_err(failed)
}
