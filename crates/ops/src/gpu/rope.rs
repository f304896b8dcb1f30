//! Rotary position embedding.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::graph::operation;
use super::launch::Launch;
use super::memory::Buffer;
use super::source::ROPE;
use crate::RotaryTable;

/// Turns each pair (x[i], x[i + d/2]) of a head by its position's angle: (batch, sequence, heads, d).
pub(crate) fn rope(x: &Tensor, table: &RotaryTable, positions: &Arc<[u32]>) -> Result<Tensor> {
    let (cos, sin) = table.on_device_for(positions)?;
    let positions = table.positions_on_device(positions)?;
    let turn = move |x: &Tensor, direction: f64| -> Result<Buffer> {
        let x = x.detach().contiguous()?;
        let (batch, sequence, heads, head_dim) = x.dims4()?;
        let y = Buffer::new(x.shape(), DType::F32, x.device())?;
        let launch = Launch::elements(ROPE.kernel("rope"), x.elem_count() / 2)
            .tensor(&x)?
            .tensor(&cos)?
            .tensor(&sin)?
            .tensor(&positions)?
            .buffer(&y)?
            .int(batch * sequence)?
            .int(heads)?
            .int(head_dim / 2)?
            .int(heads * head_dim)?
            .float(direction);
        // SAFETY: x and y have the same shape, without gaps, and the table reaches to the last position.
        unsafe { launch.run(x.device())? };
        Ok(y)
    };
    let y = turn(x, 1.0)?;
    operation("rope", &[x], y, move |gradient| {
        Ok(vec![Some(turn(gradient, -1.0)?.into_tensor())])
    })
}
