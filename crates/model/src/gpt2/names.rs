//! Names of the tensors in a GPT-2 file, and the parameters that each of them holds.

use crate::ModelConfig;
use crate::stored::Layout::{self, AsOurs, Transposed};
use crate::stored::Stored;

/// Prefix of all tensors except the output projection; some files omit it.
pub(crate) const PREFIX: &str = "transformer.";

/// Modules outside the blocks: GPT-2 name, Llama name.
const OUTSIDE: [(&str, &str); 4] = [
    ("wte.weight", "model.embed_tokens.weight"),
    ("wpe.weight", "model.embed_positions.weight"),
    ("ln_f.weight", "model.norm.weight"),
    ("ln_f.bias", "model.norm.bias"),
];

/// Modules of a block: GPT-2 name, Llama names, and the layout of the weight, which is transposed for `Conv1D`.
const MODULES: [(&str, &[&str], Layout); 6] = [
    ("ln_1", &["input_layernorm"], AsOurs),
    (
        "attn.c_attn",
        &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        Transposed,
    ),
    ("attn.c_proj", &["self_attn.o_proj"], Transposed),
    ("ln_2", &["post_attention_layernorm"], AsOurs),
    ("mlp.c_fc", &["mlp.up_proj"], Transposed),
    ("mlp.c_proj", &["mlp.down_proj"], Transposed),
];

/// Returns all tensors of a model's file. Older files also hold `attn.bias` and `attn.masked_bias`, the causal mask.
pub(crate) fn stored(config: &ModelConfig) -> Vec<Stored> {
    let outside = OUTSIDE.iter();
    let mut tensors: Vec<Stored> = outside
        .map(|(there, here)| Stored::single(format!("{PREFIX}{there}"), here))
        .collect();
    for layer in 0..config.num_hidden_layers {
        for (module, parts, layout) in MODULES {
            for (end, layout) in [("weight", layout), ("bias", AsOurs)] {
                let here = |part: &&str| format!("model.layers.{layer}.{part}.{end}");
                tensors.push(Stored {
                    name: format!("{PREFIX}h.{layer}.{module}.{end}"),
                    parameters: parts.iter().map(here).collect(),
                    layout,
                });
            }
        }
    }
    if !config.tie_word_embeddings {
        let head = "lm_head.weight";
        tensors.push(Stored::single(head.to_owned(), head));
    }
    tensors
}
