//! Chemistry problems: formulas and names, molar masses, balanced equations, atoms.

use super::elements::{self, Element};
use super::problem::{Draw, Problem, decimal, gcd};
use super::random::Random;

pub const DRAWS: [Draw; 6] = [molar_mass, atoms, combustion, salt, amount, neutrons];

/// Metals and the charges of their ions.
const CATIONS: [(&str, i64); 14] = [
    ("Li", 1),
    ("Na", 1),
    ("K", 1),
    ("Rb", 1),
    ("Cs", 1),
    ("Ag", 1),
    ("Mg", 2),
    ("Ca", 2),
    ("Sr", 2),
    ("Ba", 2),
    ("Zn", 2),
    ("Al", 3),
    ("Ga", 3),
    ("Sc", 3),
];
/// Non-metals with the names and charges of their ions.
const ANIONS: [(&str, &str, i64); 8] = [
    ("F", "fluoride", 1),
    ("Cl", "chloride", 1),
    ("Br", "bromide", 1),
    ("I", "iodide", 1),
    ("O", "oxide", 2),
    ("S", "sulfide", 2),
    ("Se", "selenide", 2),
    ("N", "nitride", 3),
];

/// A compound: its elements and the number of atoms of each.
struct Compound {
    name: String,
    atoms: Vec<(&'static Element, i64)>,
}

impl Compound {
    fn formula(&self) -> String {
        self.atoms
            .iter()
            .map(|(element, count)| format!("{}{}", element.symbol, subscript(*count)))
            .collect()
    }

    /// Returns the molar mass in hundredths of g/mol, from standard atomic weights rounded to two decimals.
    fn mass(&self) -> i64 {
        self.atoms
            .iter()
            .map(|(element, count)| element.weight * count)
            .sum()
    }
}

/// Formats a count after a symbol or before a formula; 1 is not written.
fn subscript(count: i64) -> String {
    if count == 1 {
        String::new()
    } else {
        count.to_string()
    }
}

fn binary(random: &mut Random) -> Compound {
    let (metal, positive) = *random.choose(&CATIONS);
    let (other, ion, negative) = *random.choose(&ANIONS);
    let common = gcd(positive, negative);
    let (metal, other) = (elements::by_symbol(metal), elements::by_symbol(other));
    Compound {
        name: format!("{} {ion}", metal.name),
        atoms: vec![(metal, negative / common), (other, positive / common)],
    }
}

fn organic(random: &mut Random) -> Compound {
    let carbons = random.between(1, 24);
    let (kind, hydrogens, oxygens) = *random.choose(&[
        ("alkane", 2, 0),
        ("alcohol", 2, 1),
        ("carboxylic acid", 0, 2),
    ]);
    let mut atoms = vec![
        (elements::by_symbol("C"), carbons),
        (elements::by_symbol("H"), 2 * carbons + hydrogens),
    ];
    if oxygens > 0 {
        atoms.push((elements::by_symbol("O"), oxygens));
    }
    Compound {
        name: format!("the {kind} with {carbons} carbon atoms"),
        atoms,
    }
}

fn compound(random: &mut Random) -> Compound {
    if random.below(2) == 0 {
        binary(random)
    } else {
        organic(random)
    }
}

fn molar_mass(random: &mut Random) -> Problem {
    let compound = compound(random);
    let formula = compound.formula();
    let parts: Vec<String> = compound
        .atoms
        .iter()
        .map(|(element, count)| {
            format!(
                "{count} × {} = {} for {}",
                decimal(element.weight),
                decimal(element.weight * count),
                element.symbol
            )
        })
        .collect();
    Problem {
        fact: format!("molar mass {formula}"),
        question: format!("What is the molar mass of {formula}?"),
        statement: format!("The molar mass of {formula}, {}, is", compound.name),
        steps: format!(
            "Add {}, which makes {} g/mol.",
            parts.join(" and "),
            decimal(compound.mass())
        ),
        answer: format!("{} g/mol", decimal(compound.mass())),
    }
}

fn atoms(random: &mut Random) -> Problem {
    let (compound, molecules) = (compound(random), random.between(2, 9));
    let formula = compound.formula();
    let each: i64 = compound.atoms.iter().map(|(_, count)| count).sum();
    Problem {
        fact: format!("atoms {formula} {molecules}"),
        question: format!("How many atoms are in {molecules} formula units of {formula}?"),
        statement: format!("In {molecules} formula units of {formula} the number of atoms is"),
        steps: format!(
            "One unit of {formula} has {each} atoms, and {molecules} × {each} = {}.",
            molecules * each
        ),
        answer: (molecules * each).to_string(),
    }
}

fn combustion(random: &mut Random) -> Problem {
    let (carbons, oxygens) = (random.between(1, 40), random.below(2));
    let hydrogens = 2 * carbons + 2;
    let fuel = format!(
        "C{}H{hydrogens}{}",
        subscript(carbons),
        if oxygens == 1 { "O" } else { "" }
    );
    // 2 CₙH₂ₙ₊₂Oₖ + (3n + 1 − k) O₂ → 2n CO₂ + (2n + 2) H₂O, halved if all counts are even.
    let mut counts = [2, 3 * carbons + 1 - oxygens, 2 * carbons, 2 * carbons + 2];
    if counts.iter().all(|count| count % 2 == 0) {
        counts = counts.map(|count| count / 2);
    }
    let [fuels, oxygen, dioxide, water] = counts;
    let term = |count: i64, formula: &str| {
        if count == 1 {
            formula.to_owned()
        } else {
            format!("{count} {formula}")
        }
    };
    let answer = format!(
        "{} + {} → {} + {}",
        term(fuels, &fuel),
        term(oxygen, "O2"),
        term(dioxide, "CO2"),
        term(water, "H2O")
    );
    Problem {
        fact: format!("combustion {carbons} {oxygens}"),
        question: format!("Balance the combustion of {fuel} in oxygen."),
        statement: format!("Balanced, the combustion of {fuel} reads"),
        steps: format!(
            "Carbon: {dioxide} on each side. Hydrogen: {} on each side. Oxygen: {} on each side.",
            fuels * hydrogens,
            2 * oxygen + fuels * oxygens
        ),
        answer,
    }
}

fn salt(random: &mut Random) -> Problem {
    let compound = binary(random);
    let formula = compound.formula();
    let parts: Vec<String> = compound
        .atoms
        .iter()
        .map(|(element, count)| format!("{count} of {}", element.name))
        .collect();
    Problem {
        fact: format!("formula {formula}"),
        question: format!("What is the formula of {}?", compound.name),
        statement: format!("The formula of {} is", compound.name),
        steps: format!("The charges balance with {}.", parts.join(" and ")),
        answer: formula,
    }
}

fn amount(random: &mut Random) -> Problem {
    let (compound, moles) = (compound(random), random.between(2, 9));
    let formula = compound.formula();
    let mass = compound.mass();
    Problem {
        fact: format!("amount {formula} {moles}"),
        question: format!("What is the mass of {moles} mol of {formula}?"),
        statement: format!("An amount of {moles} mol of {formula} has a mass of"),
        steps: format!(
            "The molar mass is {} g/mol, and {moles} × {} = {} g.",
            decimal(mass),
            decimal(mass),
            decimal(mass * moles)
        ),
        answer: format!("{} g", decimal(mass * moles)),
    }
}

fn neutrons(random: &mut Random) -> Problem {
    let element = elements::any(random);
    let neutrons = element.number + random.below(element.number / 2 + 2);
    let mass = element.number + neutrons;
    Problem {
        fact: format!("neutrons {} {mass}", element.symbol),
        question: format!(
            "How many neutrons are in an atom of {}-{mass}?",
            element.name
        ),
        statement: format!("The number of neutrons in {}-{mass} is", element.name),
        steps: format!(
            "The atomic number of {} is {}, and {mass} - {} = {neutrons}.",
            element.name, element.number, element.number
        ),
        answer: neutrons.to_string(),
    }
}

#[cfg(test)]
mod tests;
