use std::collections::BTreeSet;

use super::FormatCheck::{self, *};
use super::format_instructions;

/// Asserts that the answers `right` pass the check, and that `wrong` and empty answers fail it.
fn check(check: FormatCheck, right: &[&str], wrong: &[&str]) {
    for answer in right {
        assert!(check.holds(answer), "{check:?} must hold: {answer:?}");
    }
    for answer in wrong.iter().chain(&["", " \n\t"]) {
        assert!(!check.holds(answer), "{check:?} must not hold: {answer:?}");
    }
}

/// Checks that bullets of all kinds are counted, also between other text.
#[test]
fn bullets() {
    let right = [
        "- a\n- b\n- c",
        "Here:\n\n* apples\n* pears\n* plums\n",
        "  • Äpfel\n  • Birnen\n  • Öl",
        "- **a**\n\n-\tb\n\n- c - d",
    ];
    check(
        Bullets(3),
        &right,
        &[
            "- a\n- b",
            "- a\n- b\n- c\n- d",
            "1. a\n2. b\n3. c",
            "-a\n-b\n-c",
            "- - -\n***\n- a\n- b",
            "**a**\n**b**\n**c**",
        ],
    );
}

/// Checks that the numbers of a list count from 1.
#[test]
fn numbered_lists() {
    let right = [
        "1. a\n2. b\n3. c",
        "Sure:\n\n1) a\n   more\n2) b\n3) c\nDone.",
    ];
    check(
        NumberedList(3),
        &right,
        &[
            "1. a\n2. b",
            "1. a\n1. b\n1. c",
            "2. a\n3. b\n4. c",
            "- a\n- b\n- c",
            "1.5 is a number\n2. b\n3. c",
            "1.\n2.\n3.",
        ],
    );
    check(
        NumberedList(1),
        &["1. It weighs 2.5 kg."],
        &["It weighs 1.5 kg.", "99999999999999999999. a"],
    );
}

/// Checks letter case beyond ASCII, and that text without letters has none.
#[test]
fn letter_case() {
    check(
        LowerCase,
        &["all small.", "größe: 3", "straße\n"],
        &["All small", "Ärger", "123", "aB"],
    );
    check(
        UpperCase,
        &["WET PAINT!", "ÄRGER 3"],
        &["Wet PAINT", "123", "STRAßE"],
    );
}

/// Checks JSON with and without a Markdown fence.
#[test]
fn json() {
    let right = [
        "{\"a\": 1, \"b\": null}",
        "```json\n{\"b\": [], \"a\": {}, \"c\": 2}\n```",
        "```\n{\"a\": \"ü\", \"b\": \"\\u00fc\"}\n```  \n",
    ];
    let wrong = [
        "{\"a\": 1}",
        "[{\"a\": 1, \"b\": 2}]",
        "{a: 1, b: 2}",
        "{\"a\": 1, \"b\": 2,}",
        "Here: {\"a\": 1, \"b\": 2}",
        "{\"x\": {\"a\": 1, \"b\": 2}}",
        "```json\n{\"a\": 1, \"b\": 2}",
        "{\"A\": 1, \"B\": 2}",
    ];
    check(JsonKeys(&["a", "b"]), &right, &wrong);
}

/// Checks beginnings and ends, around white space.
#[test]
fn beginnings_and_ends() {
    check(
        StartsWith("The moon"),
        &["The moon is far.", "\n The moon"],
        &["the moon is far.", "\"The moon\"", "Moon: The moon"],
    );
    check(
        EndsWith("The end."),
        &["A dog ran. The end.", "The end. \n"],
        &["The end", "The end. Really.", "A dog ran. the end."],
    );
}

/// Checks characters and words that must not occur.
#[test]
fn forbidden() {
    check(Without('e'), &["A cup", "Élan"], &["Egg", "cup and plate"]);
    check(Without(','), &["No; none."], &["Yes, one."]);
    check(
        WithoutWord("red"),
        &["A reddish fruit, covered"],
        &["Red!", "it is red.", "\"red\"", "red-brown"],
    );
}

/// Checks the bounds of the number of words, inclusive.
#[test]
fn word_counts() {
    check(
        MaxWords(3),
        &["Paris", "It is Paris.", " a\nb\tc "],
        &["It is in Paris", "a b c d"],
    );
    check(
        MinWords(3),
        &["It is Paris.", "a\nb\nc d"],
        &["It is", "well-known-word here"],
    );
}

/// Checks that keywords are whole words in any case.
#[test]
fn keywords() {
    let twice = Keyword {
        word: "song",
        times: 2,
    };
    check(
        twice,
        &["A song. SONG!", "“Song”, a *song*"],
        &["A song.", "Songs and songbirds song", "singsong song"],
    );
    check(
        Keyword {
            word: "high",
            times: 1,
        },
        &["High."],
        &["higher and highest"],
    );
}

/// Checks quotation of the whole answer.
#[test]
fn quotation() {
    check(
        Quoted,
        &["\"Learn.\"", "“Learn.”\n", "« Apprendre »"],
        &[
            "Learn.",
            "\"Learn.",
            "\"\"",
            "\"a\" and \"b\"",
            "'Learn.'",
            "Motto: \"Learn.\"",
            "\"",
        ],
    );
}

/// Checks titles in double angle brackets.
#[test]
fn titles() {
    check(
        Title,
        &["<<Sun>>\nIt shines.", "Poem: << Über >>"],
        &[
            "<Sun>",
            "<<>>",
            "<< >>",
            "<<Sun\n>>",
            "Sun",
            ">>Sun<<",
            "<<<>>>",
        ],
    );
}

/// Checks parts separated by asterisks.
#[test]
fn parts() {
    check(
        Sections(2),
        &["a\n***\nb", "a\n\n *** \n\nb\n"],
        &[
            "a",
            "a *** b",
            "a\n***",
            "***\na\n***\nb",
            "a\n***\nb\n***\nc",
            "a\n****\nb",
            "a\n---\nb",
        ],
    );
    check(
        Paragraphs(2),
        &["a\nb\n\nc", "a\n \n\n\nb\n\n"],
        &["a\nb", "a\n\nb\n\nc"],
    );
    check(Paragraphs(1), &["a", "a\nb"], &["a\n\nb"]);
}

/// Checks placeholders with something inside.
#[test]
fn placeholders() {
    check(
        Placeholders(2),
        &["[name], [date]", "[a][b][c]"],
        &["[name]", "[] []", "[a, b", "(name) (date)", "[name"],
    );
}

/// Checks answers of one word, with and without a period.
#[test]
fn one_of() {
    check(
        OneOf(&["yes", "no"]),
        &["yes", "No.", " YES\n"],
        &["Yes, it is.", "maybe", "yes..", "\"yes\"", "yes no"],
    );
}

/// Checks that there are enough kinds and instructions, each with an id of its own.
#[test]
fn instructions_are_many_and_distinct() {
    let instructions = format_instructions();
    let kinds: BTreeSet<_> = instructions.iter().map(|one| one.check.kind()).collect();
    let prompts: BTreeSet<_> = instructions.iter().map(|one| one.prompt).collect();
    let ids: BTreeSet<_> = instructions.iter().map(|one| &one.id).collect();
    assert!(kinds.len() >= 12 && instructions.len() >= 60, "{kinds:?}");
    assert_eq!(
        (prompts.len(), ids.len()),
        (instructions.len(), instructions.len())
    );
}
