//! Arguments of the commands that generate text: `generate`, `chat` and `serve`.

use std::path::PathBuf;

use clap::Args;

use super::values::at_least_one;

/// Sampling settings. Those that are not given come from the model's `generation_config.json`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling (default: the model's `generation_config.json`)")]
pub struct Sampling {
    /// Sampling temperature; 0 always takes the most likely token. Default without any setting: 0.8.
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Sample only from the K most likely tokens.
    #[arg(long, value_name = "K", value_parser = at_least_one::<usize>)]
    pub top_k: Option<usize>,
    /// Sample only from the most likely tokens whose probabilities add up to this share; 1 means all tokens.
    #[arg(long, value_name = "SHARE")]
    pub top_p: Option<f64>,
    /// Make tokens that the text already contains less likely: divide positive logits by this factor and multiply
    /// negative ones by it; 1 means no penalty.
    #[arg(long, value_name = "FACTOR")]
    pub repetition_penalty: Option<f64>,
    /// Random seed of the sampling. The same seed gives the same text.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct Generate {
    /// Checkpoint folder, or run folder (its best checkpoint).
    pub checkpoint: PathBuf,
    /// Base of the checkpoint, if it is an adapter; default: the base that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Message to answer, or text to continue if the model has no chat template; `-` reads stdin. Without a prompt,
    /// the model begins a text.
    #[arg(long)]
    pub prompt: Option<String>,
    /// File with the prompt.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    /// System message, for a model with a chat template.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Continue the prompt as it is, without the chat template.
    #[arg(long)]
    pub raw: bool,
    /// Print the prompt before the answer.
    #[arg(long)]
    pub echo: bool,
    /// Maximum length of the answer in tokens.
    #[arg(long, default_value_t = 256, value_parser = at_least_one::<usize>)]
    pub max_tokens: usize,
    /// End the answer at this text. May be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    #[command(flatten)]
    pub sampling: Sampling,
}

#[derive(Debug, Args)]
pub struct Chat {
    /// Checkpoint folder, or run folder (its best checkpoint).
    pub model: PathBuf,
    /// Another model, such as the first one's base, which answers each message after the first model.
    pub other: Option<PathBuf>,
    /// Base of an adapter; default: the base that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// System message.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Maximum length of an answer in tokens.
    #[arg(long, default_value_t = 1024, value_parser = at_least_one::<usize>)]
    pub max_tokens: usize,
    /// End an answer at this text. May be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    #[command(flatten)]
    pub sampling: Sampling,
}

#[derive(Debug, Args)]
#[cfg_attr(
    not(feature = "serve"),
    allow(dead_code, reason = "only the server reads them")
)]
pub struct Serve {
    /// Checkpoint folder, or run folder (its best checkpoint).
    pub model: PathBuf,
    /// Base of the model, if it is an adapter; default: the base that it names.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 chooses a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Name of the model in requests and answers; default: the name of its folder.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Maximum number of requests waiting to be answered.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one::<usize>)]
    pub queue: usize,
    #[command(flatten)]
    pub sampling: Sampling,
}
