//! The transformer with its named parameters, checkpoints in Hugging Face's layout, and text generation.
//!
//! A model is a decoder of the Llama family or a GPT-2. The Llama family has RMSNorm, rotary positions, grouped-query
//! attention and SwiGLU, and optionally query/key norms (Qwen3), biases on queries, keys and values (Qwen2), or a
//! sliding window (Mistral). GPT-2 has LayerNorm, learned positions and GELU. Parameter names and `config.json` are
//! Hugging Face's, so that `transformers` opens every checkpoint folder.
//!
//! ```
//! use candle_core::Device;
//! use polymath_model::*;
//!
//! let shape = r#"{ "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2 }"#;
//! let shape: ArchitectureConfig = serde_json::from_str(shape)?;
//! let config = shape.resolve(32, 8, EndTokens { begin: 0, end: 0 })?; // 32 tokens, a context of 8
//! let ops = Ops::fused(Precision::F32);
//! let model = Transformer::initialize(config, 1, &LoadOptions::trained(&Device::Cpu, ops))?;
//! let batch = Batch {
//!     input_ids: vec![0, 5, 6, 7],
//!     targets: vec![5, 6, 7, 0],
//!     document_starts: vec![0; 4],
//!     rows: 1,
//!     domains: vec![0],
//! };
//! let loss = model.loss(&batch)?; // Σ −ln p
//! let gradients = loss.backward()?;
//! assert!(model.trainable().values().all(|parameter| gradients.get(parameter).is_some()));
//! // A new model finds all tokens about equally likely.
//! assert!((loss.to_scalar::<f32>()? / 4.0 - 32f32.ln()).abs() < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activations;
mod adapter;
mod bounds;
mod checkpoint;
mod compose;
mod config;
mod config_keys;
mod continuations;
mod distillation;
mod error;
mod fields;
mod flops;
mod generate;
mod gguf;
mod gpt2;
mod hugging_face;
mod initialize;
mod kv_cache;
mod memory;
mod model_folder;
mod names;
mod network;
mod network_input;
mod new_rows;
mod rope;
mod rope_scaling;
mod safetensors_file;
mod sampling;
mod sizes;
mod sliding_window;
mod source;
mod stored;
mod token_cache;
mod tokenizer_files;
mod transformer;
mod weights;

pub use activations::StepBytes;
pub use adapter::{
    Adapter, AdapterBase, LoraConfig, NamedBase, is_adapter, load_adapter, named_base,
    read_adapter, save_adapter,
};
pub use checkpoint::{load, load_config, load_weights, parameter_names, save, save_weights};
pub use compose::{ConversationFrame, DocumentSampler, SampledDocument};
pub use config::{ArchitectureConfig, Family, ModelConfig};
pub use continuations::GreedyContinuations;
pub use error::ModelError;
pub use generate::{Generation, StopReason};
pub use gguf::{GgufExport, GgufType, export_gguf, import_gguf};
pub use memory::{available_memory, resident_memory};
pub use names::{EMBEDDING, HEAD, block_of, layer_of};
pub use new_rows::NewRows;
pub use polymath_base::Batch;
pub use polymath_ops::{
    Comparison, DeviceMemory, DistilledLoss, IGNORED, Implementation, KernelCount, Ops, Precision,
    Sampling, Scores, Teacher, TopK, Unit, counted, cuda_device, device_memory, has_fast_bf16,
    install_emulator, keep_freed_memory, processor_peak_flops, quiet_candle_threads,
};
pub use polymath_tokenizer::EndTokens;
pub(crate) use rope::Rope;
pub use rope_scaling::RopeScaling;
pub use safetensors_file::{tensor_names, write_safetensors};
pub use sampling::SamplingConfig;
pub use sliding_window::SlidingWindow;
pub use source::{ModelSource, check_folder, tokenizer_in};
pub use token_cache::TokenCache;
pub use tokenizer_files::TokenizerFiles;
pub use transformer::{LoadOptions, Transformer};
pub use weights::sha256_of_weights;
