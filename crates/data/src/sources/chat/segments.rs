//! Segments of a rendered conversation: the content of each message, and the text that the template adds.

use super::message::Message;

/// Marks around each message's content during rendering. They are Unicode noncharacters, so no template looks for
/// them, and they are not white space, so a template's trimming stops at them.
const BEGIN: char = '\u{fdd0}';
const END: char = '\u{fdd1}';
/// Marks around the text within `{% generation %}`.
pub(super) const GENERATION_BEGIN: char = '\u{fdd2}';
pub(super) const GENERATION_END: char = '\u{fdd3}';
/// All marks that are used in rendering; messages must not contain them.
pub(super) const MARKS: [char; 4] = [BEGIN, END, GENERATION_BEGIN, GENERATION_END];
/// Base of the private-use characters after [`BEGIN`] that encode the message's number.
const FIRST_NUMBER: u32 = 0xf_0000;
pub(super) const MOST_MESSAGES: usize = 0xfffd;

/// A segment of a rendered conversation.
pub(super) struct Segment<'a> {
    pub text: &'a str,
    /// Number of the message that the text is the content of; `None` for text of the template.
    pub message: Option<usize>,
    /// Number of the enclosing `{% generation %}` block, counted from 0.
    pub block: Option<usize>,
}

/// Splits a rendered conversation at its marks.
pub(super) fn segments(rendered: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let (mut message, mut block, mut blocks) = (None, None, 0);
    let mut rest = rendered;
    loop {
        let end = rest.find(MARKS).unwrap_or(rest.len());
        segments.push(Segment {
            text: &rest[..end],
            message,
            block,
        });
        let mut letters = rest[end..].chars();
        match letters.next() {
            None => return segments,
            Some(BEGIN) => {
                let number = letters
                    .next()
                    .map_or(0, |letter| u32::from(letter).wrapping_sub(FIRST_NUMBER));
                message = Some(number as usize);
            }
            Some(END) => message = None,
            Some(GENERATION_BEGIN) => {
                block = Some(blocks);
                blocks += 1;
            }
            Some(_) => block = None,
        }
        rest = letters.as_str();
    }
}

/// Returns the text of a rendered conversation without the marks.
pub(super) fn segments_text(rendered: &str) -> String {
    segments(rendered)
        .iter()
        .map(|segment| segment.text)
        .collect()
}

/// Returns a message with marks around its content. White space at either end stays outside of the marks, where the
/// template can trim it.
pub(super) fn mark(number: u32, message: &Message) -> minijinja::Value {
    let content = message.text("content");
    let core = content.trim();
    if core.is_empty() {
        return message.for_template();
    }
    let at = content.len() - content.trim_start().len();
    let number = char::from_u32(FIRST_NUMBER + number).unwrap_or(BEGIN);
    let (before, after) = (&content[..at], &content[at + core.len()..]);
    message.saying(format!("{before}{BEGIN}{number}{core}{END}{after}"))
}
