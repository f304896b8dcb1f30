//! Escaping of untrusted text (names, tokens, generated text, errors that quote them) for terminals and Markdown.
//!
//! A model folder or a dataset may come from anyone. In a terminal, a token such as `ESC ]0;…` sets the window title or
//! worse; in Markdown, a name with a line break starts a heading or loads an image. [`printable`] is for terminals;
//! [`inline`], [`code`] and [`block`] are for Markdown. HTML is escaped by its templates.

use std::borrow::Cow;

/// Code point of the first control picture: U+2400 + n is the picture of control character n.
const PICTURES: u32 = 0x2400;

/// Replaces characters that control a terminal by visible ones. Line breaks and tabs stay.
///
/// Control characters become their pictures (`␛` for ESC). 8-bit controls (C1) and characters that reorder text
/// become `�`. Each is replaced by one character, so that columns stay aligned.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |sign: char| matches!(sign, '\n' | '\t') || visible(sign) == sign;
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let shown = text
        .chars()
        .map(|sign| if harmless(sign) { sign } else { visible(sign) });
    Cow::Owned(shown.collect())
}

/// Returns a visible replacement for a control character, and any other character unchanged.
fn visible(sign: char) -> char {
    match sign {
        '\0'..='\x1f' => char::from_u32(PICTURES + sign as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        // C1; line and paragraph separators; embeddings, overrides and isolates of text direction.
        '\u{80}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        sign => sign,
    }
}

/// Escapes text for one line or one table cell of Markdown, so that it is shown as plain text.
pub fn inline(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let signs: Vec<char> = text.chars().collect();
    for (at, &sign) in signs.iter().enumerate() {
        let special = "\\`*|<>[]#&~$".contains(sign)
            || emphasizes(&signs, at)
            || begins_block(&signs, at)
            || links(&signs, at);
        if special {
            escaped.push('\\');
        }
        escaped.push(match sign {
            '\n' | '\r' | '\t' => ' ',
            sign => visible(sign),
        });
    }
    escaped
}

/// Returns true if the character at `at` is an underscore outside a word, which could start or end emphasis.
fn emphasizes(signs: &[char], at: usize) -> bool {
    let in_word = |sign: Option<&char>| sign.is_some_and(|sign| sign.is_alphanumeric());
    let before = at.checked_sub(1).and_then(|at| signs.get(at));
    signs[at] == '_' && !(in_word(before) && in_word(signs.get(at + 1)))
}

/// Returns true if the character at `at` would start a list or a rule at the beginning of a line.
fn begins_block(signs: &[char], at: usize) -> bool {
    let begins = |before: &[char]| before.iter().all(|sign| sign.is_whitespace());
    match signs[at] {
        '-' | '+' | '=' => begins(&signs[..at]),
        '.' | ')' => {
            let digits = signs[..at]
                .iter()
                .rev()
                .take_while(|sign| sign.is_ascii_digit());
            let digits = digits.count();
            digits > 0 && begins(&signs[..at - digits])
        }
        _ => false,
    }
}

/// Returns true if the character at `at` would turn a bare address into a link.
fn links(signs: &[char], at: usize) -> bool {
    match signs[at] {
        ':' => signs.get(at + 1) == Some(&'/'),
        '.' => {
            at >= 3
                && signs[at - 3..at]
                    .iter()
                    .all(|sign| sign.eq_ignore_ascii_case(&'w'))
        }
        '@' => true,
        _ => false,
    }
}

/// Formats text as inline code in Markdown. Not for table cells, where `|` would end the cell.
pub fn code(text: &str) -> String {
    let shown: String = text.chars().map(visible).collect();
    let fence = "`".repeat(longest_run_of_backticks(&shown) + 1);
    // Markdown strips one space on either side.
    let padded = shown.is_empty() || shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']);
    match padded {
        true => format!("{fence} {shown} {fence}"),
        false => format!("{fence}{shown}{fence}"),
    }
}

/// Formats text as a code block in Markdown, ending with a newline.
pub fn block(language: &str, text: &str) -> String {
    let text = printable(text);
    let fence = "`".repeat((longest_run_of_backticks(&text) + 1).max(3));
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{language}\n{text}{end}{fence}\n")
}

fn longest_run_of_backticks(text: &str) -> usize {
    let runs = text.split(|sign| sign != '`').map(str::len);
    runs.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that escape sequences, C1 controls and direction overrides become visible, one character for each, and
    /// that line breaks, tabs and all scripts stay.
    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(printable("a\x1b]0;x\x07\r\n\tb"), "a␛]0;x␇␍\n\tb");
        assert_eq!(
            printable("\u{9b}31m\u{202e}txt\u{2066}\x7f\0"),
            "�31m�txt�␡␀"
        );
        for harmless in ["naïve 模型 🙂 שלום می\u{200c}خواهم", "a\n\tb", ""] {
            assert!(matches!(printable(harmless), Cow::Borrowed(same) if same == harmless));
        }
        for code in 0..=0x11_0000u32 {
            let Some(sign) = char::from_u32(code) else {
                continue;
            };
            let shown = printable(sign.encode_utf8(&mut [0; 4])).into_owned();
            assert_eq!(shown.chars().count(), 1, "{code:x}");
            let controls = shown.chars().any(char::is_control);
            assert_eq!(controls, matches!(sign, '\n' | '\t'), "{code:x}");
        }
    }

    /// Checks that a name can't break out of its line, start a heading, list or cell, or become an image, a link or
    /// HTML.
    #[test]
    fn names_are_plain_text_in_markdown() {
        assert_eq!(
            inline("a\n# b ![x](http://t/p.png)|<i>&amp;"),
            "a \\# b !\\[x\\](http\\://t/p.png)\\|\\<i\\>\\&amp;"
        );
        assert_eq!(inline("a_b __init__"), "a_b \\_\\_init\\_\\_");
        assert_eq!(inline("- a-b"), "\\- a-b");
        assert_eq!(inline("1. a 2."), "1\\. a 2.");
        assert_eq!(inline("  +x"), "  \\+x");
        assert_eq!(inline("www.a.b x@y"), "www\\.a.b x\\@y");
        assert_eq!(inline("loss 0.1: +0.2 (a)"), "loss 0.1: +0.2 (a)");
        assert_eq!(inline("a\x1b[0m\u{202e}"), "a␛\\[0m�");
    }

    /// Checks that text with any number of backticks and line breaks stays code.
    #[test]
    fn code_is_fenced_for_any_content() {
        assert_eq!(code("<|begin|>"), "`<|begin|>`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("\n# h\n"), "`␊# h␊`");
        assert_eq!(code(""), "`  `");
        assert_eq!(block("toml", "a = 1\n"), "```toml\na = 1\n```\n");
        assert_eq!(block("", "```\n# h\x1b"), "````\n```\n# h␛\n````\n");
    }
}
