//! Facts that the choices and questions ask for, from the tables of the grammars.

use super::asked::Asked;
use super::shuffle;
use crate::audit_set::domains;
use crate::synthetic::random::Random;

/// Table of a grammar whose rows are asked for in one phrasing.
struct Source {
    /// Question with the place `{}` for the subject.
    question: &'static str,
    /// Domain and table.
    table: [&'static str; 2],
    /// Column of the subject.
    subject: usize,
    /// Column of the answer.
    answer: usize,
    /// Column of the kind: wrong answers are of the same kind. `None` if all rows are of one kind.
    kind: Option<usize>,
    /// Number of items with choices.
    choices: usize,
    /// Number of further rows, which are asked as questions with exact answers.
    questions: usize,
}

/// Source without a kind and without questions.
const PLAIN: Source = Source {
    question: "",
    table: ["", ""],
    subject: 0,
    answer: 1,
    kind: None,
    choices: 8,
    questions: 0,
};

const SOURCES: [Source; 9] = [
    Source {
        question: "What is the capital of {}?",
        table: ["encyclopedia", "country"],
        kind: Some(2),
        choices: 18,
        questions: 14,
        ..PLAIN
    },
    Source {
        question: "On which continent is {}?",
        table: ["encyclopedia", "country"],
        answer: 2,
        ..PLAIN
    },
    Source {
        question: "What is the currency of {}?",
        table: ["encyclopedia", "country"],
        answer: 4,
        ..PLAIN
    },
    Source {
        question: "What kind of animal is the {}?",
        table: ["encyclopedia", "animal"],
        choices: 10,
        ..PLAIN
    },
    Source {
        question: "What are the young of the {} called?",
        table: ["encyclopedia", "animal"],
        answer: 6,
        ..PLAIN
    },
    Source {
        question: "What is the chemical symbol of {}?",
        table: ["science", "element"],
        choices: 14,
        questions: 20,
        ..PLAIN
    },
    Source {
        question: "What is the unit of {}?",
        table: ["science", "unit"],
        subject: 1,
        answer: 0,
        questions: 10,
        ..PLAIN
    },
    Source {
        question: "Which instrument measures {}?",
        table: ["science", "instrument"],
        subject: 1,
        answer: 0,
        ..PLAIN
    },
    Source {
        question: "Which scientist is known for {}?",
        table: ["science", "discovery"],
        ..PLAIN
    },
];

/// Facts to ask for.
#[derive(Default)]
pub struct Facts {
    /// Facts for items with choices.
    pub choices: Vec<Asked>,
    /// Facts for questions with exact answers.
    pub questions: Vec<Asked>,
}

/// Draws facts from all tables.
pub fn facts(random: &mut Random) -> Facts {
    let mut facts = Facts::default();
    for source in SOURCES {
        let mut asked = asked(&source, random).into_iter();
        facts.choices.extend(asked.by_ref().take(source.choices));
        facts.questions.extend(asked.take(source.questions));
    }
    facts
}

/// Asks for all rows of a table with enough wrong answers, in random order.
fn asked(source: &Source, random: &mut Random) -> Vec<Asked> {
    let grammar = domains::grammar(source.table[0]);
    let mut rows = grammar.table(source.table[1]);
    // Larvae are the young of many animals, also of those whose young have another name.
    rows.retain(|row| row[source.answer] != "larvae");
    shuffle(&mut rows, random);
    let kind = |row: &[&str]| source.kind.map_or("", |kind| row[kind]).to_owned();
    let asked = rows.iter().map(|row| Asked {
        question: source.question.replace("{}", row[source.subject]),
        answer: row[source.answer].to_owned(),
        others: {
            let others = rows.iter().filter(|other| kind(other) == kind(row));
            others
                .map(|other| other[source.answer].to_owned())
                .collect()
        },
    });
    asked.filter(Asked::has_wrong_answers).collect()
}
