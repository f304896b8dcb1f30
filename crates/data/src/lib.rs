//! Sources, tokenizer training, token shards, mixture, batches.
