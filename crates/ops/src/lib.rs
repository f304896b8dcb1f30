//! Differentiable operations and the optimizer step: fused on CPU, composed from Candle elsewhere.
