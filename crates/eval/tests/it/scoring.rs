//! Tests of scoring with models of known probabilities.

use std::sync::Arc;

use polymath_data::{
    DocumentOrigin, GroupKind, Grouping, HeldoutSplit, NamedShard, Question, ShardWriter,
    TokenShard,
};
use polymath_eval::{
    HeldoutEvaluator, ScoredGroups, WindowOptions, answer_questions, check_questions,
    generate_answers, score_shard, score_tokens, scored_groups,
};

use crate::support::machine::{Machine, VOCABULARY};

/// Creates a shard of documents with these lengths; each token but the last is one byte.
fn shard(lengths: &[usize], vocabulary: usize) -> Arc<TokenShard> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let mut writer = ShardWriter::create(&path, vocabulary).unwrap();
    for length in lengths {
        let letters = (0..*length).map(|at| 1 + ((at * 7 + length) % (vocabulary - 1)) as u32);
        let tokens: Vec<u32> = letters.chain([0]).collect();
        writer.push(&tokens, &[], *length as u64).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(TokenShard::open(&path).unwrap())
}

fn windows(context: usize, stride: usize) -> WindowOptions {
    WindowOptions {
        context: Some(context),
        stride: Some(stride),
        max_tokens: None,
        split: None,
    }
}

/// Checks that a model with uniform predictions has a loss of ln(vocabulary) per token, for any windows and packing,
/// and that each token is scored once.
#[test]
fn every_token_is_scored_once() {
    let model = Machine::default().model();
    let lengths = [3, 1, 40, 8, 0, 17, 64, 5];
    let shard = shard(&lengths, VOCABULARY);
    let each = (VOCABULARY as f64).ln();
    for (context, stride) in [(32, 32), (32, 5), (8, 8), (1, 1)] {
        let mut last = (0, 1);
        let mut progress = |done, all| last = (done, all);
        let scores = score_shard(&model, &shard, windows(context, stride), &mut progress).unwrap();
        assert_eq!(last, (shard.tokens(), shard.tokens()));
        assert_eq!(scores.documents.len(), lengths.len());
        for (document, length) in scores.documents.iter().zip(lengths) {
            assert_eq!(
                (document.tokens, document.bytes),
                (length as u64 + 1, length as u64)
            );
            assert!((document.nats - each * document.tokens as f64).abs() < 1e-4);
        }
        assert!((scores.perplexity() - VOCABULARY as f64).abs() < 1e-3);
        let bits = (scores.tokens() as f64) * (VOCABULARY as f64).log2() / scores.bytes() as f64;
        assert!((scores.bits_per_byte() - bits).abs() < 1e-4);
    }
}

/// Checks that the documents of a group count as one, with their total bytes, and that a split counts its own groups
/// only.
#[test]
fn groups_are_counted_with_their_sizes() {
    let model = Machine::default().model();
    let count = |shard: &TokenShard, split| {
        let windows = WindowOptions {
            split,
            ..windows(8, 8)
        };
        scored_groups(model.config(), shard, windows).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let writer = ShardWriter::create(&path, VOCABULARY).unwrap();
    let mut writer = writer.with_groups(Grouping::of(GroupKind::File)).unwrap();
    for (group, bytes) in [(7, 10), (9, 10), (7, 20)] {
        let origin = DocumentOrigin {
            group,
            ..DocumentOrigin::default()
        };
        writer.push_from(origin, &[1, 0], &[], bytes).unwrap();
    }
    writer.finish().unwrap();
    let grouped = TokenShard::open(&path).unwrap();
    let expected = ScoredGroups {
        count: 2,
        by_size: 40.0 * 40.0 / (30.0 * 30.0 + 10.0 * 10.0),
    };
    assert_eq!(count(&grouped, None), expected);
    assert_eq!(count(&grouped, Some(HeldoutSplit::Test)).count, 1);
    // Without groups, each document is its own group.
    let own = count(&shard(&[10, 10, 10, 30], VOCABULARY), None);
    assert_eq!((own.count, own.by_size), (4, 3.0));
}

/// Checks that a stride longer than the context is refused, since it would skip tokens.
#[test]
fn strides_beyond_the_context_are_refused() {
    let model = Machine::default().model();
    let shard = shard(&[40], VOCABULARY);
    let error = score_shard(&model, &shard, windows(8, 9), &mut |_, _| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a stride of 9 tokens: windows of 8"),
        "{error}"
    );
}

/// Checks that a document's score does not depend on the other documents in the batch.
#[test]
fn documents_are_scored_independently() {
    let model = Machine::random();
    let lengths = [3, 12, 20, 8, 17, 5];
    let together = score_shard(
        &model,
        &shard(&lengths, VOCABULARY),
        WindowOptions::default(),
        &mut |_, _| {},
    );
    for (document, length) in together.unwrap().documents.iter().zip(lengths) {
        let alone = shard(&[length], VOCABULARY);
        let alone = score_shard(&model, &alone, WindowOptions::default(), &mut |_, _| {}).unwrap();
        assert!((document.nats - alone.documents[0].nats).abs() < 1e-3);
    }
}

/// Checks the scores of single tokens: they are at their tokens' positions (two documents with the same beginning
/// have the same scores there, for any windows), they add up to the document's score, they are NaN for prompts, and
/// no more than requested are kept.
#[test]
fn single_tokens_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let mut writer = ShardWriter::create(&path, VOCABULARY).unwrap();
    let tokens: Vec<u32> = (0..30)
        .map(|at| 1 + (at * 11 % (VOCABULARY as u32 - 1)))
        .collect();
    for length in [30, 12, 20, 6] {
        let document = [&tokens[..length], &[0]].concat();
        let scored: Vec<bool> = (0..=length).map(|at| at >= 2).collect();
        writer.push(&document, &scored, length as u64).unwrap();
    }
    writer.finish().unwrap();
    let shard = TokenShard::open(&path).unwrap();
    let model = Machine::random();
    let options = windows(8, 8);
    let all = score_tokens(&model, &shard, options, 1000, &mut |_, _| {}).unwrap();
    assert_eq!(all.tokens_of.len(), 4);
    let first = &all.tokens_of[0].nats;
    for (tokens, document) in all.tokens_of.iter().zip(&all.documents) {
        let end = tokens.nats.len() - 1;
        assert!(tokens.nats[..2].iter().all(|nats| nats.is_nan()));
        for (at, (nats, same)) in tokens.nats[..end].iter().zip(first).enumerate().skip(2) {
            assert!((nats - same).abs() < 1e-4, "token {at}: {nats} {same}");
        }
        let sum: f64 = tokens.nats[2..].iter().map(|nats| f64::from(*nats)).sum();
        assert!((sum - document.nats).abs() < 1e-6);
    }
    // 31 and 13 tokens fit into 50; 21 more do not.
    let few = score_tokens(&model, &shard, options, 50, &mut |_, _| {}).unwrap();
    let kept: Vec<u32> = few.tokens_of.iter().map(|tokens| tokens.document).collect();
    assert_eq!(kept, [0, 1]);
    assert_eq!(few.documents, all.documents);
    let none = score_shard(&model, &shard, options, &mut |_, _| {}).unwrap();
    assert!(none.tokens_of.is_empty());
}

/// Checks that the evaluator scores the same sample every time and agrees with `score_shard`.
#[test]
fn evaluator_is_deterministic() {
    let model = Machine::random();
    let shards = vec![
        NamedShard {
            name: "long".to_owned(),
            shard: shard(&[30, 40, 50, 60], VOCABULARY),
        },
        NamedShard {
            name: "short".to_owned(),
            shard: shard(&[2, 3, 4], VOCABULARY),
        },
    ];
    let windows = WindowOptions {
        max_tokens: Some(80),
        ..WindowOptions::default()
    };
    let evaluator = HeldoutEvaluator::new(shards.clone(), windows);
    let first = evaluator.evaluate(&model, &mut |_, _| {}).unwrap();
    assert_eq!(first, evaluator.evaluate(&model, &mut |_, _| {}).unwrap());
    assert_eq!(first.keys().collect::<Vec<_>>(), ["long", "short"]);
    let long = score_shard(&model, &shards[0].shard, windows, &mut |_, _| {}).unwrap();
    assert_eq!(first["long"], long.bits_per_byte());
    assert!(long.documents.len() < 4);
}

/// Checks that a shard of another tokenizer, and a context longer than the model's, are refused.
#[test]
fn mismatched_shards_and_contexts_are_refused() {
    let model = Machine::default().model();
    let other = shard(&[300], 4 * VOCABULARY);
    let error = score_shard(&model, &other, WindowOptions::default(), &mut |_, _| {});
    assert!(error.is_err());
    let fits = shard(&[3], VOCABULARY);
    let error = score_shard(&model, &fits, windows(65, 65), &mut |_, _| {}).unwrap_err();
    assert!(
        error.to_string().contains("max_position_embeddings"),
        "{error}"
    );
}

/// Checks that a question is answered right exactly if each token of the answer and the end of its line is the most
/// likely one, and that results keep their order for rows of many lengths in many batches.
#[test]
fn questions_are_answered_by_the_most_likely_tokens() {
    // b follows a, c follows b, and the line ends after c; e follows d, and the line ends after e.
    let machine = Machine::from_pairs(&["ab", "bc", "c\n", "de", "e\n"]);
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    machine.save_tokenizer(&tokenizer);
    let cases = [
        ("a", "bc", true),
        ("dda", "bc", true),
        ("a", "bd", false),
        ("a", "b", false),
        ("xyzd", "e", true),
        ("b", "c", true),
        ("d", "ee", false),
        ("aaaaaaaaaaaaaaaab", "c", true),
    ];
    let asked: Vec<(Question, bool)> = cases
        .iter()
        .cycle()
        .take(50)
        .map(|(prompt, answer, right)| {
            let question = Question {
                prompt: (*prompt).into(),
                answer: (*answer).into(),
                group: None,
            };
            (question, *right)
        })
        .collect();
    let (questions, expected): (Vec<Question>, Vec<bool>) = asked.into_iter().unzip();
    let right = answer_questions(&machine.model(), &tokenizer, &questions).unwrap();
    assert_eq!(right, expected);

    let too_long = Question {
        prompt: "a".repeat(64),
        answer: "b".into(),
        group: None,
    };
    let mut asked = questions[..3].to_vec();
    asked.extend([too_long.clone(), too_long]);
    let config = machine.model().config().clone();
    for error in [
        answer_questions(&machine.model(), &tokenizer, &asked).unwrap_err(),
        check_questions(&config, &tokenizer, &asked).unwrap_err(),
    ] {
        let error = error.to_string();
        let cut = format!("answer: `{}…`", "a".repeat(60));
        for part in ["2 of 5 questions too long", "number 4", &cut] {
            assert!(error.contains(part), "{error}");
        }
    }
    check_questions(&config, &tokenizer, &questions).unwrap();
}

/// Checks that an answer may end with the line, an empty line or a token that ends a text, and with nothing else.
#[test]
fn answers_end_with_their_line_or_text() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let question = Question {
        prompt: "a".into(),
        answer: "bc".into(),
        group: None,
    };
    for (end, right) in [
        ("c$", true),
        ("cz", true),
        ("c\n", true),
        ("c=", true),
        ("cd", false),
    ] {
        let machine = Machine::from_pairs(&["ab", "bc", end]);
        machine.save_tokenizer(&tokenizer);
        let asked = std::slice::from_ref(&question);
        let found = answer_questions(&machine.model(), &tokenizer, asked).unwrap();
        assert_eq!(found, [right], "{end}");
    }
    // An answer that ends too early is wrong with any ending.
    let machine = Machine::from_pairs(&["ab", "b$"]);
    let found = answer_questions(&machine.model(), &tokenizer, &[question]).unwrap();
    assert_eq!(found, [false]);
}

/// Checks that generated answers are what greedy decoding gives, up to the end of the line or of the text, and that
/// they agree with what counts as right.
#[test]
fn generated_answers_end_with_their_line_or_text() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let question = |prompt: &str| Question {
        prompt: prompt.into(),
        answer: "bc".into(),
        group: None,
    };
    let asked = [question("a"), question("xb")];
    for end in ["c$", "c\n"] {
        let machine = Machine::from_pairs(&["ab", "bc", end]);
        machine.save_tokenizer(&tokenizer);
        let answers = generate_answers(&machine.model(), &tokenizer, &asked).unwrap();
        // The decoder of this tokenizer puts spaces between tokens.
        assert_eq!(answers, ["b c", "c"], "{end:?}");
        let right = answer_questions(&machine.model(), &tokenizer, &asked).unwrap();
        assert_eq!(right, [true, false], "{end:?}");
    }
    // An answer without an end is cut.
    let machine = Machine::from_pairs(&["ab", "ba"]);
    machine.save_tokenizer(&tokenizer);
    let answers = generate_answers(&machine.model(), &tokenizer, &asked[..1]).unwrap();
    assert!(
        answers[0].starts_with("b a b a") && answers[0].len() <= 48,
        "{answers:?}"
    );
}
