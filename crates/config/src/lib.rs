//! Reading TOML configuration: overrides, unknown keys answered with the nearest known one.
