//! Tests of truncated, altered and unsupported parquet files.

use super::*;

/// Checks that a truncated file, a file of another kind and an unsupported compression are refused with the reason,
/// and that no flipped byte crashes the program.
#[test]
fn broken_files_are_named() {
    let columns = [
        Column::Numbers((0..9).collect()),
        Column::texts((0..9).map(sentence)),
    ];
    let style = Style {
        compression: Compression::UNCOMPRESSED,
        ..Style::default()
    };
    let whole = table(TEXTS, &columns, &style);
    for broken in [&whole[..whole.len() / 2], b"{\"text\": \"one\"}", b""] {
        let refused = refusal(broken, None);
        assert!(
            refused.contains("a.parquet`: can't be read as parquet"),
            "{refused}"
        );
    }
    // In the footer, the compression follows the column's name.
    let at = whole
        .windows(6)
        .rposition(|bytes| bytes == b"\x04text\x15")
        .unwrap()
        + 6;
    let mut other = whole.clone();
    assert_eq!(std::mem::replace(&mut other[at], 8), 0);
    let refused = refusal(&other, None);
    assert!(
        refused.contains("column `text` is compressed with Brotli"),
        "{refused}"
    );

    let small = table(
        TEXTS,
        &[Column::Numbers(vec![1, 2]), Column::texts(["one", "two"])],
        &style,
    );
    let mut refused = 0;
    for at in 0..small.len() {
        let mut flipped = small.clone();
        flipped[at] ^= 0x55;
        let mut desk = Desk::new();
        desk.domain("d", &["a.parquet"]);
        desk.file("a.parquet", &flipped);
        // Some flipped bytes are harmless.
        refused += usize::from(desk.prepare().is_err());
    }
    assert!(refused > small.len() / 4, "{refused} of {}", small.len());
}

/// Checks that a file with any one byte changed is either read or refused by name, although the library panics on
/// some of them.
#[test]
fn no_altered_byte_is_a_panic() {
    let style = Style {
        compression: Compression::UNCOMPRESSED,
        ..Style::default()
    };
    let texts = Column::texts((0..4).map(|number| format!("{number} birds")));
    let schema = "message m { optional binary text (STRING); }";
    let sound = table(schema, &[texts], &style);
    let mut desk = Desk::new();
    desk.domain("d", &["a.parquet"]);
    let mut contradictions = 0;
    for at in 0..sound.len() {
        let mut altered = sound.clone();
        altered[at] = !sound[at];
        desk.file("a.parquet", &altered);
        let _ = fs::remove_dir_all(&desk.config.output);
        if let Err(error) = desk.prepare() {
            let message = error.to_string();
            assert!(message.contains('`'), "byte {at}: {message}");
            contradictions += usize::from(message.contains("contradict each other"));
        }
    }
    // Without a caught panic, this test would show nothing.
    assert!(contradictions > 0);
}
