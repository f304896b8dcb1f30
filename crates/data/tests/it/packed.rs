//! Tests of batches of examples with prompts.

mod mixed;

use std::ops::Range;
use std::sync::Arc;

use polymath_data::{
    Batch, BatchShape, IGNORED, MixturePart, MixtureStream, Packing, Replay, ReplayStream,
    TokenShard, fitting_length,
};
use proptest::prelude::*;

use crate::support::shelf;

const BOS: u32 = 0xffff_0000;

/// Example of several exchanges, each given by the number of tokens of its prompt and of its answer.
type Example = Vec<(usize, usize)>;

/// Creates a shard of these examples. Tokens are numbered from 1 across all examples.
fn shard(examples: &[Example]) -> Arc<TokenShard> {
    let mut next = 1;
    let stories: Vec<shelf::Story> = examples
        .iter()
        .map(|example| {
            let marks = example.iter().flat_map(|&(prompt, answer)| {
                std::iter::repeat_n(false, prompt).chain(std::iter::repeat_n(true, answer))
            });
            let story = marks.map(|scored| {
                next += 1;
                (next - 1, scored)
            });
            story.collect()
        })
        .collect();
    shelf::wide(&stories)
}

fn part(name: &str, shard: &Arc<TokenShard>, weight: f64) -> MixturePart {
    MixturePart {
        name: name.into(),
        shard: shard.clone(),
        weight,
    }
}

fn stream(parts: Vec<MixturePart>, rows: usize, length: usize, seed: u64) -> MixtureStream {
    let shape = BatchShape {
        rows,
        sequence_length: length,
    };
    MixtureStream::new(parts, shape, BOS, seed).unwrap()
}

/// Returns the rows of an epoch; each row is a list of pieces, each position an (input, target) pair.
fn epoch(stream: &MixtureStream, rows: u64, number: u64) -> Vec<Vec<Vec<(u32, u32)>>> {
    (number * rows..(number + 1) * rows)
        .map(|row| pieces(&stream.batch(row)))
        .collect()
}

fn pieces(batch: &Batch) -> Vec<Vec<(u32, u32)>> {
    let mut pieces: Vec<Vec<(u32, u32)>> = Vec::new();
    for at in 0..batch.sequence_length() {
        if batch.document_starts[at] as usize == at {
            pieces.push(Vec::new());
        }
        let position = (batch.input_ids[at], batch.targets[at]);
        pieces.last_mut().unwrap().push(position);
    }
    pieces
}

fn examples(shortest_prompt: usize) -> impl Strategy<Value = Vec<Example>> {
    let exchange = (shortest_prompt..12, 1..12usize);
    prop::collection::vec(prop::collection::vec(exchange, 1..5), 1..25)
}

/// Returns the range of token numbers of each example.
fn numbers(examples: &[Example]) -> Vec<Range<u32>> {
    let mut next = 1;
    let range = |example: &Example| {
        let length: usize = example.iter().map(|(prompt, answer)| prompt + answer).sum();
        let from = next;
        next += length as u32;
        from..next
    };
    examples.iter().map(range).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checks that each target is learned once per epoch, from the token before it; that an example that fits into a
    /// row stays whole; that every row has a target; and that the rest of a row is padding, in which each position is
    /// a document of its own.
    #[test]
    fn an_epoch_has_every_target_once(examples in examples(0), length in 4..40usize, seed: u64) {
        // A document without a prompt comes first, so that the shard has a loss mask with any examples.
        let mut all = vec![vec![(1, 1)]];
        all.extend(examples);
        let shard = shard(&all);
        let packing = Packing::of(&shard, length).unwrap();
        let stream = stream(vec![part("a", &shard, 1.0)], 1, length, seed);
        let numbers = numbers(&all);
        for number in 0..2 {
            let mut counts = vec![0; shard.tokens() as usize + 1];
            let mut whole = vec![0; all.len()];
            let mut tokens = 0;
            for row in epoch(&stream, packing.rows, number) {
                prop_assert!(row.iter().flatten().any(|position| position.1 != IGNORED));
                let of = |piece: &Vec<(u32, u32)>| piece.len() == 1 && piece[0] == (BOS, IGNORED);
                let padding = row.iter().rev().take_while(|piece| of(piece)).count();
                for piece in &row[..row.len() - padding] {
                    tokens += piece.len() as u64;
                    prop_assert!(piece.iter().any(|position| position.1 != IGNORED));
                    let (_, last) = *piece.iter().rfind(|position| position.1 != IGNORED).unwrap();
                    let example = numbers.iter().position(|range| range.contains(&last)).unwrap();
                    let begins = piece[0].0 == BOS;
                    let first = if begins { numbers[example].start } else { piece[0].0 + 1 };
                    for (number, position) in (first..).zip(piece) {
                        let before = if number == numbers[example].start { BOS } else { number - 1 };
                        prop_assert_eq!(position.0, before);
                        if position.1 != IGNORED {
                            prop_assert_eq!(position.1, number);
                            counts[number as usize] += 1;
                        }
                    }
                    let range = &numbers[example];
                    if first == range.start && first + piece.len() as u32 == range.end {
                        whole[example] += 1;
                    }
                }
            }
            prop_assert_eq!(tokens, packing.tokens);
            for (example, range) in all.iter().zip(&numbers) {
                let mut number = range.start;
                for &(prompt, answer) in example {
                    for _ in 0..prompt {
                        prop_assert_eq!(counts[number as usize], 0);
                        number += 1;
                    }
                    for _ in 0..answer {
                        prop_assert_eq!(counts[number as usize], 1);
                        number += 1;
                    }
                }
            }
            for (range, whole) in numbers.iter().zip(whole) {
                prop_assert_eq!(whole, usize::from(range.len() <= length));
            }
        }
    }

    /// Checks that an epoch has as many rows as best-fit packing takes: longest first, each piece into the row that
    /// it leaves the least room in.
    #[test]
    fn rows_are_those_of_best_fit(mut lengths in prop::collection::vec(1..24usize, 1..60), room in 24..40usize) {
        lengths.push(2); // a prompt, so that there is a mask
        let examples: Vec<Example> = lengths.iter().map(|length| vec![(length - 1, 1)]).collect();
        let packing = Packing::of(&shard(&examples), room).unwrap();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let mut left: Vec<usize> = Vec::new();
        for length in lengths {
            let fitting = (0..left.len()).filter(|row| left[*row] >= length);
            match fitting.min_by_key(|row| left[*row]) {
                Some(row) => left[row] -= length,
                None => left.push(room - length),
            }
        }
        prop_assert_eq!(packing.rows, left.len() as u64);
        let padding = left.iter().sum::<usize>() as f64 / (left.len() * room) as f64;
        prop_assert!((packing.padding() - padding).abs() < 1e-12);
    }

    /// Checks that every answer that fits into a row with its prompt keeps the prompt, and that the other answers are
    /// counted.
    #[test]
    fn answers_that_fit_keep_their_prompts(examples in examples(1), length in 4..40usize) {
        let mut all = vec![vec![(1, 1)]];
        all.extend(examples);
        let shard = shard(&all);
        let packing = Packing::of(&shard, length).unwrap();
        let stream = stream(vec![part("a", &shard, 1.0)], 1, length, 3);
        let rows: Vec<Vec<Vec<(u32, u32)>>> = epoch(&stream, packing.rows, 0);
        let mut next = 1;
        let (mut answers, mut lost) = (0, 0);
        for (prompt, answer) in all.iter().flatten().copied() {
            let range = next..next + (prompt + answer) as u32;
            next = range.end;
            // Positions from the prompt's first token to the answer's last target, in one piece.
            let targets = range.end - answer as u32..range.end;
            let kept = rows.iter().flatten().any(|piece| {
                let at = piece.iter().position(|position| position.1 == targets.start);
                at.is_some_and(|at| at >= prompt && piece.len() - at >= answer)
            });
            if prompt > 0 {
                answers += 1;
                lost += u64::from(!kept);
                prop_assert!(kept || range.len() > length, "{range:?}");
            }
        }
        prop_assert_eq!((packing.answers, packing.lost_prompts), (answers, lost));
        let sizes = || all.iter().map(|example| example.iter().map(|turn| turn.0 + turn.1).sum::<usize>());
        prop_assert_eq!(packing.cut, sizes().filter(|size| *size > length).count() as u64);
        prop_assert_eq!(packing.longest, sizes().max().unwrap() as u64);
    }
}

/// Checks that a long prompt loses its beginning, that a long answer continues in a further piece with context, and
/// that prompts without an answer are dropped.
#[test]
fn long_examples_are_cut_at_their_answers() {
    let found = |example: Example, length: usize| {
        let shard = shard(&[example]);
        let rows = Packing::of(&shard, length).unwrap().rows;
        let stream = stream(vec![part("a", &shard, 1.0)], 1, length, 1);
        let mut found: Vec<(u32, Vec<u32>)> = epoch(&stream, rows, 0)
            .into_iter()
            .flatten()
            .filter(|piece| piece[0] != (BOS, IGNORED) || piece.len() > 1)
            .map(|piece| {
                let first = if piece[0].0 == BOS { 1 } else { piece[0].0 + 1 };
                let targets = piece.into_iter().map(|position| position.1);
                (first, targets.filter(|target| *target != IGNORED).collect())
            })
            .collect();
        found.sort();
        found
    };
    // 20 + 3 tokens: the last eight are kept, of which three are the answer.
    assert_eq!(found(vec![(20, 3)], 8), [(16, vec![21, 22, 23])]);
    // 3 + 9 tokens: the prompt with five tokens of the answer, then the last four with four tokens of context.
    let cut = [(1, (4..9).collect()), (5, (9..13).collect::<Vec<u32>>())];
    assert_eq!(found(vec![(3, 9)], 8), cut);
    // Four exchanges of four tokens: two per row.
    let turns = vec![(2, 2); 4];
    let kept = [(1, vec![3, 4, 7, 8]), (9, vec![11, 12, 15, 16])];
    assert_eq!(found(turns, 8), kept);
    // The last prompt has no answer, and one in the middle fills a row alone: both are left out.
    assert_eq!(
        found(vec![(2, 2), (20, 0), (0, 1), (9, 0)], 8),
        [(1, vec![3, 4]), (18, vec![25])]
    );
}

/// Checks that pieces whose lengths add up to a row fill their rows, and that each epoch combines different pieces.
#[test]
fn rows_are_filled_by_best_fit() {
    let lengths = [5, 11, 7, 9, 8, 8, 3, 13, 16, 1, 15];
    let examples: Vec<Example> = lengths.iter().map(|length| vec![(length - 1, 1)]).collect();
    let shard1 = shard(&examples);
    let packing = Packing::of(&shard1, 16).unwrap();
    assert_eq!((packing.rows, packing.padding()), (6, 0.0));
    // Best fit puts the 3 next to the 7, so both 2s fit next to the 6.
    let lengths = [2, 3, 7, 2, 6];
    let examples: Vec<Example> = lengths.iter().map(|length| vec![(length - 1, 1)]).collect();
    let packing = Packing::of(&shard(&examples), 10).unwrap();
    assert_eq!((packing.rows, packing.padding()), (2, 0.0));
    let mixed: Vec<Example> = (0..2000)
        .map(|at| vec![(at * 7919 % 97, 1 + at % 5)])
        .collect();
    let shard = shard(&mixed);
    let packing = Packing::of(&shard, 256).unwrap();
    assert!(packing.padding() < 0.005, "{packing}");
    let one = stream(vec![part("a", &shard, 1.0)], 1, 256, 1);
    let neighbors = |number| {
        let rows = epoch(&one, packing.rows, number).into_iter();
        let mut rows: Vec<Vec<u32>> = rows
            .map(|row| row.concat().iter().map(|at| at.0).collect())
            .collect();
        let order = rows.clone();
        rows.sort();
        (rows, order)
    };
    let (first, order) = neighbors(0);
    assert_ne!(first, order, "rows come in the order of a permutation");
    assert_ne!(first, neighbors(1).0);
    // A batch does not depend on the batches requested before.
    let again = stream(vec![part("a", &shard, 1.0)], 1, 256, 1);
    for step in [packing.rows + 5, 3, 0, 2 * packing.rows, packing.rows - 1] {
        assert_eq!(again.batch(step), one.batch(step));
    }
}

/// Checks that a domain without any target is refused by its name with the reason, and that single examples without
/// targets are counted.
#[test]
fn prompts_without_answers_are_told() {
    let shape = BatchShape {
        rows: 2,
        sequence_length: 8,
    };
    let silent = shard(&[vec![(5, 0)], vec![(9, 0)]]);
    let parts = vec![part("law", &silent, 1.0)];
    let error = MixtureStream::new(parts, shape, BOS, 1)
        .unwrap_err()
        .to_string();
    for said in ["`law`", "none of its 2 examples has an answer"] {
        assert!(error.contains(said), "{error}");
    }
    let some = shard(&[vec![(5, 0)], vec![(3, 2)], vec![(20, 2)]]);
    let packing = Packing::of(&some, 8).unwrap();
    let counts = (
        packing.examples,
        packing.without_targets,
        packing.cut,
        packing.lost_prompts,
    );
    assert_eq!(counts, (3, 1, 1, 1));
    assert!(
        packing
            .to_string()
            .contains("left out: 1 without an answer"),
        "{packing}"
    );
    assert!(Packing::of(&shelf::numbered(&[5]), 8).is_none());
}

/// Checks that the chosen row length fits all examples, apart from a few that are far longer than the others, and is
/// at most the base's context length.
#[test]
fn rows_are_chosen_by_the_examples() {
    let lengths = |lengths: &[usize]| {
        let examples: Vec<Example> = lengths.iter().map(|length| vec![(length - 1, 1)]).collect();
        shard(&examples)
    };
    assert_eq!(fitting_length(&lengths(&[20, 218]), 256, 1024), 256);
    assert_eq!(fitting_length(&lengths(&[20, 500]), 256, 1024), 512);
    assert_eq!(fitting_length(&lengths(&[20, 513]), 256, 1024), 576);
    assert_eq!(fitting_length(&lengths(&[20, 5000]), 256, 1024), 1024);
    assert_eq!(fitting_length(&lengths(&[20, 30]), 256, 100), 100);
    let mut many = vec![300; 400];
    many[7] = 600;
    assert_eq!(fitting_length(&lengths(&many), 256, 8192), 640);
    many[7] = 7000;
    assert_eq!(fitting_length(&lengths(&many), 256, 8192), 320);
}
