//! Multiple-choice items and questions with exact answers.

use std::path::PathBuf;

use super::domains::SEED;
use crate::synthetic::problem::prompt;
use crate::synthetic::random::Random;
use crate::{Question, Task, TaskItem};

mod fact_question;
mod facts;
mod sense;

use fact_question::{CHOICES, FactQuestion};

/// Returns the multiple-choice items of the audit, as a task, and its questions with exact answers.
pub fn items() -> (Task, Vec<Question>) {
    let mut random = Random::new(SEED, "choices");
    let facts = facts::facts(&mut random);
    let exact = facts.questions.iter();
    let mut questions: Vec<Question> = exact
        .map(|asked| question(&asked.question, &asked.answer))
        .collect();
    let mut chosen = facts.choices;
    chosen.extend(arithmetic(&mut random));
    chosen.extend(sense::items());
    questions.extend(sums(&mut random));
    let mut positions: Vec<usize> = (0..chosen.len()).map(|at| at % CHOICES).collect();
    random.shuffle(&mut positions);
    let items = (1..).zip(chosen).zip(positions);
    let items = items.map(|((line, asked), position)| item(line, asked, position, &mut random));
    let task = Task {
        name: "choices".to_owned(),
        path: PathBuf::from("audit-set/choices"),
        items: items.collect(),
    };
    (task, questions)
}

fn question(question: &str, answer: &str) -> Question {
    Question {
        prompt: prompt(question),
        answer: format!(" {answer}"),
        group: None,
    }
}

fn item(line: u64, asked: FactQuestion, position: usize, random: &mut Random) -> TaskItem {
    let mut choices: Vec<String> = Vec::new();
    let mut others = asked.others;
    random.shuffle(&mut others);
    for other in others {
        if other != asked.answer && !choices.contains(&other) && choices.len() + 1 < CHOICES {
            choices.push(other);
        }
    }
    choices.insert(position.min(choices.len()), asked.answer);
    TaskItem {
        line,
        context: prompt(&asked.question),
        choices,
        answer: position,
        delimiter: " ".to_owned(),
    }
}

/// Makes multiple-choice items of arithmetic; the wrong answers are close to the right one.
fn arithmetic(random: &mut Random) -> Vec<FactQuestion> {
    let mut asked = Vec::new();
    for number in 0..16 {
        // The first number grows, so that no problem comes twice.
        let (a, b) = (6 + 2 * number + random.below(2), random.between(4, 12));
        let (question, result) = match number % 4 {
            0 => (format!("What is {a} + {}?", b * 7), a + b * 7),
            1 => (format!("What is {} - {a}?", a + b * 6), b * 6),
            2 => (format!("What is {a} × {b}?"), a * b),
            _ => (format!("What is {} ÷ {b}?", a * b), a),
        };
        let others = [result + 1, result - 2, result + 10, result - 1, result + 3];
        asked.push(FactQuestion {
            question,
            answer: result.to_string(),
            others: others
                .iter()
                .filter(|other| **other > 0)
                .map(i64::to_string)
                .collect(),
        });
    }
    asked
}

/// Makes questions of arithmetic with exact answers.
fn sums(random: &mut Random) -> Vec<Question> {
    let sum = |number: i64| {
        let (a, b) = (12 + 4 * number + random.below(4), random.between(11, 49));
        question(&format!("What is {a} + {b}?"), &(a + b).to_string())
    };
    (0..16).map(sum).collect()
}
