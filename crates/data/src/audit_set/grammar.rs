//! Grammars that write documents: rules with alternatives, tables with columns, variables and whole-number arithmetic.
//!
//! A grammar is a text. `:: name` begins a rule whose lines are alternatives, `::: name` one whose alternatives are
//! blocks, separated by lines `~~`. `:: name(a, b)` begins a table with ` | ` between its columns. Lines before the
//! first rule are comments. In an alternative
//!
//! - `<name>` is a variable or, if there is none, an alternative of the rule; `<^name>` begins with a capital letter
//! - `<x=name>` writes a value and keeps it as the variable `x`; `<x:=name>` only keeps it. A row of a table kept as
//!   `x` also gives `<x.a>` and `<x.b>`.
//! - `<3..9>` is a random number, `<=n*2+1>` an expression, `<$n*5>` an expression of cents as dollars
//! - `<name*2..4>` writes two to four alternatives, and `<+n>` counts `n` up
//! - `[this|that]` is one of the two, and `a~ ` is `a` or `an`, by the next letter
//!
//! A rule gives all its alternatives once before it gives one again, so that documents share as little as they can.

use std::collections::BTreeMap;

use super::expression;
use crate::synthetic::lexicon::capitalized;
use crate::synthetic::random::Random;

/// Grammar: rules and tables by name.
pub struct Grammar {
    rules: BTreeMap<String, Rule>,
}

/// Rule with its alternatives, or table with its rows.
#[derive(Default)]
struct Rule {
    /// Names of a table's columns; empty for a plain rule.
    columns: Vec<String>,
    alternatives: Vec<String>,
}

/// Generator of documents from one grammar.
pub struct Writer<'a> {
    grammar: &'a Grammar,
    random: Random,
    /// Indices of each rule's alternatives that were not yet used in the current pass, the next one last.
    bags: BTreeMap<&'a str, Vec<usize>>,
    /// Indices of each rule's most recently used alternatives, which come last in the next pass.
    recent: BTreeMap<&'a str, Vec<usize>>,
    variables: BTreeMap<String, String>,
}

impl Grammar {
    /// Parses the text of a grammar.
    pub fn parse(text: &str) -> Self {
        let mut grammar = Self {
            rules: BTreeMap::new(),
        };
        grammar.read(text);
        grammar
    }

    /// Adds a table; each of `rows` has its cells separated by ` | `.
    pub fn add_table(&mut self, name: &str, columns: &[&str], rows: Vec<String>) {
        let rule = Rule {
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            alternatives: rows,
        };
        self.rules.insert(name.to_owned(), rule);
    }

    /// Returns the rows of a table, each a vector of cells.
    pub fn table(&self, name: &str) -> Vec<Vec<&str>> {
        let rows = self.rules[name].alternatives.iter();
        rows.map(|row| row.split(" | ").collect()).collect()
    }

    fn read(&mut self, text: &str) {
        let mut name = None;
        let mut in_blocks = false;
        let mut block = String::new();
        for line in text.lines().chain([":: "]) {
            let header = line.strip_prefix("::: ").or(line.strip_prefix(":: "));
            if let Some(rule) = name.as_ref().and_then(|name| self.rules.get_mut(name)) {
                if in_blocks && (header.is_some() || line == "~~") {
                    let whole = std::mem::take(&mut block);
                    rule.alternatives.push(whole.trim_end().to_owned());
                } else if in_blocks {
                    block += line;
                    block.push('\n');
                } else if header.is_none() && !line.is_empty() {
                    rule.alternatives.push(line.replace("\\n", "\n"));
                }
            }
            if let Some(header) = header.filter(|header| !header.is_empty()) {
                name = Some(self.begin(header));
                in_blocks = line.starts_with(":::");
            }
        }
    }

    /// Starts a rule or table from its header `name` or `name(a, b)`, and returns its name.
    fn begin(&mut self, header: &str) -> String {
        let (name, columns) = header.split_once('(').unwrap_or((header, ""));
        let rule = self.rules.entry(name.to_owned()).or_default();
        if !columns.is_empty() {
            let columns = columns.trim_end_matches(')').split(", ");
            rule.columns = columns.map(str::to_owned).collect();
        }
        name.to_owned()
    }
}

impl<'a> Writer<'a> {
    /// Creates a writer; equal seeds and grammars give equal documents.
    pub fn new(grammar: &'a Grammar, random: Random) -> Self {
        Self {
            grammar,
            random,
            bags: BTreeMap::new(),
            recent: BTreeMap::new(),
            variables: BTreeMap::new(),
        }
    }

    /// Writes the next document, by expanding the rule `document`.
    pub fn document(&mut self) -> String {
        self.variables.clear();
        let text = self.expand("<document>");
        articles(text.trim()) + "\n"
    }

    fn expand(&mut self, text: &str) -> String {
        let mut written = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['<', '[']) {
            let (before, from) = rest.split_at(at);
            written += before;
            let length = if from.starts_with('<') {
                slot(from).map(|inner| {
                    written += &self.value_of_slot(inner);
                    inner.len() + 2
                })
            } else {
                choices(from).map(|choices| {
                    let chosen = *self.random.choose(&choices);
                    written += &self.expand(chosen);
                    choices.iter().map(|choice| choice.len() + 1).sum::<usize>() + 1
                })
            };
            if length.is_none() {
                written.push_str(&from[..1]);
            }
            rest = &from[length.unwrap_or(1)..];
        }
        written + rest
    }

    fn value_of_slot(&mut self, inner: &str) -> String {
        let (capital, inner) = match inner.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let (variable, source, is_silent) = if inner.starts_with(['=', '$', '+']) {
            (None, inner, false)
        } else if let Some((variable, source)) = inner.split_once(":=") {
            (Some(variable), source, true)
        } else if let Some((variable, source)) = inner.split_once('=') {
            (Some(variable), source, false)
        } else {
            (None, inner, false)
        };
        let value = self.value(source, variable);
        if let Some(variable) = variable {
            self.variables.insert(variable.to_owned(), value.clone());
        }
        match (is_silent, capital) {
            (true, _) => String::new(),
            (_, true) => capitalized(&value),
            (_, false) => value,
        }
    }

    /// Returns the text for a slot `<…>`. If `variable` is given and the slot draws a row of a table, also stores the
    /// row's columns as variables `variable.column`.
    fn value(&mut self, source: &str, variable: Option<&str>) -> String {
        if let Some(formula) = source.strip_prefix('=') {
            return self.number(formula).to_string();
        }
        if let Some(formula) = source.strip_prefix('$') {
            let cents = self.number(formula);
            return format!("{}.{:02}", cents / 100, cents % 100);
        }
        if let Some(counter) = source.strip_prefix('+') {
            let next = self
                .variables
                .get(counter)
                .map_or(0, |_| self.number(counter))
                + 1;
            self.variables.insert(counter.to_owned(), next.to_string());
            return next.to_string();
        }
        if let Some((low, high)) = source.split_once("..") {
            let (name, low) = match low.split_once('*') {
                Some((name, low)) => (Some(name), low),
                None => (None, low),
            };
            let (low, high) = (self.number(low), self.number(high));
            let number = self.random.between(low, high);
            return match name {
                Some(name) => {
                    let all: String = (0..number).map(|_| self.value(name, None)).collect();
                    all.trim_end_matches('\n').to_owned()
                }
                None => number.to_string(),
            };
        }
        if let Some(value) = self.variables.get(source) {
            return value.clone();
        }
        self.draw(source, variable)
    }

    fn number(&self, formula: &str) -> i64 {
        expression::value(formula, &self.variables)
    }

    fn draw(&mut self, name: &str, variable: Option<&str>) -> String {
        let grammar = self.grammar;
        let (name, rule) = match grammar.rules.get_key_value(name) {
            Some(found) => found,
            None => panic!("the grammar has no rule and no variable `{name}`"),
        };
        let alternative = &rule.alternatives[self.next_of(name, rule.alternatives.len())];
        if rule.columns.is_empty() {
            return self.expand(alternative);
        }
        let cells: Vec<&str> = alternative.split(" | ").collect();
        assert_eq!(cells.len(), rule.columns.len(), "`{name}`: {alternative}");
        let cells: Vec<String> = cells.iter().map(|cell| self.expand(cell)).collect();
        if let Some(variable) = variable {
            for (column, cell) in rule.columns.iter().zip(&cells) {
                let column = format!("{variable}.{column}");
                self.variables.insert(column, cell.clone());
            }
        }
        cells[0].clone()
    }

    /// Returns the index of a rule's next alternative: random, but every alternative is used once before any is used
    /// again.
    fn next_of(&mut self, name: &'a str, count: usize) -> usize {
        let bag = self.bags.entry(name).or_default();
        let recent = self.recent.entry(name).or_default();
        if bag.is_empty() {
            bag.extend(0..count);
            self.random.shuffle(bag);
            // The end of the bag comes first.
            bag.sort_by_key(|index| !recent.contains(index));
        }
        let next = bag.pop().expect("a rule has an alternative");
        recent.push(next);
        if recent.len() > count / 2 {
            recent.remove(0);
        }
        next
    }
}

/// Returns the text between `<` and `>` at the beginning of `text`; `None` if this is not a slot.
fn slot(text: &str) -> Option<&str> {
    let inner = &text[1..text.find('>')?];
    let is_part = |sign: char| {
        sign.is_ascii_lowercase() || sign.is_ascii_digit() || "_.^:=*+-/%()$".contains(sign)
    };
    (inner.chars().all(is_part) && inner.chars().any(|sign| sign.is_ascii_alphanumeric()))
        .then_some(inner)
}

/// Returns the options of `[this|that]` at the beginning of a text; `None` for other text in brackets.
fn choices(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut from, mut choices) = (0, 1, Vec::new());
    for (at, sign) in text.char_indices() {
        match sign {
            '[' => depth += 1,
            '|' if depth == 1 => {
                choices.push(&text[from..at]);
                from = at + 1;
            }
            ']' if depth == 1 => {
                choices.push(&text[from..at]);
                return (choices.len() > 1).then_some(choices);
            }
            ']' => depth -= 1,
            _ => (),
        }
    }
    None
}

/// Replaces each `a~ ` by `a ` or `an `, depending on the letter that follows.
fn articles(text: &str) -> String {
    let mut parts = text.split("~ ");
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // “A university”, “a European”, “a one-off”, but “an hour”.
        let is_consonant = ["uni", "use", "usu", "eu", "one", "Uni", "Eu"]
            .iter()
            .any(|begin| part.starts_with(begin))
            && !part.starts_with("unin")
            && !part.starts_with("unim");
        let is_vowel = part.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U'])
            && !is_consonant
            || ["hour", "honest", "8", "11 ", "18 "]
                .iter()
                .any(|begin| part.starts_with(begin));
        written += if is_vowel { "n " } else { " " };
        written += part;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(grammar: &str) -> String {
        Writer::new(&Grammar::parse(grammar), Random::new(1, "test")).document()
    }

    /// Checks variables, tables, arithmetic, repetition, choices and articles.
    #[test]
    fn slots_are_filled() {
        let grammar = ":: document\n<x:=animal><^x.sound>! says a~ <x>, <n=4..4> times <=n*(2+1)-1> for $<$n*55>.\n\
             :: animal(name, sound)\nowl | hoot";
        assert_eq!(write(grammar), "Hoot! says an owl, 4 times 11 for $2.20.\n");
        assert_eq!(
            write(":: document\n<row*2..2>\n:: row\n<+i>. [same|same]\\n"),
            "1. same\n2. same\n"
        );
        // Neither brackets without a choice nor comparisons are slots.
        assert_eq!(
            write("::: document\nif a < b and c > d: x[0] <= 3\n\ny\n"),
            "if a < b and c > d: x[0] <= 3\n\ny\n"
        );
    }

    /// Checks that a rule gives all alternatives before it repeats one, and none twice in a row.
    #[test]
    fn alternatives_come_in_turn() {
        let grammar = Grammar::parse(":: document\na\nb\nc\nd");
        let mut writer = Writer::new(&grammar, Random::new(2, "test"));
        for _ in 0..50 {
            let mut four: Vec<String> = (0..4).map(|_| writer.document()).collect();
            four.sort();
            assert_eq!(four.concat(), "a\nb\nc\nd\n");
        }
    }
}
