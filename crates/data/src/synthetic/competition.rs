//! The niche, competition mathematics: multi-step problems of number theory, combinatorics and algebra.

use super::problem::{Draw, Problem, gcd};
use super::random::Random;

pub const DRAWS: [Draw; 8] = [
    euclid, last_digit, divisors, remainder, handshakes, paths, vieta, telescope,
];

fn euclid(random: &mut Random) -> Problem {
    let (common, a, b) = (
        random.between(2, 30),
        random.between(3, 30),
        random.between(2, 30),
    );
    let (mut high, mut low) = (common * a.max(b), common * a.min(b));
    let (first, second) = (high, low);
    let mut lines = Vec::new();
    while low > 0 {
        lines.push(format!(
            "${high} = {} \\cdot {low} + {}$",
            high / low,
            high % low
        ));
        (high, low) = (low, high % low);
    }
    Problem {
        fact: format!("gcd {first} {second}"),
        question: format!("Find the greatest common divisor of ${first}$ and ${second}$."),
        statement: format!("$\\gcd({first}, {second}) =$"),
        steps: format!(
            "By the Euclidean algorithm {}. The last nonzero remainder is ${high}$.",
            lines.join(", ")
        ),
        answer: high.to_string(),
    }
}

fn last_digit(random: &mut Random) -> Problem {
    let (base, exponent) = (random.between(2, 99), random.between(5, 200));
    let digit = base % 10;
    let mut cycle = vec![digit];
    while let Some(next) =
        Some(cycle[cycle.len() - 1] * digit % 10).filter(|next| *next != cycle[0])
    {
        cycle.push(next);
    }
    let length = cycle.len() as i64;
    let place = (exponent - 1) % length;
    let listed: Vec<String> = cycle.iter().map(ToString::to_string).collect();
    Problem {
        fact: format!("last digit {base} {exponent}"),
        question: format!("What is the last digit of ${base}^{{{exponent}}}$?"),
        statement: format!("The last digit of ${base}^{{{exponent}}}$ is"),
        steps: format!(
            "Modulo $10$ the powers of ${digit}$ repeat with period ${length}$: ${}$. Since ${exponent} \\equiv {} \\pmod{{{length}}}$, we take entry ${}$ of the cycle.",
            listed.join(", "),
            exponent % length,
            place + 1
        ),
        answer: cycle[place as usize].to_string(),
    }
}

fn divisors(random: &mut Random) -> Problem {
    let (a, b, c) = (
        random.between(1, 7),
        random.between(0, 5),
        random.between(0, 3),
    );
    let n = 2i64.pow(a as u32) * 3i64.pow(b as u32) * 5i64.pow(c as u32);
    Problem {
        fact: format!("divisors {n}"),
        question: format!("How many positive divisors does ${n}$ have?"),
        statement: format!("The number of positive divisors of ${n}$ is"),
        steps: format!(
            "Factor ${n} = 2^{a} \\cdot 3^{b} \\cdot 5^{c}$, so the count is $({a}+1)({b}+1)({c}+1) = {}$.",
            (a + 1) * (b + 1) * (c + 1)
        ),
        answer: ((a + 1) * (b + 1) * (c + 1)).to_string(),
    }
}

fn remainder(random: &mut Random) -> Problem {
    const PAIRS: [(i64, i64); 8] = [
        (3, 5),
        (3, 7),
        (4, 7),
        (5, 7),
        (5, 8),
        (7, 9),
        (4, 9),
        (5, 11),
    ];
    let (m, n) = *random.choose(&PAIRS);
    let x = random.below(m * n);
    let tried: Vec<String> = (0..m)
        .map(|k| x % n + k * n)
        .take_while(|value| *value <= x)
        .map(|value| value.to_string())
        .collect();
    Problem {
        fact: format!("remainder {m} {n} {x}"),
        question: format!(
            "Find the least nonnegative $x$ with $x \\equiv {} \\pmod{{{m}}}$ and $x \\equiv {} \\pmod{{{n}}}$.",
            x % m,
            x % n
        ),
        statement: format!(
            "The least nonnegative $x$ that is ${}$ modulo ${m}$ and ${}$ modulo ${n}$ is",
            x % m,
            x % n
        ),
        steps: format!(
            "Numbers that are ${}$ modulo ${n}$ run ${}$, and the last of these is ${}$ modulo ${m}$.",
            x % n,
            tried.join(", "),
            x % m
        ),
        answer: x.to_string(),
    }
}

fn handshakes(random: &mut Random) -> Problem {
    let (n, k) = (random.between(4, 40), random.between(2, 3));
    let (count, formula) = if k == 2 {
        (
            n * (n - 1) / 2,
            format!("\\frac{{{n} \\cdot {}}}{{2}}", n - 1),
        )
    } else {
        (
            n * (n - 1) * (n - 2) / 6,
            format!("\\frac{{{n} \\cdot {} \\cdot {}}}{{6}}", n - 1, n - 2),
        )
    };
    Problem {
        fact: format!("choose {n} {k}"),
        question: format!("In how many ways can a team of ${k}$ be chosen from ${n}$ contestants?"),
        statement: format!("$\\binom{{{n}}}{{{k}}} =$"),
        steps: format!(
            "Order does not matter, so the count is $\\binom{{{n}}}{{{k}}} = {formula} = {count}$."
        ),
        answer: count.to_string(),
    }
}

fn paths(random: &mut Random) -> Problem {
    let (stars, boxes) = (random.between(2, 20), random.between(2, 3));
    let (count, formula) = if boxes == 2 {
        (stars + 1, format!("\\binom{{{}}}{{1}}", stars + 1))
    } else {
        (
            (stars + 2) * (stars + 1) / 2,
            format!("\\binom{{{}}}{{2}}", stars + 2),
        )
    };
    Problem {
        fact: format!("stars {stars} {boxes}"),
        question: format!(
            "In how many ways can ${stars}$ identical balls be put into ${boxes}$ distinct boxes?"
        ),
        statement: format!(
            "The ways to put ${stars}$ identical balls into ${boxes}$ distinct boxes number"
        ),
        steps: format!(
            "By stars and bars, place ${}$ bars among ${stars}$ stars: ${formula} = {count}$.",
            boxes - 1
        ),
        answer: count.to_string(),
    }
}

fn vieta(random: &mut Random) -> Problem {
    let (r, s) = (random.between(1, 15), random.between(1, 15));
    let (sum, product) = (r + s, r * s);
    let squares = r * r + s * s;
    Problem {
        fact: format!("vieta {sum} {product}"),
        question: format!(
            "Let $r$ and $s$ be the roots of $x^2 - {sum}x + {product} = 0$. Compute $r^2 + s^2$."
        ),
        statement: format!("For the roots of $x^2 - {sum}x + {product} = 0$ the sum of squares is"),
        steps: format!(
            "By Vieta $r + s = {sum}$ and $rs = {product}$. Then $r^2 + s^2 = (r+s)^2 - 2rs = {} - {} = {squares}$.",
            sum * sum,
            2 * product
        ),
        answer: squares.to_string(),
    }
}

fn telescope(random: &mut Random) -> Problem {
    let (from, terms) = (random.between(1, 12), random.between(2, 30));
    let to = from + terms;
    let common = gcd(terms, from * to);
    Problem {
        fact: format!("telescope {from} {to}"),
        question: format!(
            "Evaluate $\\sum_{{k={from}}}^{{{}}} \\frac{{1}}{{k(k+1)}}$.",
            to - 1
        ),
        statement: format!("$\\frac{{1}}{{{from}}} - \\frac{{1}}{{{to}}} =$"),
        steps: format!(
            "Since $\\frac{{1}}{{k(k+1)}} = \\frac{{1}}{{k}} - \\frac{{1}}{{k+1}}$, the sum telescopes to $\\frac{{1}}{{{from}}} - \\frac{{1}}{{{to}}} = \\frac{{{terms}}}{{{}}}$.",
            from * to
        ),
        answer: format!("{}/{}", terms / common, from * to / common),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the answers against brute force.
    #[test]
    fn answers_are_right() {
        let mut random = Random::new(2, "test");
        for _ in 0..300 {
            let numbers = |problem: &Problem| -> Vec<i64> {
                problem
                    .fact
                    .split(' ')
                    .filter_map(|word| word.parse().ok())
                    .collect()
            };
            let problem = last_digit(&mut random);
            let [base, exponent] = numbers(&problem)[..] else {
                panic!()
            };
            let digit = (0..exponent).fold(1, |power, _| power * base % 10);
            assert_eq!(problem.answer, digit.to_string(), "{}", problem.question);

            let problem = divisors(&mut random);
            let [n] = numbers(&problem)[..] else { panic!() };
            if n < 100_000 {
                assert_eq!(
                    problem.answer,
                    (1..=n).filter(|d| n % d == 0).count().to_string()
                );
            }

            let problem = euclid(&mut random);
            let [a, b] = numbers(&problem)[..] else {
                panic!()
            };
            let greatest = (1..=b.max(1))
                .filter(|d| a % d == 0 && b % d == 0)
                .max()
                .unwrap();
            assert_eq!(problem.answer, greatest.to_string());

            let problem = vieta(&mut random);
            let [sum, product] = numbers(&problem)[..] else {
                panic!()
            };
            assert!((1..sum).any(|r| r * (sum - r) == product
                && problem.answer == (r * r + (sum - r) * (sum - r)).to_string()));

            let problem = remainder(&mut random);
            let [m, n, x] = numbers(&problem)[..] else {
                panic!()
            };
            let least = (0..).find(|y| y % m == x % m && y % n == x % n).unwrap();
            assert_eq!(problem.answer, least.to_string(), "{}", problem.question);
            let rests = format!(
                "$x \\equiv {} \\pmod{{{m}}}$ and $x \\equiv {} \\pmod{{{n}}}$",
                x % m,
                x % n
            );
            assert!(problem.question.contains(&rests), "{}", problem.question);

            let problem = handshakes(&mut random);
            let [n, k] = numbers(&problem)[..] else {
                panic!()
            };
            let teams = (0i64..n).flat_map(|a| (0..a).map(move |b| if k == 2 { 1 } else { b }));
            assert_eq!(
                problem.answer,
                teams.sum::<i64>().to_string(),
                "{}",
                problem.question
            );

            let problem = paths(&mut random);
            let [balls, boxes] = numbers(&problem)[..] else {
                panic!()
            };
            let first = (0..=balls).map(|first| if boxes == 2 { 1 } else { balls - first + 1 });
            assert_eq!(
                problem.answer,
                first.sum::<i64>().to_string(),
                "{}",
                problem.question
            );
            let top = balls + boxes - 1;
            assert!(
                problem
                    .steps
                    .contains(&format!("\\binom{{{top}}}{{{}}} =", boxes - 1)),
                "{}",
                problem.steps
            );

            let problem = telescope(&mut random);
            let [from, to] = numbers(&problem)[..] else {
                panic!()
            };
            let sum: f64 = (from..to).map(|k| 1.0 / (k * (k + 1)) as f64).sum();
            let (top, bottom) = problem.answer.split_once('/').unwrap();
            let (top, bottom): (i64, i64) = (top.parse().unwrap(), bottom.parse().unwrap());
            assert!((sum - top as f64 / bottom as f64).abs() < 1e-9 && gcd(top, bottom) == 1);
            assert!(
                problem
                    .question
                    .contains(&format!("\\sum_{{k={from}}}^{{{}}}", to - 1))
            );
        }
    }
}
