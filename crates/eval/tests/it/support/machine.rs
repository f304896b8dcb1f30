//! Small models over letters whose predictions are known exactly, for tests.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use polymath_model::{
    ArchitectureConfig, EndTokens, Implementation, LoadOptions, ModelConfig, Ops, Precision,
    Transformer,
};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

/// Size of the vocabulary: end of text, end of line, 26 letters, and an empty line.
pub const VOCABULARY: usize = 29;
/// Model width, large enough to give each token its own direction.
const HIDDEN: usize = 32;

/// Model that predicts a given letter after each letter; after any other token, all tokens are equally likely.
#[derive(Default)]
pub struct Machine {
    /// Pairs of a token and the token that follows it.
    follows: Vec<(usize, usize)>,
}

impl Machine {
    /// Creates a machine from pairs of a character and the next one; `$` is the end of the text, `=` an empty line.
    pub fn from_pairs(pairs: &[&str]) -> Self {
        let token = |letter: u8| match letter {
            b'$' => 0,
            b'\n' => 1,
            b'=' => VOCABULARY - 1,
            letter => usize::from(letter - b'a') + 2,
        };
        let pairs = pairs.iter().map(|pair| pair.as_bytes());
        Self {
            follows: pairs.map(|pair| (token(pair[0]), token(pair[1]))).collect(),
        }
    }

    /// Builds the model: each embedding is an axis, the layers add nothing, and the output projection holds the next
    /// tokens.
    pub fn model(&self) -> Transformer {
        let mut weights = BTreeMap::new();
        for (name, shape) in config().parameter_shapes() {
            let mut values = vec![0f32; shape.iter().product()];
            match name.as_str() {
                "model.embed_tokens.weight" => {
                    for token in 0..VOCABULARY {
                        values[token * HIDDEN + token] = 1.0;
                    }
                }
                "lm_head.weight" => {
                    for (token, next) in &self.follows {
                        values[next * HIDDEN + token] = 1.0;
                    }
                }
                name if name.contains("norm") => values.fill(1.0),
                _ => {}
            }
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            weights.insert(name, tensor);
        }
        Transformer::from_weights(config(), weights, &options()).unwrap()
    }

    /// Returns a model with random weights.
    pub fn random() -> Transformer {
        Transformer::initialize(config(), 3, &options()).unwrap()
    }

    /// Saves a tokenizer with one token per letter, and one for an empty line.
    pub fn save_tokenizer(&self, path: &Path) {
        let letters = ('a'..='z').map(String::from);
        let all = ["<|endoftext|>".to_owned(), "\n".to_owned()]
            .into_iter()
            .chain(letters)
            .chain(["\n\n".to_owned()]);
        let vocabulary: Vec<(String, u32)> = all.zip(0..).collect();
        let model = BPE::builder()
            .vocab_and_merges(
                vocabulary
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
                vec![("\n".to_owned(), "\n".to_owned())],
            )
            .build()
            .unwrap();
        Tokenizer::new(model).save(path, false).unwrap();
    }
}

fn config() -> ModelConfig {
    let architecture = ArchitectureConfig {
        hidden_size: HIDDEN,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: None,
        head_dim: None,
        intermediate_size: None,
        max_position_embeddings: None,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        qk_norm: false,
        sliding_window: None,
        tie_word_embeddings: false,
        initializer_range: Some(0.3),
    };
    let config = architecture
        .resolve(VOCABULARY, 64, EndTokens { begin: 0, end: 0 })
        .unwrap();
    ModelConfig {
        // The letter z ends a generated text too, as the end of a turn does in chat models.
        other_eos_token_ids: vec![27],
        ..config
    }
}

fn options() -> LoadOptions<'static> {
    let ops = Ops {
        implementation: Implementation::Fused,
        precision: Precision::F32,
    };
    LoadOptions::frozen(&Device::Cpu, ops)
}
