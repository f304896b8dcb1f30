//! Integer expressions in the grammars: `+ - * / %` and parentheses over numbers and variables.

use std::collections::BTreeMap;

/// Evaluates an expression over these variables. An invalid one is a mistake in a grammar, which is part of the
/// program.
///
/// # Panics
/// Panics if the expression can't be read.
pub fn value(formula: &str, variables: &BTreeMap<String, String>) -> i64 {
    let mut reader = Reader {
        formula,
        at: 0,
        variables,
    };
    let value = reader.sum();
    assert_eq!(reader.at, formula.len(), "`{formula}` can't be read");
    value
}

struct Reader<'a> {
    formula: &'a str,
    at: usize,
    variables: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.formula[self.at..]
    }

    /// Consumes the next character if it is one of `signs`, and returns it.
    fn take(&mut self, signs: &str) -> Option<char> {
        let sign = self
            .rest()
            .chars()
            .next()
            .filter(|sign| signs.contains(*sign))?;
        self.at += sign.len_utf8();
        Some(sign)
    }

    fn sum(&mut self) -> i64 {
        let mut value = self.product();
        while let Some(sign) = self.take("+-") {
            let next = self.product();
            value = if sign == '+' {
                value + next
            } else {
                value - next
            };
        }
        value
    }

    fn product(&mut self) -> i64 {
        let mut value = self.atom();
        while let Some(sign) = self.take("*/%") {
            let next = self.atom();
            value = match sign {
                '*' => value * next,
                '/' => value / next,
                _ => value % next,
            };
        }
        value
    }

    fn atom(&mut self) -> i64 {
        if self.take("(").is_some() {
            let value = self.sum();
            assert!(self.take(")").is_some(), "`{}`: expected `)`", self.formula);
            return value;
        }
        let is_part = |sign: char| sign.is_ascii_alphanumeric() || "_.".contains(sign);
        let length = self
            .rest()
            .find(|sign| !is_part(sign))
            .unwrap_or(self.rest().len());
        let word = &self.formula[self.at..self.at + length];
        self.at += length;
        let text = self.variables.get(word).map_or(word, String::as_str);
        match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("`{}`: `{text}` is not a whole number", self.formula),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks precedence, parentheses, variables and negative results.
    #[test]
    fn expressions_have_their_values() {
        let variables = BTreeMap::from([
            ("n".to_owned(), "7".to_owned()),
            ("x.y".to_owned(), "3".to_owned()),
        ]);
        for (formula, expected) in [
            ("2+3*4", 14),
            ("(2+3)*4", 20),
            ("n-x.y*3", -2),
            ("n/2", 3),
            ("n%4", 3),
            ("20-5-5", 10),
        ] {
            assert_eq!(value(formula, &variables), expected, "{formula}");
        }
    }
}
