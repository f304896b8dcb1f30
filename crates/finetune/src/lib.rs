//! Fine-tuning: what moves, what is retained, and its run.
