//! Documents as read from the sources: parts of text, with their origin.

use crate::DataError;

/// Maximum bytes of a record, which must be read as a whole.
pub(crate) const LONGEST_RECORD: usize = 64 << 20;

/// Part of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Text of the part.
    pub(crate) text: String,
    /// True if the part is learned and scored; false for a prompt.
    pub(crate) scored: bool,
    /// True if a chat template added the text. Special tokens in it are special, and its bytes are not counted for
    /// bits per byte.
    pub(crate) from_template: bool,
}

impl Part {
    /// Creates a part of a document's own text.
    pub(crate) fn text(text: impl Into<String>, scored: bool) -> Self {
        Self {
            text: text.into(),
            scored,
            from_template: false,
        }
    }

    /// Creates a part that a chat template added; `None` for an empty text.
    pub(crate) fn template(text: &str, scored: bool) -> Option<Self> {
        (!text.is_empty()).then(|| Self {
            from_template: true,
            ..Self::text(text, scored)
        })
    }
}

/// Returns a document's text without the text of a chat template.
pub(crate) fn own_text(parts: &[Part]) -> String {
    let own = parts.iter().filter(|part| !part.from_template);
    own.map(|part| part.text.as_str()).collect()
}

/// A document, or one piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceDocument {
    /// Parts of the document's text, in order.
    pub(crate) parts: Vec<Part>,
    /// Number of the piece of a long document, from 0; all pieces are in the same split.
    pub(crate) piece: u64,
    /// Line, row or text within the file, from 1; 0 if the file is one document.
    pub(crate) record: u64,
    /// Value of the field that names the document's group.
    pub(crate) group: Option<String>,
}

impl SourceDocument {
    pub(crate) fn plain(text: String, piece: u64, record: u64) -> Self {
        Self {
            parts: vec![Part::text(text, true)],
            piece,
            record,
            group: None,
        }
    }

    /// Returns the whole text of the document.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }

    /// Returns true if the document has no text to learn.
    pub(crate) fn is_blank(&self) -> bool {
        let learnt = |part: &&Part| part.scored && !part.from_template;
        let scored = self.parts.iter().filter(learnt);
        scored.into_iter().all(|part| part.text.trim().is_empty())
    }
}

/// Callback for each document, or for the error of a record that can't be turned into one.
pub(crate) type DocumentSink<'a> =
    dyn FnMut(Result<SourceDocument, DataError>) -> Result<(), DataError> + 'a;
