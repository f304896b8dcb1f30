//! Tests of the chemistry problems.

use super::*;

/// Counts the atoms of each element on one side of an equation.
fn count(side: &str) -> std::collections::BTreeMap<char, i64> {
    let mut atoms = std::collections::BTreeMap::new();
    for term in side.split(" + ") {
        let (factor, formula) = match term.split_once(' ') {
            Some((factor, formula)) => (factor.parse().unwrap(), formula),
            None => (1, term),
        };
        let mut letters = formula.chars().peekable();
        while let Some(symbol) = letters.next() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            *atoms.entry(symbol).or_default() += factor * digits.parse().unwrap_or(1);
        }
    }
    atoms
}

/// Checks that every equation has the same number of atoms of each element on both sides.
#[test]
fn combustions_conserve_atoms() {
    let mut random = Random::new(1, "test");
    for _ in 0..200 {
        let answer = combustion(&mut random).answer;
        let (left, right) = answer.split_once(" → ").unwrap();
        assert_eq!(count(left), count(right), "{answer}");
    }
}

/// Checks the problems about compounds by their formulas alone: an independent count of atoms and sum of weights. Every
/// equation of the steps holds.
#[test]
fn answers_follow_from_the_formulas() {
    use crate::synthetic::equations::check_equations;
    let mut random = Random::new(4, "test");
    // Elements with their counts, and the number of atoms and hundredths of g/mol.
    let contents = |formula: &str| {
        let begins: Vec<usize> = formula
            .char_indices()
            .filter_map(|(at, letter)| letter.is_ascii_uppercase().then_some(at))
            .chain([formula.len()])
            .collect();
        let parts = begins.windows(2).map(|ends| {
            let part = &formula[ends[0]..ends[1]];
            let symbol = part.trim_end_matches(|sign: char| sign.is_ascii_digit());
            (
                elements::by_symbol(symbol),
                part[symbol.len()..].parse().unwrap_or(1),
            )
        });
        parts.fold((0, 0), |(atoms, mass), (element, count): (_, i64)| {
            (atoms + count, mass + element.weight * count)
        })
    };
    let hundredths = |text: &str| {
        (text.split(' ').next().unwrap().parse::<f64>().unwrap() * 100.0).round() as i64
    };
    for _ in 0..300 {
        let problem = molar_mass(&mut random);
        let formula = problem.fact.rsplit(' ').next().unwrap();
        assert_eq!(
            hundredths(&problem.answer),
            contents(formula).1,
            "{formula}"
        );
        assert!(problem.answer.ends_with(" g/mol") && check_equations(&problem.steps) >= 2);
        let problem = atoms(&mut random);
        let words: Vec<&str> = problem.fact.split(' ').collect();
        let times: i64 = words[2].parse().unwrap();
        assert_eq!(problem.answer, (times * contents(words[1]).0).to_string());
        assert_eq!(check_equations(&problem.steps), 1);
        let problem = amount(&mut random);
        let words: Vec<&str> = problem.fact.split(' ').collect();
        let moles: i64 = words[2].parse().unwrap();
        assert_eq!(hundredths(&problem.answer), moles * contents(words[1]).1);
        assert!(problem.answer.ends_with(" g") && check_equations(&problem.steps) == 1);
        let problem = neutrons(&mut random);
        let words: Vec<&str> = problem.fact.split(' ').collect();
        let rest = words[2].parse::<i64>().unwrap() - elements::by_symbol(words[1]).number;
        assert_eq!(problem.answer, rest.to_string());
        assert_eq!(check_equations(&problem.steps), 1);
    }
}

/// Checks that ions balance their charges in every salt, in the smallest whole numbers, and the formulas of organic
/// compounds: CₙH₂ₙ₊₂, CₙH₂ₙ₊₂O and CₙH₂ₙO₂.
#[test]
fn formulas_are_those_of_their_kinds() {
    let mut random = Random::new(4, "test");
    for _ in 0..300 {
        let salt = binary(&mut random);
        let [(metal, positives), (other, negatives)] = salt.atoms[..] else {
            panic!("{}", salt.name)
        };
        let positive = CATIONS.iter().find(|ion| ion.0 == metal.symbol).unwrap().1;
        let negative = ANIONS.iter().find(|ion| ion.0 == other.symbol).unwrap().2;
        assert_eq!(positive * positives, negative * negatives, "{}", salt.name);
        assert_eq!(gcd(positives, negatives), 1);
        let organic = organic(&mut random);
        let numbers: Vec<i64> = organic.atoms.iter().map(|(_, count)| *count).collect();
        let n = numbers[0];
        let expected = match organic.name.split(' ').nth(1).unwrap() {
            "alkane" => vec![n, 2 * n + 2],
            "alcohol" => vec![n, 2 * n + 2, 1],
            "carboxylic" => vec![n, 2 * n, 2],
            other => panic!("{other}"),
        };
        assert_eq!(numbers, expected);
    }
}

/// Checks that equations have the smallest whole numbers, and that the steps give the atoms of both sides.
#[test]
fn combustions_are_in_lowest_terms() {
    let mut random = Random::new(1, "test");
    for _ in 0..200 {
        let problem = combustion(&mut random);
        let (left, _) = problem.answer.split_once(" → ").unwrap();
        let factors = problem
            .answer
            .split([' ', '+', '→'])
            .filter_map(|word| word.parse::<i64>().ok());
        let common = match problem
            .answer
            .split([' ', '+', '→'])
            .filter(|word| !word.is_empty())
            .count()
        {
            8 => factors.fold(0, gcd),
            _ => 1,
        };
        assert_eq!(common, 1, "{}", problem.answer);
        let atoms = count(left);
        let steps = format!(
            "Carbon: {} on each side. Hydrogen: {} on each side. Oxygen: {} on each side.",
            atoms[&'C'], atoms[&'H'], atoms[&'O']
        );
        assert_eq!(problem.steps, steps);
    }
}

/// Checks the formulas and molar masses of well-known compounds.
#[test]
fn known_masses_are_right() {
    let water = Compound {
        name: "water".into(),
        atoms: vec![(elements::by_symbol("H"), 2), (elements::by_symbol("O"), 1)],
    };
    assert_eq!(
        (water.formula().as_str(), decimal(water.mass()).as_str()),
        ("H2O", "18.02")
    );
    let salt = Compound {
        name: "salt".into(),
        atoms: vec![
            (elements::by_symbol("Na"), 1),
            (elements::by_symbol("Cl"), 1),
        ],
    };
    assert_eq!(
        (salt.formula().as_str(), decimal(salt.mass()).as_str()),
        ("NaCl", "58.44")
    );
}
