//! Conversations with a model: chat templates, streaming, stop texts, and a key/value cache that is kept across
//! turns.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use polymath_chat::*;
//! use polymath_model::{LoadOptions, ModelSource, Ops, Precision};
//!
//! let options = LoadOptions::frozen(&candle_core::Device::Cpu, Ops::fused(Precision::F32));
//! let model = ChatModel::open(ModelSource::of("smollm2".as_ref()), &options)?;
//! let mut session = Session::new(&model, Some("Answer in one sentence.".into()));
//! let request = Request::new(model.default_sampling());
//! let answer = session.respond("What is the capital of France?", &request, &mut |piece| {
//!     print!("{piece}");
//!     ControlFlow::Continue(())
//! })?;
//! println!(" ({} tokens)", answer.tokens);
//! # Ok::<(), ChatError>(())
//! ```

mod answers;
mod defaults;
mod engine;
mod error;
mod model;
mod session;
mod stop;
mod text;

pub use defaults::default_sampling;
pub use engine::{Answer, End, Engine, Prompt, Request, Sink};
pub use error::ChatError;
pub use model::ChatModel;
pub use polymath_data::ChatMessage;
pub use session::{Session, save};
pub use text::TextScore;
