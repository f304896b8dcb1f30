//! Facts of chemistry: symbols and families of the elements, formulas of everyday substances.

use super::relation::{Relation, facts};
use crate::synthetic::elements;

/// Names of everyday substances and minerals, each with its formula.
const SUBSTANCES: [(&str, &str); 48] = [
    ("water", "H2O"),
    ("ammonia", "NH3"),
    ("methane", "CH4"),
    ("table salt", "NaCl"),
    ("quicklime", "CaO"),
    ("slaked lime", "Ca(OH)2"),
    ("limestone", "CaCO3"),
    ("baking soda", "NaHCO3"),
    ("washing soda", "Na2CO3"),
    ("caustic soda", "NaOH"),
    ("potash", "K2CO3"),
    ("saltpeter", "KNO3"),
    ("laughing gas", "N2O"),
    ("dry ice", "CO2"),
    ("quartz", "SiO2"),
    ("hematite", "Fe2O3"),
    ("magnetite", "Fe3O4"),
    ("pyrite", "FeS2"),
    ("galena", "PbS"),
    ("cinnabar", "HgS"),
    ("fluorite", "CaF2"),
    ("corundum", "Al2O3"),
    ("anhydrite", "CaSO4"),
    ("barite", "BaSO4"),
    ("bleach", "NaClO"),
    ("ozone", "O3"),
    ("hydrogen peroxide", "H2O2"),
    ("sulfuric acid", "H2SO4"),
    ("nitric acid", "HNO3"),
    ("phosphoric acid", "H3PO4"),
    ("hydrochloric acid", "HCl"),
    ("acetic acid", "CH3COOH"),
    ("ethanol", "C2H5OH"),
    ("glucose", "C6H12O6"),
    ("benzene", "C6H6"),
    ("acetylene", "C2H2"),
    ("ethylene", "C2H4"),
    ("propane", "C3H8"),
    ("butane", "C4H10"),
    ("prussic acid", "HCN"),
    ("carbon monoxide", "CO"),
    ("phosgene", "COCl2"),
    ("zinc blende", "ZnS"),
    ("rutile", "TiO2"),
    ("cassiterite", "SnO2"),
    ("silane", "SiH4"),
    ("arsine", "AsH3"),
    ("phosphine", "PH3"),
];

/// Returns the name of the family that the element with an atomic number belongs to; `None` above the actinides, since
/// the chemistry of heavier elements is hardly known.
fn family(number: i64) -> Option<&'static str> {
    Some(match number {
        1 | 6..=8 | 15 | 16 | 34 => "nonmetals",
        2 | 10 | 18 | 36 | 54 | 86 => "noble gases",
        3 | 11 | 19 | 37 | 55 | 87 => "alkali metals",
        4 | 12 | 20 | 38 | 56 | 88 => "alkaline earth metals",
        9 | 17 | 35 | 53 | 85 => "halogens",
        5 | 14 | 32 | 33 | 51 | 52 => "metalloids",
        21..=30 | 39..=48 | 72..=80 => "transition metals",
        57..=71 => "lanthanides",
        89..=103 => "actinides",
        13 | 31 | 49 | 50 | 81..=84 => "post-transition metals",
        _ => return None,
    })
}

/// Returns the relations of chemistry with their facts.
pub fn relations() -> Vec<Relation> {
    let known = elements::ELEMENTS
        .iter()
        .filter_map(|element| Some((element, family(element.number)?)));
    vec![
        Relation {
            name: "symbol",
            title: "Symbols",
            facts: facts(
                known
                    .clone()
                    .map(|(element, _)| (element.name, element.symbol)),
            ),
            phrases: &[
                "the symbol of {subject}",
                "the symbol for {subject}",
                "the chemical symbol of {subject}",
                "the symbol of the element {subject}",
            ],
            statements: &[
                "{answer} is the symbol of {subject}.",
                "Chemists write {answer} for {subject}.",
                "The element {subject} has the symbol {answer}.",
                "In a formula {subject} appears as {answer}.",
            ],
        },
        Relation {
            name: "family",
            title: "Families",
            facts: facts(known.map(|(element, family)| (element.name, family))),
            phrases: &[
                "the family of {subject}",
                "the family to which {subject} belongs",
                "the chemical family of {subject}",
                "the family of the element {subject}",
            ],
            statements: &[
                "{subject} belongs to the family {answer}.",
                "Chemists count {subject} among the {answer}.",
                "Among the {answer} is {subject}.",
            ],
        },
        Relation {
            name: "formula",
            title: "Formulas",
            facts: facts(SUBSTANCES),
            phrases: &[
                "the formula of {subject}",
                "the formula for {subject}",
                "the chemical formula of {subject}",
                "the formula of the substance {subject}",
            ],
            statements: &[
                "{subject} has the formula {answer}.",
                "Chemists write {subject} as {answer}.",
                "{answer} is the formula of {subject}.",
            ],
        },
    ]
}
