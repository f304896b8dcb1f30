//! The card of a repository (`README.md`), which is YAML metadata between two `---` lines, then text.

/// File name of a repository's card.
pub const CARD: &str = "README.md";

/// Returns the YAML metadata at the beginning of a card, if there is any.
pub fn front_matter(card: &str) -> Option<&str> {
    let text = card.trim_start_matches('\u{feff}').trim_start();
    let text = text.strip_prefix("---")?;
    let text = text.strip_prefix("\r\n").or(text.strip_prefix('\n'))?;
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(&text[..length]);
        }
        length += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only the text between the first two `---` lines is metadata.
    #[test]
    fn front_matter_lies_between_the_marks() {
        let card = "---\nlicense: mit\ntags:\n- a\n---\n# Title\n---\n";
        assert_eq!(front_matter(card), Some("license: mit\ntags:\n- a\n"));
        assert_eq!(front_matter("---\r\na: 1\r\n---\r\n"), Some("a: 1\r\n"));
        assert_eq!(front_matter("# Title\n---\na: 1\n---\n"), None);
        assert_eq!(front_matter("---\na: 1\n"), None);
    }
}
