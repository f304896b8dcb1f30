//! Sublayers of a block as single operations in bf16: the kernels that compute factors write them rounded, the backward
//! pass keeps them so, and weights with the same input are joined. The residual stream is in f32.

use candle_core::{D, DType, Result, Tensor};

use super::counts::Class;
use super::flash::{Heads, Saved, attends};
use super::gates::{Gradients, operation_of_weights};
use super::launch::{Launch, elements_of_block};
use super::memory::{Buffer, Target, span};
use super::norm::{NormGradient, NormedRows, rounded_norm};
use super::product::{RoundedWeights, multiply, product, rounded, rounded_product};
use super::source::{ACTIVATION, ROPE};
use crate::{FeedForward, Placement, Precision, Segments, SelfAttention};

/// Returns true if [`self_attention`] computes a sublayer of these weights.
pub(crate) fn takes_attention(
    weights: &SelfAttention,
    placement: &Placement,
    precision: Precision,
) -> bool {
    precision == Precision::Bf16
        && attends(2 * placement.rotary.frequencies())
        && weights.query_key_norm.is_none()
        && placement.segments.is_in_order()
}

/// x + down·(silu(gate·n)·(up·n)), n = norm(x).
pub(crate) fn feed_forward(x: &Tensor, weights: &FeedForward) -> Result<Tensor> {
    let (batch, sequence, hidden) = x.dims3()?;
    let (rows, width) = (batch * sequence, weights.gate.weight.dim(0)?);
    let device = x.device().clone();
    let still = x.detach().contiguous()?.reshape((rows, hidden))?;
    let NormedRows { norm, copy } = rounded_norm(&still, weights.norm, weights.epsilon)?;
    let inner = [weights.gate.weight, weights.up.weight];
    let RoundedWeights {
        inner: gate_up, // (2·intermediate, hidden)
        outer: down,    // (hidden, intermediate)
    } = RoundedWeights::new(&inner, weights.down.weight)?;
    let sides = product(&norm.normed, &gate_up.t()?, Precision::Bf16)?; // (rows, 2·intermediate)
    let kept = Buffer::new((rows, 2 * width), DType::BF16, &device)?;
    let active = Buffer::new((rows, width), DType::BF16, &device)?;
    let launch = Launch::elements(ACTIVATION.kernel("swiglu_sides"), rows * width)
        .buffer(&sides)?
        .buffer(&kept)?
        .buffer(&active)?
        .long(rows)
        .int(width)?;
    // SAFETY: `rows` rows of two sides of `width` elements, and of one in `active`.
    unsafe { launch.run(&device)? };
    multiply(
        [&active.into_tensor(), &down.t()?],
        Target::sum(copy.span()?),
        Precision::Bf16,
    )?;
    let y = copy.reshaped(x.shape());
    let kept = kept.into_tensor();
    let all = [
        weights.norm,
        weights.gate.weight,
        weights.up.weight,
        weights.down.weight,
    ];
    let moves = all.map(Tensor::track_op);
    operation_of_weights("feed_forward", x, &all, y, move |gradient| {
        let residual = gradient.reshape((rows, hidden))?;
        let gradient = rounded(&residual)?;
        let of_active = product(&gradient, &down, Precision::Bf16)?;
        let of_sides = Buffer::new((rows, 2 * width), DType::BF16, &device)?;
        let active = Buffer::new((rows, width), DType::BF16, &device)?;
        let launch = Launch::elements(ACTIVATION.kernel("swiglu_sides_backward"), rows * width)
            .tensor(&kept)?
            .buffer(&of_active)?
            .buffer(&of_sides)?
            .buffer(&active)?
            .long(rows)
            .int(width)?;
        // SAFETY: as in the forward pass.
        unsafe { launch.run(&device)? };
        let (of_sides, active) = (of_sides.into_tensor(), active.into_tensor());
        let of_down = of_weight(moves[3], &gradient, &active)?;
        let of_gate_up = of_weight(moves[1] || moves[2], &of_sides, &norm.normed)?;
        let part = |place: usize| {
            let part = of_gate_up.as_ref().filter(|_| moves[1 + place]);
            part.map(|all| all.narrow(0, place * width, width))
                .transpose()
        };
        let of_normed = product(&of_sides, &gate_up, Precision::Bf16)?.into_tensor();
        let NormGradient { of_x, of_weight } = norm.backward(&of_normed, &residual, moves[0])?;
        Ok(Gradients {
            of_x: Some(of_x.reshape((batch, sequence, hidden))?),
            of_weights: vec![of_weight, part(0)?, part(1)?, of_down],
        })
    })
}

/// x + output·attention(rope(query·n), rope(key·n), value·n), n = norm(x).
pub(crate) fn self_attention(
    x: &Tensor,
    weights: &SelfAttention,
    placement: &Placement,
) -> Result<Tensor> {
    let (batch, sequence, hidden) = x.dims3()?;
    let head_dim = 2 * placement.rotary.frequencies();
    let (of_queries, of_keys) = (weights.query.weight.dim(0)?, weights.key.weight.dim(0)?);
    let rows = batch * sequence;
    let still = x.detach().contiguous()?.reshape((rows, hidden))?;
    let NormedRows { norm, copy } = rounded_norm(&still, weights.norm, weights.epsilon)?;
    let inner = [
        weights.query.weight,
        weights.key.weight,
        weights.value.weight,
    ];
    let RoundedWeights {
        inner: joined,
        outer: output, // (hidden, heads·d)
    } = RoundedWeights::new(&inner, weights.output.weight)?;
    let turn = Turn::new(placement, [of_queries, of_keys], head_dim)?;
    let heads = turn.heads(batch, sequence);
    let projected = product(&norm.normed, &joined.t()?, Precision::Bf16)?.into_tensor();
    let sides = turn.run("rope_sides", &projected, 1.0)?; // (rows, (heads + 2·kv_heads)·d)
    let segments = placement.segments.clone();
    let [mixed, log_sums] = heads.attend(turn.spans(&sides)?, &segments, x.device())?;
    let mixed = mixed.reshape((rows, of_queries))?;
    multiply(
        [&mixed, &output.t()?],
        Target::sum(copy.span()?),
        Precision::Bf16,
    )?;
    let y = copy.reshaped(x.shape());
    let all = [
        weights.norm,
        weights.query.weight,
        weights.key.weight,
        weights.value.weight,
        weights.output.weight,
    ];
    let moves = all.map(Tensor::track_op);
    operation_of_weights("self_attention", x, &all, y, move |gradient| {
        let residual = gradient.reshape((rows, hidden))?;
        let gradient = rounded(&residual)?;
        let of_output = of_weight(moves[4], &gradient, &mixed)?;
        let of_mixed = rounded_product(&gradient, &output)?.into_tensor();
        let saved = (&sides, &log_sums);
        let of_sides = turn.backward(&heads, saved, [&mixed, &of_mixed], &segments)?;
        let of_joined = of_weight(moves[1..4].contains(&true), &of_sides, &norm.normed)?;
        let part = |place: usize, start: usize, length: usize| {
            let part = of_joined.as_ref().filter(|_| moves[place]);
            part.map(|all| all.narrow(0, start, length)).transpose()
        };
        let of_weights = [
            part(1, 0, of_queries)?,
            part(2, of_queries, of_keys)?,
            part(3, of_queries + of_keys, of_keys)?,
            of_output,
        ];
        let of_normed = product(&of_sides, &joined, Precision::Bf16)?.into_tensor();
        let NormGradient { of_x, of_weight } = norm.backward(&of_normed, &residual, moves[0])?;
        Ok(Gradients {
            of_x: Some(of_x.reshape((batch, sequence, hidden))?),
            of_weights: std::iter::once(of_weight).chain(of_weights).collect(),
        })
    })
}

/// Returns gradientᵀ·input, if the weight is trained.
fn of_weight(moves: bool, gradient: &Tensor, input: &Tensor) -> Result<Option<Tensor>> {
    let found = moves.then(|| product(&gradient.t()?, input, Precision::Bf16));
    Ok(found.transpose()?.map(Buffer::into_tensor))
}

/// Rotation of queries and keys that lie beside the values, and the dimensions of their heads.
struct Turn {
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Turn {
    fn new(placement: &Placement, widths: [usize; 2], head_dim: usize) -> Result<Self> {
        let (cos, sin) = placement.rotary.on_device_for(placement.positions)?;
        Ok(Self {
            cos,
            sin,
            positions: placement.rotary.positions_on_device(placement.positions)?,
            heads: widths[0] / head_dim,
            kv_heads: widths[1] / head_dim,
            head_dim,
        })
    }

    /// Returns the elements of a row.
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn heads(&self, batch: usize, sequence: usize) -> Heads {
        Heads {
            batch,
            queries: sequence,
            keys: sequence,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            query_stride: self.width(),
            key_stride: self.width(),
            dtype: DType::BF16,
        }
    }

    /// Returns the places of queries, keys and values in their rows.
    fn spans(&self, sides: &Tensor) -> Result<[super::memory::Span; 3]> {
        let all = span(sides)?;
        let keys = 2 * (self.heads * self.head_dim) as u64;
        let values = keys + 2 * (self.kv_heads * self.head_dim) as u64;
        Ok([all, all.after(keys), all.after(values)])
    }

    /// Names the work of a block: its pairs, and those among them that are turned.
    fn blocks(&self, pairs: usize) -> impl Fn([usize; 3]) -> Class + use<> {
        let half = self.head_dim / 2;
        let (of_row, turned) = (self.width() / 2, (self.heads + self.kv_heads) * half);
        let turned_before = move |pair: usize| pair / of_row * turned + (pair % of_row).min(turned);
        move |[block, ..]| {
            let mut class = [0; 4];
            for range in elements_of_block(pairs, block) {
                class[0] += range.len() as u64;
                class[1] += (turned_before(range.end) - turned_before(range.start)) as u64;
            }
            class
        }
    }

    /// Turns queries and keys of `x`, rounded, and copies the values.
    fn run(&self, kernel: &'static str, x: &Tensor, direction: f64) -> Result<Tensor> {
        let y = Buffer::new(x.shape(), DType::BF16, x.device())?;
        let launch = Launch::elements(ROPE.kernel(kernel), x.elem_count() / 2)
            .classes(self.blocks(x.elem_count() / 2))
            .tensor(x)?
            .tensor(&self.cos)?
            .tensor(&self.sin)?
            .tensor(&self.positions)?
            .buffer(&y)?
            .int(x.elem_count() / x.dim(D::Minus1)?)?
            .int(self.heads + 2 * self.kv_heads)?
            .int(self.heads + self.kv_heads)?
            .int(self.head_dim / 2)?
            .float(direction);
        // SAFETY: x and y have the same rows, and the table reaches to the last position.
        unsafe { launch.run(x.device())? };
        Ok(y.into_tensor())
    }

    /// Returns the gradient of the rows before the rotation, rounded, from the output of attention and its gradient.
    fn backward(
        &self,
        heads: &Heads,
        (sides, log_sums): (&Tensor, &Tensor),
        [mixed, gradient]: [&Tensor; 2],
        segments: &Segments,
    ) -> Result<Tensor> {
        let shares = heads.shares(mixed, gradient)?;
        let saved = Saved {
            factors: self.spans(sides)?,
            gradient,
            log_sums,
            shares: &shares,
            segments,
        };
        let of_sides = Buffer::new(sides.shape(), DType::BF16, sides.device())?.into_tensor();
        let [of_queries, of_keys, of_values] = self.spans(&of_sides)?;
        heads.query_gradient(&saved, of_queries)?;
        heads.key_gradients(&saved, [of_keys, of_values])?;
        self.run("rope_sides_rounded", &of_sides, -1.0)
    }
}
