//! What a GPT-2 file calls its tensors, and which parameters each of them holds.

use crate::ModelConfig;
use crate::stored::Layout::{self, AsOurs, Transposed};
use crate::stored::Stored;

/// What stands before the names of all tensors but the output projection's; some files leave it out.
pub(crate) const PREFIX: &str = "transformer.";

/// Outside the blocks: name there, name here.
const OUTSIDE: [(&str, &str); 4] = [
    ("wte.weight", "model.embed_tokens.weight"),
    ("wpe.weight", "model.embed_positions.weight"),
    ("ln_f.weight", "model.norm.weight"),
    ("ln_f.bias", "model.norm.bias"),
];

/// The modules of a block: name there, names here, and how the weight lies: those of `Conv1D` are transposed.
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

/// All tensors of a model's file. Older files hold besides `attn.bias` and `attn.masked_bias`, which are the causal mask.
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
