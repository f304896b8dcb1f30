//! Facts that the audit's multiple-choice items and questions are about, taken from the tables of the grammars.

use super::fact_question::FactQuestion;
use crate::audit_set::domains;
use crate::synthetic::random::Random;

/// Table of a grammar whose rows become questions, all phrased in the same way.
struct Source {
    /// Phrasing of the question; `{}` stands for the row's subject.
    question: &'static str,
    /// Name of the domain whose grammar has the table, and name of the table.
    table: [&'static str; 2],
    /// Index of the column with the subject, which the question names.
    subject: usize,
    /// Index of the column with the right answer.
    answer: usize,
    /// Index of the column with the row's kind: wrong answers come from rows of the same kind. `None` if all rows are
    /// of one kind.
    kind: Option<usize>,
    /// Number of rows that become multiple-choice items.
    choices: usize,
    /// Number of further rows that become questions with exact answers.
    questions: usize,
}

/// Default values of a source: no column of kinds, and no questions with exact answers.
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

/// Facts of all tables, by their use in the audit.
#[derive(Default)]
pub struct Facts {
    /// Facts for multiple-choice items.
    pub choices: Vec<FactQuestion>,
    /// Facts for questions with exact answers.
    pub questions: Vec<FactQuestion>,
}

/// Draws the facts from all tables.
pub fn facts(random: &mut Random) -> Facts {
    let mut facts = Facts::default();
    for source in SOURCES {
        let mut asked = asked(&source, random).into_iter();
        facts.choices.extend(asked.by_ref().take(source.choices));
        facts.questions.extend(asked.take(source.questions));
    }
    facts
}

/// Makes a fact of every row of a table that has enough wrong answers, in random order.
fn asked(source: &Source, random: &mut Random) -> Vec<FactQuestion> {
    let grammar = domains::grammar(source.table[0]);
    let mut rows = grammar.table(source.table[1]);
    // Larvae are the young of many animals, also of those whose young have another name.
    rows.retain(|row| row[source.answer] != "larvae");
    random.shuffle(&mut rows);
    let kind = |row: &[&str]| source.kind.map_or("", |kind| row[kind]).to_owned();
    let asked = rows.iter().map(|row| FactQuestion {
        question: source.question.replace("{}", row[source.subject]),
        answer: row[source.answer].to_owned(),
        others: {
            let others = rows.iter().filter(|other| kind(other) == kind(row));
            others
                .map(|other| other[source.answer].to_owned())
                .collect()
        },
    });
    asked.filter(FactQuestion::has_wrong_answers).collect()
}
