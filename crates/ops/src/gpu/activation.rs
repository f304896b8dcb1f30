//! SwiGLU and GELU.

use candle_core::{DType, Result, Tensor};

use super::graph::operation;
use super::launch::Launch;
use super::memory::Buffer;
use super::source::ACTIVATION;

/// silu(gate)·up.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (g, u) = (gate.detach().contiguous()?, up.detach().contiguous()?);
    let (count, device) = (gate.elem_count(), gate.device());
    let y = Buffer::new(gate.shape(), DType::F32, device)?;
    let launch = Launch::elements(ACTIVATION.kernel("swiglu"), count)
        .tensor(&g)?
        .tensor(&u)?
        .buffer(&y)?
        .long(count);
    // SAFETY: all three have `count` elements.
    unsafe { launch.run(device)? };
    let tracked = (gate.track_op(), up.track_op());
    operation("swiglu", &[gate, up], y, move |gradient| {
        let of_gate = Buffer::new(g.shape(), DType::F32, g.device())?;
        let of_up = Buffer::new(g.shape(), DType::F32, g.device())?;
        let launch = Launch::elements(ACTIVATION.kernel("swiglu_backward"), count)
            .tensor(&g)?
            .tensor(&u)?
            .tensor(gradient)?
            .buffer(&of_gate)?
            .buffer(&of_up)?
            .long(count);
        // SAFETY: all five have `count` elements.
        unsafe { launch.run(g.device())? };
        Ok(vec![
            tracked.0.then(|| of_gate.into_tensor()),
            tracked.1.then(|| of_up.into_tensor()),
        ])
    })
}

/// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let still = x.detach().contiguous()?;
    let count = x.elem_count();
    let y = Buffer::new(x.shape(), DType::F32, x.device())?;
    let launch = Launch::elements(ACTIVATION.kernel("gelu"), count)
        .tensor(&still)?
        .buffer(&y)?
        .long(count);
    // SAFETY: both have `count` elements.
    unsafe { launch.run(x.device())? };
    operation("gelu", &[x], y, move |gradient| {
        let dx = Buffer::new(still.shape(), DType::F32, still.device())?;
        let launch = Launch::elements(ACTIVATION.kernel("gelu_backward"), count)
            .tensor(&still)?
            .tensor(gradient)?
            .buffer(&dx)?
            .long(count);
        // SAFETY: all three have `count` elements.
        unsafe { launch.run(still.device())? };
        Ok(vec![Some(dx.into_tensor())])
    })
}
