//! The transformer, its named parameters, checkpoints in the Hugging Face layout, generation.
