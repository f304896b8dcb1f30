//! Cutting of long texts into pieces, and of a single text in two.

/// Size of a piece in bytes. Documents of more than twice this size are cut at paragraph ends, so that later stages
/// never hold a very long one.
pub(crate) const LONGEST: usize = 1 << 20;

/// Cuts a text of more than twice `longest` bytes into pieces. A shorter text stays one piece. The pieces concatenate
/// to the text.
pub(crate) fn cut(text: &str, longest: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > 2 * longest {
        let (piece, others) = rest.split_at(first_cut(rest, longest));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces
}

/// Returns the end of the first piece of a long text, between half of `longest` and `longest` bytes: after a
/// paragraph, else after a line, else after a sentence, else before a space, else at any character.
pub(crate) fn first_cut(text: &str, longest: usize) -> usize {
    // A single character may be longer than `longest`.
    let first = text.chars().next().map_or(0, char::len_utf8);
    let head = &text[..text.floor_char_boundary(longest).max(first)];
    let after = |mark: &str| head.rfind(mark).map(|at| at + mark.len());
    let ends = [
        after("\n\n"),
        after("\r\n\r\n"),
        after("\n"),
        after(". "),
        head.rfind(' '),
    ];
    let far = ends.into_iter().flatten().find(|&end| end >= longest / 2);
    far.unwrap_or(head.len())
}

/// Returns a position at which to cut a text in two, at most `slack` bytes before the byte `at`: after the last
/// paragraph there, else after a line, else after a sentence, else before a space, else at a character.
pub(crate) fn cut_near(text: &str, at: usize, slack: usize) -> usize {
    let end = text.floor_char_boundary(at);
    let from = text.floor_char_boundary(at.saturating_sub(slack));
    let window = &text[from..end];
    let after = |mark: &str| window.rfind(mark).map(|at| from + at + mark.len());
    let space = || window.rfind(' ').map(|at| from + at);
    after("\n\n")
        .or_else(|| after("\r\n\r\n"))
        .or_else(|| after("\n"))
        .or_else(|| after(". "))
        .or_else(space)
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that cutting keeps all text and the size limit, for several limits.
    #[test]
    fn long_texts_are_cut_at_paragraphs() {
        let text = "paragraph é\n\n".repeat(400_000);
        for longest in [LONGEST, 5000, 512] {
            let pieces = cut(&text, longest);
            assert!(pieces.len() > 3);
            let whole =
                |piece: &&str| piece.len() <= 2 * longest && piece.ends_with("paragraph é\n\n");
            assert!(pieces.iter().all(whole));
            assert_eq!(pieces.concat(), text);
        }
        assert_eq!(
            cut(&"é".repeat(3_000_000), LONGEST).concat().len(),
            6_000_000
        );
        assert_eq!(cut("éé", 1), ["é", "é"]);
    }

    /// Checks that a text is cut after the last paragraph before the given position, and at a character only if there
    /// is no better place.
    #[test]
    fn a_text_is_cut_near_a_place() {
        let text = "One. Two.\n\nThree and four. Five\nsix";
        assert_eq!(&text[..cut_near(text, 14, 14)], "One. Two.\n\n");
        assert_eq!(&text[cut_near(text, 33, 5)..], "six");
        assert_eq!(
            &text[..cut_near(text, 30, 8)],
            "One. Two.\n\nThree and four. "
        );
        assert_eq!(cut_near("ééé", 3, 2), 2);
    }
}
