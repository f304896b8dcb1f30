//! A rendered conversation in stretches: which message says each, and what the template adds.

use super::message::Message;

/// Stand around each message's content while it is rendered. They are no characters (Unicode keeps them for a program's
/// own use), so no template looks for them, and no white space, so that a template's trimming stops at them.
const BEGIN: char = '\u{fdd0}';
const END: char = '\u{fdd1}';
/// Stand around what `{% generation %}` encloses.
pub(super) const GENERATION_BEGIN: char = '\u{fdd2}';
pub(super) const GENERATION_END: char = '\u{fdd3}';
/// Marks that no message may contain.
pub(super) const MARKS: [char; 4] = [BEGIN, END, GENERATION_BEGIN, GENERATION_END];
/// Offset of the message's number after [`BEGIN`], as a character for private use.
const FIRST_NUMBER: u32 = 0xf_0000;
pub(super) const MOST_MESSAGES: usize = 0xfffd;

/// A stretch of a rendered conversation.
pub(super) struct Segment<'a> {
    pub text: &'a str,
    /// The message that says it; `None` where the template writes it.
    pub message: Option<usize>,
    /// The `{% generation %}` that encloses it, counted from 0.
    pub block: Option<usize>,
}

/// A rendered conversation, parted at its marks.
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

/// A rendered conversation without its marks.
pub(super) fn segments_text(rendered: &str) -> String {
    segments(rendered)
        .iter()
        .map(|segment| segment.text)
        .collect()
}

/// A message whose content is marked; white space around it stays outside of the marks, where the template may trim it.
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
