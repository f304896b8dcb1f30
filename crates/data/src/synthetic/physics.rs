//! School physics problems: motion, forces, energy, circuits, units. The numbers are chosen so that answers are
//! exact.

use super::problem::{Draw, Problem, decimal};
use super::random::Random;

pub const DRAWS: [Draw; 8] = [
    speed,
    acceleration,
    force,
    kinetic_energy,
    potential_energy,
    ohm,
    power,
    units,
];

fn speed(random: &mut Random) -> Problem {
    const MOVERS: [&str; 6] = [
        "A car",
        "A train",
        "A cyclist",
        "A runner",
        "A boat",
        "A bus",
    ];
    let (mover, v, t) = (
        random.choose(&MOVERS),
        random.between(2, 45),
        random.between(2, 60),
    );
    Problem {
        fact: format!("distance {v} {t}"),
        question: format!("{mover} moves at {v} m/s for {t} s. How far does it go?"),
        statement: format!("Moving at a steady {v} m/s for {t} s covers"),
        steps: format!(
            "Distance is speed times time: s = v t = {v} m/s × {t} s = {} m.",
            v * t
        ),
        answer: format!("{} m", v * t),
    }
}

fn acceleration(random: &mut Random) -> Problem {
    let (a, t, v0) = (
        random.between(1, 12),
        random.between(2, 20),
        random.between(0, 25),
    );
    let v = v0 + a * t;
    Problem {
        fact: format!("velocity {v0} {a} {t}"),
        question: format!(
            "A body starts at {v0} m/s and accelerates at {a} m/s² for {t} s. What is its final speed?"
        ),
        statement: format!(
            "Starting at {v0} m/s and accelerating at {a} m/s² for {t} s, a body reaches"
        ),
        steps: format!(
            "The speed grows by a t = {a} × {t} = {} m/s, so v = {v0} + {} = {v} m/s.",
            a * t,
            a * t
        ),
        answer: format!("{v} m/s"),
    }
}

fn force(random: &mut Random) -> Problem {
    let (m, a) = (random.between(2, 80), random.between(1, 15));
    Problem {
        fact: format!("force {m} {a}"),
        question: format!("What force gives a mass of {m} kg an acceleration of {a} m/s²?"),
        statement: format!("To accelerate {m} kg at {a} m/s² takes a force of"),
        steps: format!(
            "By Newton's second law F = m a = {m} kg × {a} m/s² = {} N.",
            m * a
        ),
        answer: format!("{} N", m * a),
    }
}

fn kinetic_energy(random: &mut Random) -> Problem {
    let (m, v) = (2 * random.between(1, 40), random.between(2, 20));
    Problem {
        fact: format!("kinetic {m} {v}"),
        question: format!("What is the kinetic energy of {m} kg moving at {v} m/s?"),
        statement: format!("A mass of {m} kg moving at {v} m/s has a kinetic energy of"),
        steps: format!("E = m v² / 2 = {m} × {} / 2 = {} J.", v * v, m * v * v / 2),
        answer: format!("{} J", m * v * v / 2),
    }
}

fn potential_energy(random: &mut Random) -> Problem {
    let (m, h) = (random.between(1, 60), random.between(2, 50));
    Problem {
        fact: format!("potential {m} {h}"),
        question: format!(
            "How much energy does it take to lift {m} kg by {h} m, with g = 10 m/s²?"
        ),
        statement: format!("With g = 10 m/s², lifting {m} kg by {h} m takes"),
        steps: format!("E = m g h = {m} × 10 × {h} = {} J.", m * 10 * h),
        answer: format!("{} J", m * 10 * h),
    }
}

fn ohm(random: &mut Random) -> Problem {
    let (r, i) = (random.between(2, 90), random.between(1, 15));
    Problem {
        fact: format!("ohm {r} {i}"),
        question: format!(
            "A current of {i} A flows through a resistor of {r} Ω. What is the voltage across it?"
        ),
        statement: format!("Across a resistor of {r} Ω that carries {i} A stands a voltage of"),
        steps: format!("By Ohm's law U = R I = {r} Ω × {i} A = {} V.", r * i),
        answer: format!("{} V", r * i),
    }
}

fn power(random: &mut Random) -> Problem {
    let (u, i, t) = (
        random.between(2, 24),
        random.between(1, 12),
        random.between(2, 30),
    );
    Problem {
        fact: format!("electric work {u} {i} {t}"),
        question: format!("A lamp draws {i} A at {u} V for {t} s. How much energy does it use?"),
        statement: format!("At {u} V and {i} A, in {t} s a lamp uses"),
        steps: format!(
            "Its power is P = U I = {u} × {i} = {} W, so E = P t = {} × {t} = {} J.",
            u * i,
            u * i,
            u * i * t
        ),
        answer: format!("{} J", u * i * t),
    }
}

fn units(random: &mut Random) -> Problem {
    const PAIRS: [(&str, &str, i64); 6] = [
        ("km", "m", 1000),
        ("m", "cm", 100),
        ("kg", "g", 1000),
        ("h", "min", 60),
        ("min", "s", 60),
        ("kJ", "J", 1000),
    ];
    let (large, small, factor) = *random.choose(&PAIRS);
    // A multiple of a quarter is a whole number in every smaller unit of the list.
    let quarters = random.between(2, 160);
    let amount = decimal(quarters * 25);
    Problem {
        fact: format!("units {large} {quarters}"),
        question: format!("How many {small} are {amount} {large}?"),
        statement: format!("In {small}, {amount} {large} are"),
        steps: format!(
            "One {large} is {factor} {small}, so {amount} × {factor} = {}.",
            quarters * factor / 4
        ),
        answer: format!("{} {small}", quarters * factor / 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::equations::{check_equations, whole_numbers};

    /// Checks each kind of problem by the numbers of its question alone: the answer with its unit, and that every
    /// equation of the steps holds.
    #[test]
    fn answers_and_steps_are_right() {
        let mut random = Random::new(4, "test");
        for at in 0..800 {
            let problem = DRAWS[at % DRAWS.len()](&mut random);
            let question = &problem.question;
            let expected = match (at % DRAWS.len(), &whole_numbers(question)[..]) {
                (0, [v, t]) => format!("{} m", v * t),
                (1, [v, a, t]) => format!("{} m/s", v + a * t),
                (2, [m, a]) => format!("{} N", m * a),
                (3, [m, v]) => format!("{} J", m * v * v / 2),
                (4, [m, h, 10]) => format!("{} J", m * h * 10),
                (5, [i, r]) => format!("{} V", r * i),
                (6, [i, u, t]) => format!("{} J", u * i * t),
                (7, _) => in_smaller_unit(question),
                other => panic!("{other:?}: {question}"),
            };
            assert_eq!(problem.answer, expected, "{question}");
            assert_eq!(
                check_equations(&problem.steps),
                [1, 2, 1, 1, 1, 1, 2, 1][at % DRAWS.len()],
                "{}",
                problem.steps
            );
        }
    }

    /// Answers "How many SMALL are AMOUNT LARGE?".
    fn in_smaller_unit(question: &str) -> String {
        let words: Vec<&str> = question.trim_end_matches('?').split(' ').collect();
        let (small, amount, large) = (words[2], words[4].parse::<f64>().unwrap(), words[5]);
        let factor = match (large, small) {
            ("km", "m") | ("kg", "g") | ("kJ", "J") => 1000.0,
            ("m", "cm") => 100.0,
            ("h", "min") | ("min", "s") => 60.0,
            other => panic!("{other:?}"),
        };
        format!("{} {small}", amount * factor)
    }
}
