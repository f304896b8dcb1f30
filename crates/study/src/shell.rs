//! Quoting of words in command lines that are printed for a person to copy into a shell.

/// Quotes a word of a command line where a POSIX shell would split or expand it, or a command would take it for an
/// option.
pub fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./@:=+,…".contains(letter);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that words are quoted where a shell needs it, and only there.
    #[test]
    fn words_are_quoted_for_a_shell() {
        for plain in ["runs/a-b_1.gguf", "base=é/b", "owner/name@main"] {
            assert_eq!(shell_word(plain), plain);
        }
        for (text, quoted) in [
            ("my model", "'my model'"),
            ("it's", "'it'\\''s'"),
            ("$x", "'$x'"),
            ("-o", "'-o'"),
            ("a[1]", "'a[1]'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), quoted);
        }
    }
}
