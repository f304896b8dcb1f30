//! Key/value caches of the layers.

use candle_core::{Device, Result, Tensor};
use candle_nn::kv_cache::KvCache;

/// Keys and values of the tokens read so far, one pair per layer: `(batch, tokens, key/value heads, head_dim)`.
pub(crate) type Cache = Vec<KvCache>;

/// Initial capacity and growth of a cache in tokens, so that appending a token rarely copies the others.
const CACHE_TOKENS: usize = 256;

/// Creates an empty cache for the given number of layers.
pub(crate) fn empty_cache(layers: usize) -> Cache {
    // `KvCache::new` does not allocate yet.
    vec![KvCache::new(1, CACHE_TOKENS); layers]
}

/// Drops the keys and values of a layer for all tokens but the first `count`.
pub(crate) fn keep_first(past: &mut KvCache, count: usize) -> Result<()> {
    let (Some(key), Some(value)) = (past.k()?, past.v()?) else {
        return Ok(());
    };
    *past = KvCache::new(1, CACHE_TOKENS);
    if count > 0 {
        let first = |x: Tensor| x.narrow(1, 0, count)?.contiguous();
        past.append(&first(key)?, &first(value)?)?;
    }
    Ok(())
}

/// Drops the keys and values of all rows of the batch but those in `kept`.
fn keep_rows(cache: &mut Cache, kept: &[u32], device: &Device) -> Result<()> {
    let kept = Tensor::from_slice(kept, kept.len(), device)?;
    for layer in cache {
        let old = std::mem::replace(layer, KvCache::new(1, CACHE_TOKENS));
        if let (Some(key), Some(value)) = (old.k()?, old.v()?) {
            let key = key.contiguous()?.index_select(&kept, 0)?;
            let value = value.contiguous()?.index_select(&kept, 0)?;
            layer.append(&key, &value)?;
        }
    }
    Ok(())
}

/// Removes ended rows from the batch and its cache, but only once they are a quarter of it, since removing rows copies
/// the cache.
pub(crate) fn drop_ended<R>(
    rows: &mut Vec<R>,
    is_ended: impl Fn(&R) -> bool,
    cache: &mut Cache,
    device: &Device,
) -> Result<()> {
    let going: Vec<u32> = (0..rows.len() as u32)
        .filter(|row| !is_ended(&rows[*row as usize]))
        .collect();
    let ended = rows.len() - going.len();
    if ended == 0 || 4 * ended < rows.len() {
        return Ok(());
    }
    rows.retain(|row| !is_ended(row));
    match rows.is_empty() {
        true => Ok(()),
        false => keep_rows(cache, &going, device),
    }
}

/// Drops the keys and values before the last `window` tokens, which no later token attends to. It waits until there
/// are enough of them to be worth the copy.
pub(crate) fn forget_unseen(past: &mut KvCache, window: usize) -> Result<()> {
    let held = past.k_cache().current_seq_len();
    if held.saturating_sub(window) < CACHE_TOKENS {
        return Ok(());
    }
    if let (Some(key), Some(value)) = (past.k()?, past.v()?) {
        let last = |x: Tensor| x.narrow(1, held - window, window)?.contiguous();
        *past = KvCache::new(1, CACHE_TOKENS);
        past.append(&last(key)?, &last(value)?)?;
    }
    Ok(())
}
