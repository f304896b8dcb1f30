//! Documents as sources hold them: parts of text, and where they were read.

use crate::DataError;

/// A record must be read whole, so it can't be of any size.
pub(crate) const LONGEST_RECORD: usize = 64 << 20;

/// Part of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The text.
    pub(crate) text: String,
    /// True if it is learned and scored; a prompt is not.
    pub(crate) scored: bool,
    /// True if a chat template wrote it: special tokens in it are meant, and it is nobody's text, so that it counts for
    /// no bytes.
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

    /// Creates a part that a chat template adds; `None` for an empty text.
    pub(crate) fn template(text: &str, scored: bool) -> Option<Self> {
        (!text.is_empty()).then(|| Self {
            from_template: true,
            ..Self::text(text, scored)
        })
    }
}

/// Returns a document's text without that of a chat template.
pub(crate) fn own_text(parts: &[Part]) -> String {
    let own = parts.iter().filter(|part| !part.from_template);
    own.map(|part| part.text.as_str()).collect()
}

/// Document, or one piece of a huge one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceDocument {
    /// Parts of the text, in order.
    pub(crate) parts: Vec<Part>,
    /// Number of the piece of a huge document, from 0: all pieces stay on one side of the split.
    pub(crate) piece: u64,
    /// The line, row or text of its file, from 1; 0 where the file is the document.
    pub(crate) record: u64,
    /// Value of the field that names its group.
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

    /// All of its text.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }

    /// Returns true if nothing in it can be learned.
    pub(crate) fn is_blank(&self) -> bool {
        let learnt = |part: &&Part| part.scored && !part.from_template;
        let scored = self.parts.iter().filter(learnt);
        scored.into_iter().all(|part| part.text.trim().is_empty())
    }
}

/// Takes documents as they are read, and records that are none: what is wrong with each, and where.
pub(crate) type Each<'a> =
    dyn FnMut(Result<SourceDocument, DataError>) -> Result<(), DataError> + 'a;
