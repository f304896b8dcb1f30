//! Tests of conversations with tiny models.

mod sessions;
mod support;
