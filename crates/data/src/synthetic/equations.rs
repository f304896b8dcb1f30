//! Checks the arithmetic of generated text, for tests: every equation between numbers holds.

/// Units that may stand after a number.
const UNITS: [&str; 12] = [
    "m", "m/s", "m/s²", "s", "kg", "N", "J", "A", "V", "W", "Ω", "g",
];

/// Asserts that every equation between numbers in a text holds, such as `2 × 3 = 6` in "so 2 × 3 = 6 m". Returns their
/// number.
pub(super) fn check_equations(text: &str) -> usize {
    let sides: Vec<Vec<&str>> = text
        .split(" = ")
        .map(|side| side.split(' ').collect())
        .collect();
    let mut found = 0;
    for pair in sides.windows(2) {
        if let (Some(left), Some(right)) = (value_at_end(&pair[0]), value_at_begin(&pair[1])) {
            assert!((left - right).abs() < 1e-9, "{left} = {right}: {text}");
            found += 1;
        }
    }
    found
}

/// Returns the whole numbers in a text, in order; a sign counts where it stands before the digits.
pub(super) fn whole_numbers(text: &str) -> Vec<i64> {
    let parts = text.split(|sign: char| !sign.is_ascii_digit() && sign != '-');
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn value_at_end(words: &[&str]) -> Option<f64> {
    let begin = (0..words.len()).find(|at| value(&words[*at..]).is_some())?;
    let is_operator = begin > 0 && "+-×/".contains(words[begin - 1]);
    (!is_operator).then(|| value(&words[begin..]))?
}

fn value_at_begin(words: &[&str]) -> Option<f64> {
    (1..=words.len()).rev().find_map(|end| value(&words[..end]))
}

/// Returns the value of an expression of numbers, units and operators, `×` and `/` before `+` and `-`. Punctuation may
/// stand at its end only.
fn value(words: &[&str]) -> Option<f64> {
    let (mut sum, mut product, mut operator) = (0.0, None, "");
    let mut sign = 1.0;
    for (at, word) in words.iter().enumerate() {
        let is_last = at + 1 == words.len();
        let plain = word.trim_end_matches([',', '.', ':']);
        if plain != *word && !is_last {
            return None;
        }
        if let Some(number) = number(plain) {
            product = Some(match (product, operator) {
                (None, "") => number,
                (Some(before), "×") => before * number,
                (Some(before), "/") => before / number,
                _ => return None,
            });
            operator = "";
        } else if UNITS.contains(&plain) && product.is_some() && operator.is_empty() {
        } else if "+-×/".contains(plain) && !plain.is_empty() && operator.is_empty() {
            let before = product?;
            if plain == "×" || plain == "/" {
                operator = plain;
            } else {
                sum += sign * before;
                (product, sign) = (None, if plain == "+" { 1.0 } else { -1.0 });
            }
        } else {
            return None;
        }
    }
    operator.is_empty().then_some(sum + sign * product?)
}

/// Reads a whole number, a decimal or a fraction.
fn number(word: &str) -> Option<f64> {
    match word.split_once('/') {
        Some((top, bottom)) => Some(top.parse::<f64>().ok()? / bottom.parse::<f64>().ok()?),
        None => word.parse().ok(),
    }
}

/// Checks the check: which equations it sees, and that it finds a wrong one.
#[test]
fn wrong_equations_are_found() {
    for (text, count) in [
        ("First 12 + 30 = 42, then 42 + 5 = 47.", 2),
        ("Since 2 × 3 = 6 and 1/2 + 1/4 = 3/4, add them.", 2),
        ("E = m v² / 2 = 10 × 25 / 2 = 125 J.", 1),
        ("v t = 5 m/s × 3 s = 15 m.", 1),
        ("Divide by 3: x = 4.", 0),
    ] {
        assert_eq!(check_equations(text), count, "{text}");
        let wrong = |wrong: &str| std::panic::catch_unwind(|| check_equations(wrong)).is_err();
        let other = text
            .replace("= 6 ", "= 7 ")
            .replace("47", "46")
            .replace("15 m", "16 m");
        assert!(other == text || wrong(&other), "{other}");
    }
    assert_eq!(whole_numbers("Solve 3x + 5 = -7 for x."), [3, 5, -7]);
}
