//! Scoring: batches that score every held-out token once, questions, and tasks.

pub(crate) mod batches;
pub(crate) mod question;
pub(crate) mod task;
