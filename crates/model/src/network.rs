//! Forward pass over weights, with or without gradients.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use candle_nn::kv_cache::KvCache;
use polymath_ops::{self as ops, Ops, Placement, RotaryTable, Segments};

use crate::adapter::Projection;
use crate::kv_cache::{Cache, forget_unseen};
use crate::{Family, LoraConfig, ModelConfig};

/// Inputs of one forward pass that all layers share.
pub(crate) struct Pass<'a> {
    pub ops: Ops,
    /// Rotary table; `None` if positions are learned.
    pub rotary: Option<&'a RotaryTable>,
    pub positions: &'a Arc<[u32]>,
    pub segments: &'a Segments,
    /// Attention segments for layers with a sliding window.
    pub windowed: Segments,
    /// Seed of the adapters' dropout in each row of the batch; `None` for no dropout.
    pub noise: Option<Arc<[u64]>>,
    /// True to recompute a block's activations in the backward pass and store only its input (activation
    /// checkpointing).
    pub recompute: bool,
}

/// Weights of a model, arranged for the forward pass.
pub(crate) struct Network {
    embedding: Tensor,
    /// Learned position embeddings: (positions, hidden).
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Tensor,
}

#[derive(Clone)]
struct Norm {
    weight: Tensor,
    /// Bias; a norm with one is a LayerNorm, a norm without one an RMSNorm.
    bias: Option<Tensor>,
    epsilon: f64,
}

#[derive(Clone)]
struct Attention {
    norm: Norm,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    query_key_norm: Option<(Norm, Norm)>,
    head_dim: usize,
    /// Number of keys that a query attends to; `None` for all.
    window: Option<usize>,
}

#[derive(Clone)]
struct FeedForward {
    norm: Norm,
    /// Gate projection of the SwiGLU; `None` for a GELU of `up`.
    gate: Option<Projection>,
    up: Projection,
    down: Projection,
}

#[derive(Clone)]
struct Block {
    attention: Attention,
    feed_forward: FeedForward,
}

impl Network {
    /// Creates the network. `weight` returns a weight, including an adapter's, by its Hugging Face name.
    pub fn new(
        config: &ModelConfig,
        adapter: Option<&LoraConfig>,
        weight: &dyn Fn(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let gpt2 = config.family == Family::Gpt2;
        let bias = |name: &str, biased: bool| {
            let bias = biased.then(|| weight(&format!("{name}.bias")));
            bias.transpose()
        };
        let norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                weight: weight(&format!("{name}.weight"))?,
                bias: bias(name, gpt2)?,
                epsilon: config.rms_norm_eps,
            })
        };
        let embedding = weight("model.embed_tokens.weight")?;
        let positions = gpt2.then(|| weight("model.embed_positions.weight"));
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let matrix = |part: &str, biased: bool| -> Result<Projection> {
                let name = name(part);
                let projection = Projection::new(&name, adapter, weight)?;
                Ok(projection.with_bias(bias(&name, biased)?))
            };
            let query_key_norm = if config.qk_norm {
                let (query, key) = (name("self_attn.q_norm"), name("self_attn.k_norm"));
                Some((norm(&query)?, norm(&key)?))
            } else {
                None
            };
            let gate = (!gpt2).then(|| matrix("mlp.gate_proj", false));
            blocks.push(Block {
                attention: Attention {
                    norm: norm(&name("input_layernorm"))?,
                    query: matrix("self_attn.q_proj", config.attention_bias)?,
                    key: matrix("self_attn.k_proj", config.attention_bias)?,
                    value: matrix("self_attn.v_proj", config.attention_bias)?,
                    output: matrix("self_attn.o_proj", gpt2)?,
                    query_key_norm,
                    head_dim: config.head_dim,
                    window: config
                        .sliding_window
                        .as_ref()
                        .and_then(|window| window.of_layer(layer)),
                },
                feed_forward: FeedForward {
                    norm: norm(&name("post_attention_layernorm"))?,
                    gate: gate.transpose()?,
                    up: matrix("mlp.up_proj", gpt2)?,
                    down: matrix("mlp.down_proj", gpt2)?,
                },
            });
        }
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            weight("lm_head.weight")?
        };
        Ok(Self {
            embedding,
            positions: positions.transpose()?,
            blocks,
            norm: norm("model.norm")?,
            head,
        })
    }

    /// Returns the output projection: `(vocabulary, hidden)`.
    pub fn head(&self) -> &Tensor {
        &self.head
    }

    /// Maps token IDs `(batch, sequence)` to the output of the final norm `(batch, sequence, hidden)`. With a cache,
    /// the IDs continue the cached tokens and are appended to the cache.
    pub fn hidden(
        &self,
        pass: &Pass,
        input_ids: &Tensor,
        mut cache: Option<&mut Cache>,
    ) -> Result<Tensor> {
        let mut x = pass.ops.embedding(&self.embedding, input_ids)?; // (batch, sequence, hidden)
        if let Some(table) = &self.positions {
            let places = Tensor::from_slice(pass.positions, input_ids.dims(), &Device::Cpu)?;
            x = (x + pass.ops.embedding(table, &places)?)?;
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let past = cache.as_deref_mut().map(|cache| &mut cache[layer]);
            x = match past {
                None if pass.recompute => block.recomputed(pass, &x)?,
                past => block.forward(pass, &x, past)?,
            };
        }
        self.norm.forward(pass.ops, &x)
    }
}

impl Norm {
    fn forward(&self, ops: Ops, x: &Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => ops.layer_norm(x, &self.weight, bias, self.epsilon),
            None => ops.rms_norm(x, &self.weight, self.epsilon),
        }
    }

    fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}

impl Block {
    /// Returns the tensors of the block in a fixed order.
    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let Self {
            attention,
            feed_forward,
        } = self;
        let mut tensors: Vec<&mut Tensor> = attention.norm.tensors_mut().collect();
        tensors.extend(feed_forward.norm.tensors_mut());
        if let Some((query, key)) = &mut attention.query_key_norm {
            tensors.extend(query.tensors_mut().chain(key.tensors_mut()));
        }
        let attending = [
            &mut attention.query,
            &mut attention.key,
            &mut attention.value,
            &mut attention.output,
        ];
        let feeding = [&mut feed_forward.up, &mut feed_forward.down];
        let projections = attending.into_iter().chain(&mut feed_forward.gate);
        for projection in projections.chain(feeding) {
            tensors.extend(projection.tensors_mut());
        }
        tensors
    }

    /// Computes [`Self::forward`] without a cache; stores only x for the backward pass.
    fn recomputed(&self, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let mut block = self.clone();
        let mut tracked = Vec::new();
        for tensor in block.tensors_mut() {
            if tensor.track_op() {
                tracked.push(tensor.clone());
            }
        }
        let (ops, noise) = (pass.ops, pass.noise.clone());
        let (rotary, segments) = (pass.rotary.cloned(), pass.segments.clone());
        let windowed = pass.windowed.clone();
        let positions = Arc::clone(pass.positions);
        ops::recomputed(x, &tracked, move |x, weights| {
            let mut block = block.clone();
            let moving = block
                .tensors_mut()
                .into_iter()
                .filter(|tensor| tensor.track_op());
            for (place, weight) in moving.zip(weights) {
                *place = weight.clone();
            }
            let pass = Pass {
                ops,
                rotary: rotary.as_ref(),
                positions: &positions,
                segments: &segments,
                windowed: windowed.clone(),
                noise: noise.clone(),
                recompute: false,
            };
            block.forward(&pass, x, None)
        })
    }

    /// Computes attention and feed-forward with their norms and residuals. Without a cache, each is one fused
    /// operation, if there is one. With a cache, operations are not fused and use the weights in place, so that
    /// generating a token costs little more than reading the weights.
    fn forward(&self, pass: &Pass, x: &Tensor, past: Option<&mut KvCache>) -> Result<Tensor> {
        match past {
            Some(past) => {
                let x = self.attention.unfused(pass, x, Some(past))?;
                self.feed_forward.unfused(pass, &x)
            }
            None => {
                let x = self.attention.forward(pass, x)?;
                self.feed_forward.forward(pass, &x)
            }
        }
    }
}

impl Attention {
    /// Returns the segments that limit the keys visible to each token, for an input of whole rows.
    fn segments<'a>(&self, pass: &'a Pass) -> &'a Segments {
        match self.window {
            Some(_) => &pass.windowed,
            None => pass.segments,
        }
    }

    fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let (None, Some(rotary)) = (&self.norm.bias, pass.rotary) else {
            return self.unfused(pass, x, None);
        };
        let norms = self.query_key_norm.as_ref();
        let noise = pass.noise.as_ref();
        let weights = ops::SelfAttention {
            norm: &self.norm.weight,
            epsilon: self.norm.epsilon,
            query: self.query.view(noise),
            key: self.key.view(noise),
            value: self.value.view(noise),
            output: self.output.view(noise),
            query_key_norm: norms.map(|(query, key)| (&query.weight, &key.weight)),
        };
        let placement = Placement {
            rotary,
            positions: pass.positions,
            segments: self.segments(pass),
        };
        pass.ops.self_attention(x, &weights, &placement)
    }

    fn unfused(&self, pass: &Pass, x: &Tensor, past: Option<&mut KvCache>) -> Result<Tensor> {
        let (batch, sequence, _) = x.dims3()?;
        let normed = self.norm.forward(pass.ops, x)?;
        let heads = |projection: &Projection| -> Result<Tensor> {
            let count = projection.weight.dim(0)? / self.head_dim;
            let projected = pass
                .ops
                .project(&normed, &projection.view(pass.noise.as_ref()))?;
            projected.reshape((batch, sequence, count, self.head_dim))
        };
        let (mut query, mut key, value) =
            (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        if let Some((query_norm, key_norm)) = &self.query_key_norm {
            query = query_norm.forward(pass.ops, &query)?;
            key = key_norm.forward(pass.ops, &key)?;
        }
        if let Some(rotary) = pass.rotary {
            query = pass.ops.rope(&query, rotary, pass.positions)?; // (batch, sequence, heads, head_dim)
            key = pass.ops.rope(&key, rotary, pass.positions)?; // (batch, sequence, key/value heads, head_dim)
        }
        let mixed = match (past, self.window) {
            (Some(past), Some(window)) => {
                forget_unseen(past, window)?;
                let (key, value) = past.append(&key, &value)?;
                let shown = Segments::causal(batch, sequence, key.dim(1)?).windowed(window);
                pass.ops.attention(&query, &key, &value, &shown)?
            }
            (Some(past), None) => {
                let (key, value) = past.append(&key, &value)?;
                pass.ops.attention(&query, &key, &value, pass.segments)?
            }
            (None, _) => pass
                .ops
                .attention(&query, &key, &value, self.segments(pass))?,
        };
        let mixed = mixed.flatten_from(2)?; // (batch, sequence, heads · head_dim)
        x + pass
            .ops
            .project(&mixed, &self.output.view(pass.noise.as_ref()))?
    }
}

impl FeedForward {
    fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let (Some(gate), None) = (&self.gate, &self.norm.bias) else {
            return self.unfused(pass, x);
        };
        let noise = pass.noise.as_ref();
        let weights = ops::FeedForward {
            norm: &self.norm.weight,
            epsilon: self.norm.epsilon,
            gate: gate.view(noise),
            up: self.up.view(noise),
            down: self.down.view(noise),
        };
        pass.ops.feed_forward(x, &weights)
    }

    fn unfused(&self, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm.forward(pass.ops, x)?;
        let noise = pass.noise.as_ref();
        let project = |projection: &Projection| pass.ops.project(&normed, &projection.view(noise));
        let active = match &self.gate {
            Some(gate) => pass.ops.swiglu(&project(gate)?, &project(&self.up)?)?,
            None => pass.ops.gelu(&project(&self.up)?)?,
        }; // (batch, sequence, intermediate)
        x + pass.ops.project(&active, &self.down.view(noise))?
    }
}
