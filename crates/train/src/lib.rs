//! The one training loop: optimizer groups, schedule, run folder, resume, metrics.
