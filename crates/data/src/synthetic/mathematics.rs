//! School mathematics problems: arithmetic, fractions, equations, word problems.

use super::problem::{Draw, Problem, gcd};
use super::random::Random;

pub const DRAWS: [Draw; 7] = [
    addition,
    subtraction,
    multiplication,
    division,
    fractions,
    equation,
    word_problem,
];

fn addition(random: &mut Random) -> Problem {
    let (a, b) = (random.between(11, 199), random.between(11, 199));
    let (low, high) = (a.min(b), a.max(b));
    let (tens, ones) = (b / 10 * 10, b % 10);
    Problem {
        fact: format!("add {low} {high}"),
        question: format!("What is {a} + {b}?"),
        statement: format!("The sum of {a} and {b} is"),
        steps: format!(
            "First {a} + {tens} = {}, then {} + {ones} = {}.",
            a + tens,
            a + tens,
            a + b
        ),
        answer: (a + b).to_string(),
    }
}

fn subtraction(random: &mut Random) -> Problem {
    let (b, difference) = (random.between(11, 99), random.between(5, 150));
    let a = b + difference;
    let (tens, ones) = (b / 10 * 10, b % 10);
    Problem {
        fact: format!("subtract {a} {b}"),
        question: format!("What is {a} - {b}?"),
        statement: format!("Taking {b} from {a} leaves"),
        steps: format!(
            "First {a} - {tens} = {}, then {} - {ones} = {difference}.",
            a - tens,
            a - tens
        ),
        answer: difference.to_string(),
    }
}

fn multiplication(random: &mut Random) -> Problem {
    let (a, b) = (random.between(11, 99), random.between(2, 12));
    let (tens, ones) = (a / 10 * 10, a % 10);
    Problem {
        fact: format!("multiply {} {}", a.min(b), a.max(b)),
        question: format!("What is {a} × {b}?"),
        statement: format!("The product of {a} and {b} is"),
        steps: format!(
            "Since {tens} × {b} = {} and {ones} × {b} = {}, add them: {} + {} = {}.",
            tens * b,
            ones * b,
            tens * b,
            ones * b,
            a * b
        ),
        answer: (a * b).to_string(),
    }
}

fn division(random: &mut Random) -> Problem {
    let (divisor, quotient, rest) = (
        random.between(3, 12),
        random.between(3, 40),
        random.below(3),
    );
    let dividend = divisor * quotient + rest;
    let answer = if rest == 0 {
        quotient.to_string()
    } else {
        format!("{quotient} remainder {rest}")
    };
    Problem {
        fact: format!("divide {dividend} {divisor}"),
        question: format!("What is {dividend} divided by {divisor}?"),
        statement: format!("Dividing {dividend} by {divisor} gives"),
        steps: format!(
            "We have {divisor} × {quotient} = {}, and {dividend} - {} = {rest}.",
            divisor * quotient,
            divisor * quotient
        ),
        answer,
    }
}

fn fractions(random: &mut Random) -> Problem {
    let (b, d) = (random.between(2, 9), random.between(2, 9));
    let (a, c) = (random.between(1, b - 1), random.between(1, d - 1));
    let (top, bottom) = (a * d + c * b, b * d);
    let common = gcd(top, bottom);
    let answer = match (top / common, bottom / common) {
        (top, 1) => top.to_string(),
        (top, bottom) => format!("{top}/{bottom}"),
    };
    let mut sides = [(a, b), (c, d)];
    sides.sort_unstable();
    Problem {
        fact: format!("fractions {sides:?}"),
        question: format!("What is {a}/{b} + {c}/{d}?"),
        statement: format!("As a fraction in lowest terms, {a}/{b} + {c}/{d} equals"),
        steps: format!(
            "Over the common denominator {bottom} the sum is {}/{bottom} + {}/{bottom} = {top}/{bottom}, and dividing by {common} gives {answer}.",
            a * d,
            c * b
        ),
        answer,
    }
}

fn equation(random: &mut Random) -> Problem {
    let (a, x, b) = (
        random.between(2, 12),
        random.between(-12, 12),
        random.between(1, 30),
    );
    let right = a * x + b;
    Problem {
        fact: format!("equation {a} {b} {right}"),
        question: format!("Solve {a}x + {b} = {right} for x."),
        statement: format!("If {a}x + {b} = {right}, then x ="),
        steps: format!(
            "Subtract {b} from both sides: {a}x = {}. Divide by {a}: x = {x}.",
            right - b
        ),
        answer: x.to_string(),
    }
}

fn word_problem(random: &mut Random) -> Problem {
    const NAMES: [&str; 10] = [
        "Ada", "Ben", "Chloe", "Dev", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas",
    ];
    const THINGS: [&str; 8] = [
        "apples", "pencils", "marbles", "stamps", "shells", "books", "cards", "buttons",
    ];
    let (name, thing) = (random.choose(&NAMES), random.choose(&THINGS));
    let (boxes, each, given) = (
        random.between(2, 12),
        random.between(5, 15),
        random.between(1, 9),
    );
    let (all, left) = (boxes * each, boxes * each - given);
    Problem {
        fact: format!("word {boxes} {each} {given}"),
        question: format!(
            "{name} has {boxes} boxes of {each} {thing} and gives {given} away. How many {thing} are left?"
        ),
        statement: format!(
            "From {boxes} boxes of {each} {thing}, after giving {given} away, {name} keeps"
        ),
        steps: format!(
            "The boxes hold {boxes} × {each} = {all} {thing}. Then {all} - {given} = {left}."
        ),
        answer: left.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::equations::{check_equations, whole_numbers};

    /// Checks each kind of problem by the numbers of its question alone: the answer, that every equation of the steps
    /// holds, and that the statement has the same numbers.
    #[test]
    fn answers_and_steps_are_right() {
        let mut random = Random::new(4, "test");
        for at in 0..700 {
            let problem = DRAWS[at % DRAWS.len()](&mut random);
            let numbers = whole_numbers(&problem.question);
            let expected = match (at % DRAWS.len(), &numbers[..]) {
                (0, [a, b]) => (a + b).to_string(),
                // The minus sign between two numbers.
                (1, [a, b]) => (a - b).to_string(),
                (2, [a, b]) => (a * b).to_string(),
                (3, [a, b]) if a % b == 0 => (a / b).to_string(),
                (3, [a, b]) => format!("{} remainder {}", a / b, a % b),
                (4, [a, b, c, d]) => {
                    let (top, bottom) = (a * d + c * b, b * d);
                    let most = (1..=bottom)
                        .rev()
                        .find(|by| top % by == 0 && bottom % by == 0)
                        .unwrap();
                    match bottom / most {
                        1 => (top / most).to_string(),
                        bottom => format!("{}/{bottom}", top / most),
                    }
                }
                (5, [a, b, right]) => {
                    assert!(problem.steps.contains(&format!("{a}x = {}.", right - b)));
                    ((right - b) / a).to_string()
                }
                (6, [boxes, each, given]) => (boxes * each - given).to_string(),
                other => panic!("{other:?}: {}", problem.question),
            };
            assert_eq!(problem.answer, expected, "{}", problem.question);
            let equations = [2, 2, 3, 2, 1, 0, 2][at % DRAWS.len()];
            assert_eq!(
                check_equations(&problem.steps),
                equations,
                "{}",
                problem.steps
            );
            let sorted = |text: &str| {
                let mut numbers = whole_numbers(text);
                numbers.sort_unstable();
                numbers
            };
            assert_eq!(sorted(&problem.statement), sorted(&problem.question));
        }
    }

    /// Checks that a division leaves each rest, and that a sum of fractions is sometimes whole.
    #[test]
    fn rests_and_whole_sums_are_drawn() {
        let mut random = Random::new(4, "test");
        let mut answers =
            |draw: Draw| -> Vec<String> { (0..200).map(|_| draw(&mut random).answer).collect() };
        let rests = answers(division);
        for rest in ["remainder 1", "remainder 2"] {
            assert!(rests.iter().any(|answer| answer.ends_with(rest)));
        }
        assert!(rests.iter().all(|answer| !answer.contains("remainder 0")));
        assert!(rests.iter().any(|answer| !answer.contains("remainder")));
        assert!(
            answers(fractions)
                .iter()
                .any(|answer| !answer.contains('/'))
        );
    }
}
