//! Helpers that create small token shards.

use std::sync::Arc;

use polymath_data::{DocumentOrigin, GroupKind, Grouping, ShardWriter, TokenShard};
use proptest::prelude::*;

/// Tokens of a document, including the end token, each with its loss mask.
pub type Story = Vec<(u32, bool)>;

/// Generates documents of 1 to 40 tokens; with `masked`, some tokens are not scored.
pub fn stories(masked: bool) -> impl Strategy<Value = Vec<Story>> {
    let token = (1..300u32, prop_oneof![Just(true), Just(!masked)]);
    let story = prop::collection::vec(token, 0..40).prop_map(|mut story| {
        story.push((0, true));
        story
    });
    prop::collection::vec(story, 1..20)
}

/// Creates a token shard of these documents.
pub fn shard(stories: &[Story]) -> Arc<TokenShard> {
    write(stories, 300)
}

/// Creates a shard with a large vocabulary, so that every token of a test can be different.
pub fn wide(stories: &[Story]) -> Arc<TokenShard> {
    write(stories, 1 << 24)
}

fn write(stories: &[Story], vocabulary: usize) -> Arc<TokenShard> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.safetensors");
    let mut writer = ShardWriter::create(&path, vocabulary).unwrap();
    for story in stories {
        let tokens: Vec<u32> = story.iter().map(|token| token.0).collect();
        let scored: Vec<bool> = story.iter().map(|token| token.1).collect();
        writer.push(&tokens, &scored, tokens.len() as u64).unwrap();
    }
    let written = writer.finish().unwrap();
    let shard = TokenShard::open(&path).unwrap();
    assert_eq!(written.tokens, shard.tokens());
    Arc::new(shard)
}

/// Creates a token shard of equal documents with these groups.
pub fn grouped(groups: &[u64]) -> TokenShard {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let writer = ShardWriter::create(&path, 300).unwrap();
    let mut writer = writer.with_groups(Grouping::of(GroupKind::Record)).unwrap();
    for (number, group) in groups.iter().enumerate() {
        let origin = DocumentOrigin {
            group: *group,
            record: number as u64,
            ..DocumentOrigin::default()
        };
        writer.push_from(origin, &[1, 0], &[], 1).unwrap();
    }
    writer.finish().unwrap();
    TokenShard::open(&path).unwrap()
}

/// Creates a shard of documents with these lengths. Tokens are numbered from 1 across all documents.
pub fn numbered(lengths: &[usize]) -> Arc<TokenShard> {
    let mut next = 1;
    let story = |length: &usize| {
        let from = next;
        next += *length as u32;
        (from..next).map(|token| (token, true)).collect()
    };
    wide(&lengths.iter().map(story).collect::<Vec<Story>>())
}
