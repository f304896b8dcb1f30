//! Normalization of letter case and white space, which makes copies of a document equal.

/// Writes `text` to `to` in lower case with single spaces between words. Clears `to` first.
pub(crate) fn normalize(text: &str, to: &mut String) {
    to.clear();
    to.reserve(text.len());
    for word in text.split_whitespace() {
        if !to.is_empty() {
            to.push(' ');
        }
        if word.is_ascii() {
            let start = to.len();
            to.push_str(word);
            to[start..].make_ascii_lowercase();
        } else {
            to.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that copies that differ in letter case and white space become the same text.
    #[test]
    fn case_and_space_are_folded() {
        let mut text = String::from("old");
        normalize("  The\u{a0}Élan\r\n\tVITAL ", &mut text);
        assert_eq!(text, "the élan vital");
    }
}
