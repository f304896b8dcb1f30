//! Target value of positions that do not count in a loss.

use candle_core::{Result, Tensor, bail};

pub use polymath_base::IGNORED;

pub(crate) fn check_targets(
    name: &str,
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
) -> Result<()> {
    let (tokens, width) = hidden.dims2()?;
    let (vocabulary, inputs) = weight.dims2()?;
    if width != inputs || tokens != targets.len() {
        bail!(
            "{name}: hidden states `{:?}`, weight `{:?}` and `{}` targets do not fit",
            hidden.dims(),
            weight.dims(),
            targets.len()
        )
    }
    let outside = |&&target: &&u32| target != IGNORED && target as usize >= vocabulary;
    if let Some(target) = targets.iter().find(outside) {
        bail!("{name}: target `{target}` is outside the vocabulary of `{vocabulary}`")
    }
    Ok(())
}
