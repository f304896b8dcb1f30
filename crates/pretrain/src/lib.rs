//! Pretraining: its configuration and its run.
