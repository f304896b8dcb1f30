//! Tables for a terminal: columns aligned by spaces.

/// Aligns the cells of rows: the first column and columns of words to the left, other columns to the right. A column is
/// one of words if no cell below the first row begins with a digit, a sign or a dash. Rows are indented by two spaces.
///
/// ```
/// let rows = [["method", "gain", "place"], ["full", "+0.41", "not dominated"], ["lora", "+0.3", "not compared"]];
/// let rows = rows.map(|row| row.map(str::to_owned).to_vec());
/// assert_eq!(
///     polymath_report::aligned(&rows),
///     "  method   gain  place\n  full    +0.41  not dominated\n  lora     +0.3  not compared\n"
/// );
/// ```
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| cell(row, column).chars().count());
        widths.max().unwrap_or(0)
    };
    let is_number = |text: &str| {
        let first = text.chars().next();
        first.is_some_and(|first| first.is_ascii_digit() || "+−-–[<".contains(first))
    };
    let is_left = |column: usize| {
        column == 0
            || rows
                .iter()
                .skip(1)
                .all(|row| !is_number(&cell(row, column)))
    };
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|column| (width(column), is_left(column)))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = layout.iter().enumerate().map(|(column, (width, left))| {
            let cell = cell(row, column);
            match left {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += &format!("  {}\n", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that wide characters count once, columns of numbers end below each other, and no line has spaces at its
    /// end.
    #[test]
    fn columns_are_aligned() {
        let rows = [
            ["domain", "change", ""],
            ["Ökonomie", "−0.100", "kept"],
            ["law", "+0.02", ""],
        ];
        let text = aligned(&rows.map(|row| row.map(str::to_owned).to_vec()));
        assert_eq!(
            text,
            "  domain    change\n  Ökonomie  −0.100  kept\n  law        +0.02\n"
        );
    }
}
