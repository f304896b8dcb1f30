//! Sizes in bytes as text.

/// Formats a number of bytes with a unit: B, kB or MB.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a small text has a size other than zero.
    #[test]
    fn sizes_have_their_unit() {
        let sizes = [999, 22_416, 2_900_000].map(bytes_text);
        assert_eq!(sizes, ["999 B", "22 kB", "2.9 MB"]);
    }
}
