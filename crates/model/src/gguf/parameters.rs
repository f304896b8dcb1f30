//! Parameter names and row order in GGUF files.

use candle_core::{Result, Tensor};

use super::architecture::Architecture;
use crate::ModelConfig;

/// Modules outside the blocks: Hugging Face name, GGUF name.
const OUTSIDE: [(&str, &str); 4] = [
    ("model.embed_tokens", "token_embd"),
    ("model.embed_positions", "position_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];
const OF_A_BLOCK: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Name of GPT-2's joint projection to queries, keys and values.
const QUERIES_KEYS_VALUES: &str = "attn_qkv";

/// Name of the output projection in GGUF; a tied model has none.
pub(super) const OUTPUT: &str = "output.weight";

/// Tensor of a GGUF file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Name of the tensor in the GGUF file.
    pub name: String,
    /// Parameters that the tensor consists of, in the order of its rows, with their shapes.
    pub parts: Vec<(String, Vec<usize>)>,
}

impl Stored {
    /// Returns the shape of the tensor, with the rows of all parts.
    pub fn shape(&self) -> Vec<usize> {
        let rows = self.parts.iter().map(|(_, shape)| shape[0]);
        let mut shape = vec![rows.fold(0, usize::saturating_add)];
        shape.extend(&self.parts[0].1[1..]);
        shape
    }
}

/// Returns the GGUF tensors of a model.
///
/// # Errors
/// Fails if a parameter has no GGUF name.
pub(super) fn layout(
    architecture: Architecture,
    config: &ModelConfig,
) -> std::result::Result<Vec<Stored>, String> {
    let mut all: Vec<Stored> = Vec::new();
    for (parameter, shape) in config.parameter_shapes() {
        let name = name_of(architecture, &parameter).ok_or_else(|| {
            let architecture = architecture.name();
            format!(
                "the parameter `{parameter}` has no place in a GGUF of the architecture `{architecture}`"
            )
        })?;
        // The queries, keys and values of a block follow each other, each with its weight and bias.
        match all
            .iter_mut()
            .rev()
            .take(2)
            .find(|known| known.name == name)
        {
            Some(known) => known.parts.push((parameter, shape)),
            None => all.push(Stored {
                name,
                parts: vec![(parameter, shape)],
            }),
        }
    }
    Ok(all)
}

/// Returns the GGUF name of a parameter; `None` if it has none.
fn name_of(architecture: Architecture, parameter: &str) -> Option<String> {
    let theirs = |names: &[(&str, &'static str)], ours: &str| {
        let found = names.iter().find(|(known, _)| *known == ours);
        found.map(|(_, theirs)| *theirs)
    };
    let (module, kind) = parameter.rsplit_once('.')?;
    if let Some(name) = theirs(&OUTSIDE, module) {
        return Some(format!("{name}.{kind}"));
    }
    let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let is_joined = architecture == Architecture::Gpt2
        && ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].contains(&part);
    let name = match is_joined {
        true => QUERIES_KEYS_VALUES,
        false => theirs(&OF_A_BLOCK, part)?,
    };
    Some(format!("blk.{layer}.{name}.{kind}"))
}

/// Returns the number of heads of a parameter whose rows are in a different order in GGUF; `None` for any other
/// parameter.
pub(super) fn reordered_heads(
    architecture: Architecture,
    config: &ModelConfig,
    parameter: &str,
) -> Option<usize> {
    let heads = [
        ("self_attn.q_proj.weight", config.num_attention_heads),
        ("self_attn.k_proj.weight", config.num_key_value_heads),
    ];
    let found = heads.iter().find(|(end, _)| parameter.ends_with(end));
    found
        .filter(|_| architecture.rotates_adjacent_pairs())
        .map(|(_, heads)| *heads)
}

/// Reorders the rows of each head from two halves to adjacent pairs: row i of the lower half is followed by row i of
/// the upper half.
///
/// # Shapes
/// (heads · width, in) → (heads · width, in)
pub(super) fn to_pairs(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let half = weight.dim(0)? / heads / 2;
    swap(weight, [heads, 2, half])
}

/// Reorders the rows of each head from adjacent pairs to two halves: the inverse of [`to_pairs`].
pub(super) fn to_halves(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let half = weight.dim(0)? / heads / 2;
    swap(weight, [heads, half, 2])
}

/// Swaps the inner dimensions of rows of the shape (heads, outer, inner).
fn swap(weight: &Tensor, [heads, outer, inner]: [usize; 3]) -> Result<Tensor> {
    let rows = weight.reshape((heads, outer, inner, weight.dim(1)?))?;
    rows.transpose(1, 2)?.contiguous()?.reshape(weight.shape()) // (heads · inner · outer, in)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Checks two heads of four rows: the halves 0 1 | 2 3 become the pairs 0 2 | 1 3, and the inverse restores them.
    #[test]
    fn pairs_and_halves_are_inverse() {
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        let weight = Tensor::from_vec(rows.clone(), (8, 1), &Device::Cpu).unwrap();
        let pairs = to_pairs(&weight, 2).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&pairs), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(values(&to_halves(&pairs, 2).unwrap()), rows);
    }

    /// Checks llama.cpp's names, and that other parameters have none.
    #[test]
    fn parameters_have_gguf_names() {
        for (ours, theirs) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", OUTPUT),
            (
                "model.layers.12.self_attn.q_proj.bias",
                "blk.12.attn_q.bias",
            ),
            (
                "model.layers.0.post_attention_layernorm.weight",
                "blk.0.ffn_norm.weight",
            ),
        ] {
            assert_eq!(name_of(Architecture::Llama, ours).as_deref(), Some(theirs));
        }
        for ours in [
            "transformer.h.0.attn.c_attn.weight",
            "model.layers.0.mlp.router.weight",
        ] {
            assert_eq!(name_of(Architecture::Llama, ours), None);
        }
        for part in ["q", "k", "v"] {
            let ours = format!("model.layers.1.self_attn.{part}_proj.bias");
            let theirs = name_of(Architecture::Gpt2, &ours);
            assert_eq!(theirs.as_deref(), Some("blk.1.attn_qkv.bias"));
        }
    }
}
