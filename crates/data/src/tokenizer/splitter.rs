//! Splitter of text into words, for byte-level tokenizers.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Splits text into words like GPT-2's regular expression: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|
/// ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
pub(crate) struct Splitter {
    /// Kind of every character, by its code point.
    kinds: Vec<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Letter,
    Number,
    Other,
    /// Number character that is a word of its own, in tokenizers that split text at every digit first.
    Alone,
}

static TOGETHER: LazyLock<Splitter> = LazyLock::new(|| Splitter::new(false));
static ALONE: LazyLock<Splitter> = LazyLock::new(|| Splitter::new(true));

impl Splitter {
    /// Returns the splitter; `digits_alone` makes each digit a word of its own.
    pub(crate) fn of(digits_alone: bool) -> &'static Splitter {
        if digits_alone { &ALONE } else { &TOGETHER }
    }

    fn new(digits_alone: bool) -> Self {
        let mut kinds = vec![Kind::Other; char::MAX as usize + 1];
        for (class, kind) in [
            (r"\p{L}", Kind::Letter),
            (r"\p{N}", Kind::Number),
            (r"\s", Kind::Space),
        ] {
            for (first, last) in letters_of(class) {
                kinds[first as usize..=last as usize].fill(kind);
            }
        }
        if digits_alone {
            for letter in (0..=char::MAX as u32).filter_map(char::from_u32) {
                if letter.is_numeric() {
                    kinds[letter as usize] = Kind::Alone;
                }
            }
        }
        Self { kinds }
    }

    /// Returns the end of the word that begins at byte `at` of `text`; `at` must be a word boundary.
    pub(crate) fn word_end(&self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        if bytes[at] == b'\'' {
            let rest = &bytes[at + 1..];
            for ending in ["s", "t", "re", "ve", "m", "ll", "d"] {
                if rest.starts_with(ending.as_bytes()) {
                    return at + 1 + ending.len();
                }
            }
        }
        let begin = at + usize::from(bytes[at] == b' ');
        match self.kind(text, begin) {
            Some((Kind::Alone, end)) if begin == at => return end,
            Some((Kind::Space | Kind::Alone, _)) | None => {}
            Some((kind, end)) => return self.run(kind, text, end).1,
        }
        // The last white-space character before other text belongs to the next word, unless it is the only one.
        let (last, end) = self.run(Kind::Space, text, at);
        let cut_off = self
            .kind(text, end)
            .is_none_or(|(kind, _)| kind == Kind::Alone);
        if cut_off || last == at { end } else { last }
    }

    /// Returns the start of the last character, and the end, of the run of characters of one kind from `at` on.
    fn run(&self, kind: Kind, text: &str, at: usize) -> (usize, usize) {
        let (mut last, mut end) = (at, at);
        while let Some((found, next)) = self.kind(text, end) {
            if found != kind {
                break;
            }
            (last, end) = (end, next);
        }
        (last, end)
    }

    /// Returns the kind of the character at `at`, and its end.
    #[inline]
    fn kind(&self, text: &str, at: usize) -> Option<(Kind, usize)> {
        let first = *text.as_bytes().get(at)?;
        if first.is_ascii() {
            return Some((self.kinds[usize::from(first)], at + 1));
        }
        let letter = text[at..].chars().next()?;
        Some((self.kinds[letter as usize], at + letter.len_utf8()))
    }
}

/// Returns the ranges of characters in a class, as the regular-expression library defines it.
fn letters_of(class: &str) -> Vec<(char, char)> {
    let parsed = regex_syntax::parse(class).expect("a class of Unicode");
    let HirKind::Class(Class::Unicode(class)) = parsed.into_kind() else {
        unreachable!("a class of Unicode is parsed as one");
    };
    let ranges = class.iter().map(|range| (range.start(), range.end()));
    ranges.collect()
}
