//! Frames of the questions about facts. A frame is an opening, a place for the noun phrase that is asked for, and an
//! ending.
//!
//! The training text combines many openings with many endings, so that a model learns that the words around the noun
//! phrase do not matter. The frames of the test occur nowhere in it, but their words do: a small model can't read
//! words that it never saw.

use super::relation::Template;
use crate::synthetic::lexicon::capitalized;
use crate::synthetic::problem::prompt;
use crate::synthetic::random::Random;

/// Openings of questions in the training text, each with the punctuation mark that ends the question.
const OPENINGS: [(&str, char); 32] = [
    ("What is", '?'),
    ("Do you know", '?'),
    ("Do you remember", '?'),
    ("Would you write", '?'),
    ("Could you tell me", '?'),
    ("Who knows", '?'),
    ("Have you learned", '?'),
    ("Will you look up", '?'),
    ("Can you find", '?'),
    ("Can anyone recall", '?'),
    ("Does the class know", '?'),
    ("Would a beginner know", '?'),
    ("Will you say aloud", '?'),
    ("Who can give", '?'),
    ("Name", '.'),
    ("State", '.'),
    ("Write down", '.'),
    ("Recall", '.'),
    ("Tell me", '.'),
    ("Look up", '.'),
    ("Find", '.'),
    ("Show me", '.'),
    ("Let us find", '.'),
    ("I need", '.'),
    ("I forgot", '.'),
    ("We want", '.'),
    ("Please name", '.'),
    ("Please write", '.'),
    ("Give me", '.'),
    ("I learned by heart", '.'),
    ("Explain to us", '.'),
    ("Explain once again", '.'),
];

/// Endings of questions in the training text. Further endings are combinations of [`LINKS`] and [`OBJECTS`].
const ENDINGS: [&str; 17] = [
    "here",
    "at once",
    "together",
    "on the board",
    "once more",
    "in short",
    "from memory",
    "if possible",
    "before the lesson ends",
    "on paper",
    "without a book",
    "aloud",
    "for this list",
    "with care",
    "by name",
    "by tomorrow",
    "with all your heart",
];

/// Prepositions that begin an ending, as in `for the class`.
const LINKS: [&str; 4] = ["for", "to", "with", "before"];

/// Objects that follow a preposition in an ending, as in `for the class`.
const OBJECTS: [&str; 8] = [
    "us",
    "me",
    "the class",
    "a beginner",
    "the others",
    "our teacher",
    "your friend",
    "the other pupils",
];

/// Number of possible endings, including those that only the test uses.
const ALL_ENDINGS: i64 = (ENDINGS.len() + LINKS.len() * OBJECTS.len()) as i64;

/// Complete frames of the training text, which are not combined from openings and endings.
const WHOLE: [Template; 4] = [
    "{phrase}?",
    "Do you remember what {phrase} is?",
    "I wonder what {phrase} is.",
    "What {phrase} is, you may tell me.",
];

/// Frames of the test's questions. The words after the noun phrase keep a question and its answer from repeating
/// training text.
pub const TEST: [Template; 4] = [
    "Can you say {phrase} to us?",
    "Does anyone know {phrase} by heart?",
    "Please give {phrase} to the class.",
    "Explain {phrase} to a beginner.",
];

/// Maximum number of words in a row that the training text shares with a question of the test and its answer.
const MOST_SHARED: usize = 7;

/// Draws a frame for a question of the training text that asks for `phrase`. A third of the frames has no ending. The
/// question shares at most seven words in a row with a question of the test for the same phrase.
pub fn taught(random: &mut Random, phrase: &str) -> String {
    // A phrase of that many words leaves none: then no word beside it may be shared.
    let free = MOST_SHARED.saturating_sub(phrase.split_whitespace().count());
    loop {
        let frame = drawn(random);
        if TEST.iter().all(|test| shared_around(&frame, test) <= free) {
            return frame;
        }
    }
}

/// Returns the number of words that two frames have in common directly before and after the noun phrase.
fn shared_around(one: &str, other: &str) -> usize {
    let [one, other] =
        [one, other].map(|frame| frame.split_once("{phrase}").unwrap_or((frame, "")));
    shared(words(one.0).rev(), words(other.0).rev()) + shared(words(one.1), words(other.1))
}

/// Returns the number of equal words, in any letter case, at the beginning of two sequences.
fn shared<'a>(one: impl Iterator<Item = &'a str>, other: impl Iterator<Item = &'a str>) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one.eq_ignore_ascii_case(other))
        .count()
}

/// Returns the words of a part of a frame, without punctuation.
fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let words = text.split_whitespace();
    words.map(|word| word.trim_matches(['.', '?', ',']))
}

fn drawn(random: &mut Random) -> String {
    if random.below(20) == 0 {
        return (*random.choose(&WHOLE)).to_owned();
    }
    let (opening, mark) = *random.choose(&OPENINGS);
    if random.below(3) == 0 {
        return format!("{opening} {{phrase}}{mark}");
    }
    format!("{opening} {{phrase}} {}{mark}", ending(random))
}

/// Draws an ending for a question of the training text; never one that a frame of the test has.
fn ending(random: &mut Random) -> String {
    loop {
        let ending = match ENDINGS.get(random.below(ALL_ENDINGS) as usize) {
            Some(ending) => (*ending).to_owned(),
            None => format!("{} {}", random.choose(&LINKS), random.choose(&OBJECTS)),
        };
        if !TEST
            .iter()
            .any(|frame| frame.contains(&format!("}} {ending}")))
        {
            return ending;
        }
    }
}

/// Returns the prompt that asks for the noun phrase `phrase` in the frame `frame`.
pub fn ask(frame: &str, phrase: &str) -> String {
    prompt(&capitalized(&frame.replace("{phrase}", phrase)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Checks that a frame that shares words around the noun phrase with a frame of the test is not drawn for a long
    /// phrase.
    #[test]
    fn long_phrases_have_frames_that_share_less() {
        let (frame, test) = ("Who can give {phrase} to the others?", TEST[2]);
        assert_eq!(shared_around(frame, test), 3);
        assert_eq!(shared_around("Name {phrase} with care.", test), 0);
        let mut random = Random::new(1, "frames");
        let mut is_drawn = |phrase: &str| {
            let mut drawn = (0..50_000).map(|_| taught(&mut random, phrase));
            drawn.any(|drawn| drawn == frame)
        };
        assert!(is_drawn("the unit of force"));
        assert!(!is_drawn(
            "the unit in which all of the world measures force"
        ));
        assert!(!is_drawn("the unit of electric charge"));
    }

    /// Checks that the training text has each word of the test's frames, but none of the frames' openings and endings.
    #[test]
    fn words_of_the_test_are_taught_in_other_frames() {
        let mut random = Random::new(1, "frames");
        let frames: Vec<String> = (0..20_000)
            .map(|_| taught(&mut random, "the unit of force"))
            .collect();
        let taught: BTreeSet<&str> = frames.iter().flat_map(|frame| words(frame)).collect();
        for frame in TEST {
            for word in words(frame) {
                assert!(taught.contains(word), "{word}");
            }
            let (opening, ending) = frame.split_once("{phrase}").unwrap();
            let begins = |taught: &String| taught.starts_with(&format!("{opening}{{"));
            let ending = ending.trim_end_matches(['.', '?']);
            let ends = |taught: &String| taught.contains(&format!("}}{ending}"));
            assert!(!frames.iter().any(begins), "{opening}");
            assert!(!frames.iter().any(ends), "{ending}");
        }
        let distinct: BTreeSet<&String> = frames.iter().collect();
        assert!(distinct.len() > 1000, "{}", distinct.len());
    }
}
