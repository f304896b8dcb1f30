//! Numbers with their nouns in messages.

/// Returns a number with its noun, whose plural ends in `s`: `1 document`, `3 documents`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let texts = [0, 1, 2].map(|number| counted(number, "group"));
        assert_eq!(texts, ["0 groups", "1 group", "2 groups"]);
    }
}
