//! Tests of GGUF files that are truncated or altered, or that state false sizes.

use super::*;

/// An exported file, to import altered versions of it.
struct AlteredFile {
    place: tempfile::TempDir,
    whole: Vec<u8>,
}

impl AlteredFile {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let file = exported(place.path(), &llama(), "smollm", GgufType::Q8_0);
        let whole = std::fs::read(file).unwrap();
        Self { place, whole }
    }

    /// Imports these bytes; returns the error, if any. Removes the imported folder.
    fn import(&self, bytes: &[u8]) -> Result<(), String> {
        let file = self.place.path().join("altered.gguf");
        std::fs::write(&file, bytes).unwrap();
        let back = self.place.path().join("back");
        let found = import_gguf(&file, &back).map_err(|error| error.to_string());
        assert_eq!(back.exists(), found.is_ok());
        if found.is_ok() {
            std::fs::remove_dir_all(back).unwrap();
        }
        found
    }

    /// Returns the file with some bytes altered: `change` gets the bytes from the name of `key` on.
    fn with(&self, key: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut bytes = self.whole.clone();
        let at = bytes
            .windows(key.len())
            .position(|window| window == key.as_bytes())
            .unwrap();
        change(&mut bytes[at..]);
        bytes
    }
}

/// Checks that a file that is truncated anywhere, or is not a GGUF file, is refused with a message that names it.
#[test]
fn cut_off_and_foreign_files_are_refused() {
    let altered = AlteredFile::new();
    altered.import(&altered.whole).unwrap();
    let length = altered.whole.len();
    let cuts = (0..64)
        .chain((64..length).step_by(length / 97))
        .chain([length - 40]);
    for cut in cuts {
        let error = altered.import(&altered.whole[..cut]).unwrap_err();
        assert!(error.contains("altered.gguf"), "{cut}: {error}");
        let sentence = error.contains("cut off") || error.contains("begin with");
        assert!(sentence, "{cut}: {error}");
    }
    for foreign in [
        &b"PK\x03\x04 a zip"[..],
        b"{}",
        b"GGUF\x01\0\0\0",
        b"GGUF\xff\xff\xff\xff",
    ] {
        altered.import(foreign).unwrap_err();
    }
}

/// Checks that false values in a file are refused: sizes that do not match the tensors, too many blocks, keys of
/// another type.
#[test]
fn false_sizes_are_refused() {
    let altered = AlteredFile::new();
    let number = |key: &'static str, value: u32| {
        altered.with(key, move |bytes| {
            let at = key.len() + 4;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    for (bytes, said) in [
        (
            number("llama.block_count", u32::MAX),
            "`num_hidden_layers` is 4294967295",
        ),
        (number("llama.block_count", 1), "has the tensor `blk.1."),
        (
            number("llama.embedding_length", u32::MAX),
            "`hidden_size` is 4294967295",
        ),
        (
            number("llama.attention.head_count", 0),
            "`num_attention_heads` is 0",
        ),
        (
            number("llama.attention.key_length", 16),
            "`llama.attention.value_length` is 8",
        ),
        (number("llama.feed_forward_length", 96), "require [96, 48]"),
        (
            number("tokenizer.ggml.eos_token_id", 4000),
            "there are 344 tokens",
        ),
        (
            number("llama.context_length", 0),
            "`max_position_embeddings` is 0",
        ),
    ] {
        let error = altered.import(&bytes).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
    let named = altered.with("general.architecture", |bytes| {
        let value = "general.architecture".len() + 12;
        bytes[value..value + 5].copy_from_slice(b"gemma");
    });
    let error = altered.import(&named).unwrap_err();
    assert!(
        error.contains("`general.architecture` is `gemma`"),
        "{error}"
    );
}

/// Checks that a file with an alignment of 0, by which the library would divide, is refused.
#[test]
fn an_alignment_of_zero_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("model.gguf");
    for (value, fine) in [
        (Value::U32(0), false),
        (Value::U8(0), false),
        (Value::U32(32), true),
    ] {
        let keys = [("general.alignment", &value)];
        let mut out = File::create(&file).unwrap();
        candle_core::quantized::gguf_file::write(&mut out, &keys, &[]).unwrap();
        let error = import_gguf(&file, &place.path().join("back"))
            .unwrap_err()
            .to_string();
        let said = if fine {
            "general.architecture"
        } else {
            "`general.alignment` is 0"
        };
        assert!(error.contains(said), "{error}");
    }
}

/// Checks that flipped bytes anywhere in the header give a model or an error, never a panic.
#[test]
fn flipped_bytes_never_panic() {
    let altered = AlteredFile::new();
    let header = content(&altered.place.path().join("model.gguf")).tensor_data_offset as usize;
    let mut state = 7u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..1200 {
        let mut bytes = altered.whole.clone();
        // The keys of the shape are at the beginning of the header, the tensor offsets at its end.
        let at = match round % 3 {
            0 => draw(1200),
            1 => header - 1 - draw(1400),
            _ => draw(header),
        };
        bytes[at] ^= 1 << draw(8);
        match altered.import(&bytes) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} {refused}");
}
