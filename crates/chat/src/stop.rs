//! Stop texts, at which an answer ends: found in a stream of text pieces.

/// Filter that passes streamed text on until a stop text occurs. The stop text itself is not passed on.
pub(crate) struct StopFilter<'a> {
    stops: &'a [String],
    /// Held-back text that may be the beginning of a stop text.
    held: String,
}

/// Result of filtering a piece of text: the text that can be passed on, and the stop text that was found after it, if
/// any.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub text: String,
    pub stop: Option<String>,
}

impl<'a> StopFilter<'a> {
    pub fn new(stops: &'a [String]) -> Self {
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Takes the next text of the stream. Returns the text that can be passed on because no stop text begins in it.
    pub fn push(&mut self, text: &str) -> Passed {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| {
            let at = self.held.find(stop.as_str())?;
            Some((at, stop))
        });
        // Chooses the stop text that occurs first; among those at the same position, the longest.
        if let Some((at, stop)) = found.min_by_key(|(at, stop)| (*at, usize::MAX - stop.len())) {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Passed {
                text,
                stop: Some(stop.clone()),
            };
        }
        let open = self.open_from();
        let rest = self.held.split_off(open);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stop: None,
        }
    }

    /// Returns the text that is still held back. Call this function at the end of the stream.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the byte index of the longest suffix of a text that is the beginning of a stop text, or the text's
    /// length.
    fn open_from(&self) -> usize {
        let places = self.held.char_indices().map(|(at, _)| at);
        let mut open = places.filter(|at| {
            let ending = &self.held[*at..];
            self.stops.iter().any(|stop| stop.starts_with(ending))
        });
        open.next().unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut filter = StopFilter::new(&stops);
        let mut all = String::new();
        for piece in pieces {
            let passed = filter.push(piece);
            all += &passed.text;
            if passed.stop.is_some() {
                return (all, passed.stop);
            }
        }
        (all + &filter.take(), None)
    }

    /// Checks that a stop text is found however the stream is cut into pieces, and that text that only begins like
    /// one is passed on.
    #[test]
    fn stop_texts_are_found_across_pieces() {
        let text = "one\n\nUs two\nUser: three";
        for length in 1..text.len() {
            let pieces: Vec<String> = text
                .as_bytes()
                .chunks(length)
                .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
                .collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (found, stop) = filtered(&["\nUser:", "never"], &pieces);
            assert_eq!(found, "one\n\nUs two", "{length}");
            assert_eq!(stop.as_deref(), Some("\nUser:"));
            let (found, stop) = filtered(&["three!", "x"], &pieces);
            assert_eq!((found.as_str(), stop), (text, None));
        }
        assert_eq!(filtered(&["aab"], &["a", "a", "a", "b"]).0, "a");
        assert_eq!(filtered(&["é!"], &["caf", "é", "!"]).0, "caf");
    }

    /// Checks that without stop texts, all text is passed on at once.
    #[test]
    fn nothing_is_held_back_without_stop_texts() {
        let mut filter = StopFilter::new(&[]);
        let passed = Passed {
            text: "a".into(),
            stop: None,
        };
        assert_eq!(filter.push("a"), passed);
    }
}
