//! Conversation of several turns.

use std::path::Path;

use serde_json::json;

use crate::{Answer, ChatError, ChatMessage, ChatModel, End, Engine, Prompt, Request, Sink};

/// Conversation with a model. Without a chat template, it is a single text that user and model extend in turns.
pub struct Session<'m> {
    engine: Engine<'m>,
    system: Option<String>,
    messages: Vec<ChatMessage>,
}

impl<'m> Session<'m> {
    /// Begins a conversation with an optional system message.
    pub fn new(model: &'m ChatModel, system: Option<String>) -> Self {
        let mut session = Self {
            engine: Engine::new(model),
            system,
            messages: Vec::new(),
        };
        session.reset();
        session
    }

    /// Returns the model.
    pub fn model(&self) -> &'m ChatModel {
        self.engine.model()
    }

    /// Returns all messages so far, including the system message.
    pub fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    /// Removes all messages but the system message.
    pub fn reset(&mut self) {
        self.engine.reset();
        let system = self.system.iter();
        self.messages = system
            .map(|text| ChatMessage::new("system", text))
            .collect();
    }

    /// Answers a message of the user and passes each piece of the answer to `sink`. After an error, the conversation
    /// is as before the call.
    ///
    /// # Errors
    /// Fails like [`Engine::answer`].
    pub fn respond(
        &mut self,
        text: &str,
        request: &Request,
        sink: Sink,
    ) -> Result<Answer, ChatError> {
        self.messages.push(ChatMessage::new("user", text));
        let answered = if self.model().has_template() {
            let prompt = Prompt::Messages(&self.messages);
            self.engine.answer(prompt, request, sink)
        } else {
            let text = self.plain_text();
            self.engine.answer(Prompt::Text(&text), request, sink)
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
                Err(error)
            }
        }
    }

    /// Returns the conversation as one text, for a model without a chat template. Each message of the user begins a
    /// new line.
    pub fn plain_text(&self) -> String {
        let mut text = String::new();
        for message in &self.messages {
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
