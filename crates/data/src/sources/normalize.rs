//! Text with letter case and white space aside: what two copies of a document share.

/// Writes `text` in lower case, its words parted by single spaces, into `to`, which is cleared.
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

    /// Copies that differ in letter case and white space become one text.
    #[test]
    fn case_and_space_are_folded() {
        let mut text = String::from("old");
        normalize("  The\u{a0}Élan\r\n\tVITAL ", &mut text);
        assert_eq!(text, "the élan vital");
    }
}
