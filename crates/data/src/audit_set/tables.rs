//! Tables for the grammar of the domain `science`, filled with the facts of the synthetic corpus.

use std::collections::BTreeMap;

use super::grammar::Grammar;
use crate::synthetic::elements::ELEMENTS;
use crate::synthetic::knowledge::Knowledge;
use crate::synthetic::problem::decimal;

/// Adds the tables `element`, `unit`, `instrument`, `discovery` and `substance` to the grammar.
pub fn add_science(grammar: &mut Grammar) {
    let (chemistry, physics) = (facts("chemistry"), facts("physics"));
    let families: BTreeMap<_, _> = chemistry["family"].iter().copied().collect();
    let elements = grammar.table("element_use").into_iter().map(|row| {
        let element = ELEMENTS.iter().find(|element| element.name == row[0]);
        let element = element.expect("a chemical element");
        let family = families[element.name];
        let weight = decimal(element.weight);
        [
            row[0],
            element.symbol,
            &element.number.to_string(),
            &weight,
            family,
            row[1],
            row[2],
        ]
        .join(" | ")
    });
    let elements = elements.collect();
    grammar.add_table(
        "element",
        &[
            "name", "symbol", "number", "weight", "family", "look", "use",
        ],
        elements,
    );
    let signs: BTreeMap<_, _> = physics["sign"].iter().copied().collect();
    let units = physics["unit"]
        .iter()
        .map(|(quantity, unit)| format!("{unit} | {quantity} | {}", signs[unit]));
    grammar.add_table("unit", &["name", "quantity", "sign"], units.collect());
    let instruments = physics["instrument"]
        .iter()
        .map(|(quantity, name)| format!("{name} | {quantity}"));
    grammar.add_table("instrument", &["name", "quantity"], instruments.collect());
    let years: BTreeMap<_, _> = physics["year"].iter().copied().collect();
    let discoveries = physics["discoverer"]
        .iter()
        .map(|(what, who)| format!("{what} | {who} | {}", years[what]));
    grammar.add_table(
        "discovery",
        &["name", "person", "year"],
        discoveries.collect(),
    );
    let substances = chemistry["formula"]
        .iter()
        .map(|(name, formula)| format!("{name} | {formula}"));
    grammar.add_table("substance", &["name", "formula"], substances.collect());
}

/// Returns the facts of one domain of the synthetic corpus: pairs (subject, answer), by the name of their relation.
fn facts(domain: &str) -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
    let knowledge = Knowledge::of(domain).expect("a domain with facts");
    let relations = knowledge.relations.into_iter();
    // Names that the corpus shortens.
    let in_full = |subject| match subject {
        "substance" => "the amount of substance",
        "elastic law" => "the law of elasticity",
        "gas compression law" => "the law of gas compression",
        _ => subject,
    };
    relations
        .map(|relation| {
            let facts = relation
                .facts
                .iter()
                .map(|fact| (in_full(fact.subject), fact.answer));
            (relation.name, facts.collect())
        })
        .collect()
}
