//! Polymath as one dependency: its crates under short names, and Candle in the version that they use.
//!
//! ```no_run
//! use polymath_lib::candle_core::Device;
//! use polymath_lib::chat::{ChatModel, Request};
//! use polymath_lib::model::{LoadOptions, ModelSource, Ops, Precision};
//!
//! let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
//! let model = ChatModel::open(ModelSource::of("checkpoints/small/best".as_ref()), &options)?;
//! println!("{:.3} bits per byte", model.score_text("The sun is a star.")?.bits_per_byte());
//! let request = Request { max_tokens: Some(40), ..Request::new(model.default_sampling()) };
//! println!("{}", model.generate_text("The sun", &request)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use candle_core;
pub use candle_nn;
pub use polymath_chat as chat;
pub use polymath_config as config;
pub use polymath_data as data;
pub use polymath_eval as eval;
pub use polymath_finetune as finetune;
pub use polymath_hub as hub;
pub use polymath_model as model;
pub use polymath_pretrain as pretrain;
pub use polymath_report as report;
pub use polymath_study as study;
pub use polymath_tokenizer as tokenizer;
pub use polymath_train as train;
