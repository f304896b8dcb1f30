//! Conversations with tiny models.

mod sessions;
mod support;
