//! The built-in corpus: a small school, generated.
