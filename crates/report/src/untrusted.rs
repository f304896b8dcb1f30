//! Text from elsewhere (names, tokens, generated text, errors that quote them) made safe to show.
//!
//! A model folder or a dataset may come from anyone. Written to a terminal as it is, a token such as `ESC ]0;…` sets the
//! window's title or worse; written into Markdown, a name with a line break starts a heading or loads an image.
//! [`printable`] is for terminals, [`inline`], [`code`] and [`block`] are for Markdown. HTML is escaped where it is made.

use std::borrow::Cow;

/// First control picture: U+2400 + n shows the control character n.
const PICTURES: u32 = 0x2400;

/// Replaces each character that a terminal obeys by one that it shows; line breaks and tabs stay.
///
/// Control characters become their pictures (`␛` for ESC), the 8-bit ones (C1) and those that reorder text become `�`:
/// one character for one, so that columns stay aligned.
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

/// The character that stands for `sign`: itself, unless it controls how others are shown.
fn visible(sign: char) -> char {
    match sign {
        '\0'..='\x1f' => char::from_u32(PICTURES + sign as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        // C1; separators of lines and paragraphs; embeddings, overrides and isolates of text direction.
        '\u{80}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        sign => sign,
    }
}

/// Markdown that shows `text` as plain text within a line or a table's cell, whatever it holds.
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

/// Whether the character at `at` is an underscore that could begin or end emphasis: one that is not inside a word.
fn emphasizes(signs: &[char], at: usize) -> bool {
    let in_word = |sign: Option<&char>| sign.is_some_and(|sign| sign.is_alphanumeric());
    let before = at.checked_sub(1).and_then(|at| signs.get(at));
    signs[at] == '_' && !(in_word(before) && in_word(signs.get(at + 1)))
}

/// Whether the character at `at` would make a list or a rule of a line that begins with this text.
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

/// Whether the character at `at` would make a link of a bare address.
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

/// Markdown that shows `text` in the type of code within a line. Not for a table's cell, where `|` would end it.
pub fn code(text: &str) -> String {
    let shown: String = text.chars().map(visible).collect();
    let fence = "`".repeat(longest_run_of_backticks(&shown) + 1);
    // One space on either side is taken off again.
    let padded = shown.is_empty() || shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']);
    match padded {
        true => format!("{fence} {shown} {fence}"),
        false => format!("{fence}{shown}{fence}"),
    }
}

/// Markdown that shows `text` as a block of code in `language`; it ends with a line break.
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

    /// Escape sequences, C1 controls and overrides are shown, one sign for one; line breaks, tabs and every script stay.
    #[test]
    fn terminals_are_told_nothing() {
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

    /// No name breaks out of its line, starts a heading, a list or a cell, nor becomes an image, a link or HTML.
    #[test]
    fn names_are_text_in_markdown() {
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

    /// Code stays code, whatever backticks and line breaks it holds.
    #[test]
    fn code_ends_where_it_should() {
        assert_eq!(code("<|begin|>"), "`<|begin|>`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("\n# h\n"), "`␊# h␊`");
        assert_eq!(code(""), "`  `");
        assert_eq!(block("toml", "a = 1\n"), "```toml\na = 1\n```\n");
        assert_eq!(block("", "```\n# h\x1b"), "````\n```\n# h␛\n````\n");
    }
}
