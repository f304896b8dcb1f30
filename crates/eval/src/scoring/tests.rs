//! Tests of the figures that scores give, and of the options for cutting documents into windows.

use polymath_data::ShardWriter;

use super::*;

/// Checks sums, bits per byte and perplexity of two documents by hand: 3 ln 2 + ln 8 nats over 5 tokens and 12 bytes.
#[test]
fn figures_are_ratios_of_sums() {
    let document = |nats: f64, tokens, bytes| DocumentScore {
        nats,
        tokens,
        bytes,
    };
    let scores = DomainScores {
        documents: vec![document(3.0 * 2f64.ln(), 2, 8), document(8f64.ln(), 3, 4)],
        ..DomainScores::default()
    };
    assert_eq!((scores.tokens(), scores.bytes()), (5, 12));
    assert!((scores.nats() - 6.0 * 2f64.ln()).abs() < 1e-12);
    assert!((scores.bits_per_byte() - 0.5).abs() < 1e-12);
    assert!((scores.perplexity() - 64f64.powf(0.2)).abs() < 1e-12);
    let nothing = DomainScores::default();
    assert_eq!((nothing.bits_per_byte(), nothing.perplexity()), (0.0, 1.0));
}

/// Makes a shard of documents of these lengths, in tokens.
fn shard(lengths: &[usize]) -> TokenShard {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let mut writer = ShardWriter::create(&path, 9).unwrap();
    for length in lengths {
        writer.push(&vec![1; *length], &[], *length as u64).unwrap();
    }
    writer.finish().unwrap();
    TokenShard::open(&path).unwrap()
}

/// Checks which contexts and strides are refused, and that rows are no longer than the context or the longest document,
/// as many of them as fit into one pass.
#[test]
fn rows_fit_the_context_and_the_documents() {
    let sizes = r#"{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}"#;
    let shape: polymath_model::ArchitectureConfig = serde_json::from_str(sizes).unwrap();
    let ends = polymath_model::EndTokens { begin: 3, end: 0 };
    let model = shape.resolve(10, 4 * TOKENS_AT_ONCE, ends).unwrap();
    let of = |lengths: &[usize], context: Option<usize>, stride: Option<usize>| {
        let windows = WindowOptions {
            context,
            stride,
            ..WindowOptions::default()
        };
        let found = scoring_options(&model, &shard(lengths), windows);
        found
            .map(|found| (found.rows, found.sequence_length, found.bos_token_id))
            .map_err(|error| error.to_string())
    };
    let short = [4, 7];
    assert_eq!(of(&short, None, None), Ok((1, TOKENS_AT_ONCE, 3)));
    assert_eq!(of(&short, Some(1), Some(1)), Ok((TOKENS_AT_ONCE, 1, 3)));
    assert_eq!(
        of(&short, Some(TOKENS_AT_ONCE / 3), None),
        Ok((3, TOKENS_AT_ONCE / 3, 3))
    );
    assert_eq!(
        of(&[2 * TOKENS_AT_ONCE, 4], None, None),
        Ok((1, 2 * TOKENS_AT_ONCE, 3))
    );
    assert_eq!(
        of(&short, Some(4 * TOKENS_AT_ONCE), None),
        Ok((1, TOKENS_AT_ONCE, 3))
    );
    for (context, stride, expected) in [
        (0, None, "a context of 0 tokens"),
        (4 * TOKENS_AT_ONCE + 1, None, "`max_position_embeddings`"),
        (5, Some(6), "a stride of 6 tokens"),
    ] {
        let said = of(&short, Some(context), stride).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
    assert!(of(&short, Some(5), Some(5)).is_ok());
}

/// Checks the number of tokens that will be scored: those of the split, up to the maximum.
#[test]
fn sizes_are_those_of_the_split() {
    let shard = shard(&[4, 7, 5]);
    let size = |split, max_tokens| {
        let windows = WindowOptions {
            split,
            max_tokens,
            ..WindowOptions::default()
        };
        size(&shard, windows)
    };
    assert_eq!(
        (size(None, None), size(None, Some(9)), size(None, Some(16))),
        (16, 9, 16)
    );
    let of = |split| size(Some(split), None);
    assert_eq!(of(HeldoutSplit::Dev) + of(HeldoutSplit::Test), 16);
    for split in [HeldoutSplit::Dev, HeldoutSplit::Test] {
        assert_eq!(has(&shard, split), of(split) > 0);
    }
    let alone = self::shard(&[4]);
    let split = |wanted: bool| {
        let mut both = [HeldoutSplit::Dev, HeldoutSplit::Test].into_iter();
        both.find(|split| (alone.split_of(0) == *split) == wanted)
            .unwrap()
    };
    assert!(has(&alone, split(true)) && !has(&alone, split(false)));
}

/// Checks the sample of a domain by hand: a quarter of the tokens if these are enough groups, half of them if only
/// these are, and otherwise all. The sampled documents are among those that the whole windows score.
#[test]
fn a_sample_has_enough_groups() {
    let sizes = r#"{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}"#;
    let shape: polymath_model::ArchitectureConfig = serde_json::from_str(sizes).unwrap();
    let ends = polymath_model::EndTokens { begin: 3, end: 0 };
    let model = shape.resolve(10, 64, ends).unwrap();
    let of = |lengths: &[usize], windows: WindowOptions| {
        let shard = shard(lengths);
        let sample = sample_windows(&model, &shard, windows, 15.0).unwrap();
        let documents = |windows| {
            let options = scoring_options(&model, &shard, windows).unwrap();
            ScoringBatches::new(&shard, options).documents().to_vec()
        };
        let (all, few) = (documents(windows), documents(sample));
        assert!(few.iter().all(|document| all.contains(document)));
        assert_eq!(
            scored_tokens(&model, &shard, windows).unwrap(),
            all.iter()
                .map(|at| lengths[*at as usize] as u64)
                .sum::<u64>()
        );
        (few.len(), all.len())
    };
    let all = WindowOptions::default();
    assert_eq!(of(&[4; 60], all), (15, 60));
    assert_eq!(of(&[4; 59], all), (29, 59));
    assert_eq!(of(&[4; 30], all), (15, 30));
    assert_eq!(of(&[4; 29], all), (29, 29));
    // The maximum leaves 80 of 120 documents.
    let limited = WindowOptions {
        max_tokens: Some(320),
        ..all
    };
    assert_eq!(of(&[4; 120], limited), (20, 80));
    // One document that has most of the text leaves too few effective groups in any part.
    let mut uneven = vec![4; 99];
    uneven.push(4000);
    assert_eq!(of(&uneven, all).0, 100);
}
