//! Conversations of a tokenizer without a chat template: one line `role: content` for each message.

use super::conversation::Conversation;
use crate::RecordNotes;
use crate::sources::document::Part;
use crate::sources::fields::TOOLS;
use crate::sources::notes::count;

/// Chat template that writes conversations as plain text: `role: content` lines. Saved with a model that was trained
/// on such conversations, it lets any program talk with the model. It writes the begin token, after which every
/// document was read in training, and no space before an answer: a space belongs to the token of the answer's first
/// word.
pub const PLAIN_CHAT_TEMPLATE: &str = concat!(
    "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' }}",
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content + '\\n' }}{% endgeneration %}",
    "{% else %}{{ message.content + '\\n' }}{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
);

impl Conversation {
    /// Renders the messages without a chat template, as one line `role: content` each. This leaves out tools and
    /// names.
    pub(crate) fn plainly(&self, notes: &mut RecordNotes) -> Vec<Part> {
        let mut parts = Vec::new();
        for message in &self.messages {
            parts.push(Part::text(format!("{}: ", message.text("role")), false));
            parts.push(Part::text(
                format!("{}\n", message.text("content")),
                message.is_scored && !message.is_call,
            ));
            for key in message.further_keys() {
                count(&mut notes.unused_message_keys, key);
            }
        }
        if self.tools.is_some() {
            count(&mut notes.unused_keys, TOOLS);
        }
        notes.plain_conversations += 1;
        parts
    }
}
