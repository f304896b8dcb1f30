use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Checks that the content is the one of its version. If this fails, the content has changed: raise `VERSION`, add a
/// line that says what changed, and set `SHA256`. (Facts of the synthetic corpus are part of the content.)
#[test]
fn a_change_of_content_raises_the_version() {
    let set = audit_set();
    assert_eq!(
        set,
        audit_set(),
        "generation depends on something else than the version"
    );
    assert_eq!(
        (set.version, set.sha256.as_str()),
        (VERSION, SHA256),
        "the content has changed: raise `VERSION`, say there what changed, and set `SHA256`"
    );
}

/// Checks the number and size of the documents: enough groups for a verdict, of natural length.
#[test]
fn documents_are_enough_and_of_natural_size() {
    let set = audit_set();
    assert!((300_000..600_000).contains(&set.bytes()), "{}", set.bytes());
    assert!((6..=8).contains(&set.domains.len()));
    for AuditDomain { name, documents } in &set.domains {
        assert!(documents.len() >= 40, "{name}");
        let lengths: Vec<usize> = documents.iter().map(String::len).collect();
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!((800..4000).contains(&mean), "{name}: mean {mean}");
        assert!(
            lengths.iter().all(|length| (350..6000).contains(length)),
            "{name}: {lengths:?}"
        );
        let distinct: BTreeSet<&String> = documents.iter().collect();
        assert_eq!(distinct.len(), documents.len(), "{name}");
    }
}

/// Checks that documents share few sequences of eight words, so that a domain can't be learned by heart from a few.
#[test]
fn documents_share_little() {
    for AuditDomain { name, documents } in audit_set().domains {
        let mut sequences: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
        for document in &documents {
            let words: Vec<&str> = document.split_whitespace().collect();
            for words in words.windows(8) {
                *sequences.entry(words.to_vec()).or_default() += 1;
            }
        }
        let all: usize = sequences.values().sum();
        let share = sequences.len() as f64 / all as f64;
        println!("{name}: {share:.3} of {all} sequences are distinct");
        assert!(share > 0.6, "{name}: {share}");
    }
}

/// Checks that no slot, choice or article of a grammar is left in the text.
#[test]
fn grammars_are_expanded() {
    for AuditDomain { name, documents } in audit_set().domains {
        for document in documents {
            let is_left = ["~ ", "<^", ":=", "..<", "\\n\\n"]
                .iter()
                .any(|mark| document.contains(mark));
            let is_slot = document.split('<').skip(1).any(|part| {
                part.split_once('>').is_some_and(|(inside, _)| {
                    inside.len() > 1
                        && inside
                            .chars()
                            .all(|sign| sign.is_ascii_lowercase() || "_.".contains(sign))
                })
            });
            assert!(
                !is_left && !is_slot && !document.contains("  \n"),
                "{name}: {document}"
            );
        }
    }
}

/// Checks that the choices are enough, have one right answer each, and favor no position.
#[test]
fn choices_are_balanced() {
    let task = audit_set().choices;
    assert!(task.items.len() >= 100 && !task.is_cloze());
    let mut positions = [0; 4];
    for item in &task.items {
        let distinct: BTreeSet<&String> = item.choices.iter().collect();
        assert_eq!((item.choices.len(), distinct.len()), (4, 4), "{item:?}");
        positions[item.answer] += 1;
    }
    let (least, most) = (
        positions.iter().min().unwrap(),
        positions.iter().max().unwrap(),
    );
    assert!(most - least <= 1, "{positions:?}");
    let contexts: BTreeSet<&String> = task.items.iter().map(|item| &item.context).collect();
    assert_eq!(contexts.len(), task.items.len());
}

/// Checks that questions are distinct and are none of the choices' questions.
#[test]
fn questions_are_not_those_of_the_choices() {
    let set = audit_set();
    let choices: BTreeSet<&String> = set.choices.items.iter().map(|item| &item.context).collect();
    let prompts: BTreeSet<&String> = set
        .questions
        .iter()
        .map(|question| &question.prompt)
        .collect();
    assert!(prompts.len() >= 50);
    assert_eq!(prompts.len(), set.questions.len());
    assert!(prompts.is_disjoint(&choices));
}
