//! RMSNorm and LayerNorm.

use candle_core::{D, DType, Result, Tensor};

use super::graph::operation;
use super::launch::{Launch, THREADS};
use super::memory::Buffer;
use super::source::{NORM, REDUCE};

/// Rows that a block sums for the gradient of a weight.
const SHARE: usize = 256;

struct Size {
    rows: usize,
    width: usize,
}

impl Size {
    fn of(x: &Tensor) -> Result<Self> {
        let width = x.dim(D::Minus1)?;
        Ok(Self {
            rows: x.elem_count().checked_div(width).unwrap_or(0),
            width,
        })
    }

    /// Begins a launch that sums over rows, with the shares of the rows in its second dimension.
    fn sums(&self, kernel: &'static str) -> Launch {
        let grid = [self.width.div_ceil(32), self.shares(), 1];
        let (rows, width) = (self.rows, self.width);
        Launch::new(NORM.kernel(kernel), grid).classes(move |[x, y, _]| {
            let columns = 32.min(width - x * 32);
            let rows = SHARE.min(rows - y * SHARE);
            [columns as u64, rows as u64, 0, 0]
        })
    }

    fn shares(&self) -> usize {
        self.rows.div_ceil(SHARE)
    }
}

/// Operands and statistics that the backward pass of a norm needs.
struct Saved {
    size: Size,
    x: Tensor,
    weight: Tensor,
    /// Mean of each row, for LayerNorm.
    means: Option<Tensor>,
    /// Scale of each row.
    scales: Tensor,
}

/// y = x / √(mean(x²) + ε) · γ, over the last dimension.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let size = Size::of(x)?;
    let (still, scale) = (x.detach().contiguous()?, weight.detach().contiguous()?);
    let y = Buffer::new(x.shape(), DType::F32, x.device())?;
    let scales = Buffer::new(size.rows, DType::F32, x.device())?;
    let launch = Launch::rows(NORM.kernel("rms_norm"), size.rows)
        .tensor(&still)?
        .tensor(&scale)?
        .buffer(&y)?
        .buffer(&scales)?
        .int(size.rows)?
        .int(size.width)?
        .float(epsilon);
    // SAFETY: x and y have `rows` rows of `width` elements, the weight `width`, the scales `rows`.
    unsafe { launch.run(x.device())? };
    let saved = Saved {
        size,
        x: still,
        weight: scale,
        means: None,
        scales: scales.into_tensor(),
    };
    let tracked = (x.track_op(), weight.track_op());
    operation("rms_norm", &[x, weight], y, move |gradient| {
        let of_x = tracked.0.then(|| saved.input_gradient(gradient, None));
        let of_weight = tracked.1.then(|| saved.weight_gradient(gradient));
        Ok(vec![of_x.transpose()?, of_weight.transpose()?])
    })
}

/// y = (x − mean(x)) / √(variance(x) + ε) · γ + β, over the last dimension.
pub(crate) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let size = Size::of(x)?;
    let (still, scale) = (x.detach().contiguous()?, weight.detach().contiguous()?);
    let y = Buffer::new(x.shape(), DType::F32, x.device())?;
    let means = Buffer::new(size.rows, DType::F32, x.device())?;
    let scales = Buffer::new(size.rows, DType::F32, x.device())?;
    let launch = Launch::rows(NORM.kernel("layer_norm"), size.rows)
        .tensor(&still)?
        .tensor(&scale)?
        .tensor(&bias.detach().contiguous()?)?
        .buffer(&y)?
        .buffer(&means)?
        .buffer(&scales)?
        .int(size.rows)?
        .int(size.width)?
        .float(epsilon);
    // SAFETY: x and y have `rows` rows of `width` elements, weight and bias `width`, means and scales `rows`.
    unsafe { launch.run(x.device())? };
    let saved = Saved {
        size,
        x: still,
        weight: scale,
        means: Some(means.into_tensor()),
        scales: scales.into_tensor(),
    };
    let tracked = [x, weight, bias].map(Tensor::track_op);
    operation("layer_norm", &[x, weight, bias], y, move |gradient| {
        let of_x = tracked[0].then(|| saved.input_gradient(gradient, None));
        if !tracked[1] && !tracked[2] {
            return Ok(vec![of_x.transpose()?, None, None]);
        }
        let [of_weight, of_bias] = saved.weight_and_bias_gradients(gradient)?;
        Ok(vec![
            of_x.transpose()?,
            tracked[1].then_some(of_weight),
            tracked[2].then_some(of_bias),
        ])
    })
}

impl Saved {
    /// Returns the gradient of x, plus the residual's if there is one: RMSNorm alone takes it.
    fn input_gradient(&self, gradient: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let size = &self.size;
        let dx = Buffer::new(self.x.shape(), DType::F32, self.x.device())?;
        let kernel = match self.means {
            Some(_) => "layer_norm_backward",
            None => "rms_norm_backward",
        };
        let mut launch = Launch::rows(NORM.kernel(kernel), size.rows)
            .tensor(&self.x)?
            .tensor(&self.weight)?
            .tensor(gradient)?;
        if let Some(means) = &self.means {
            launch = launch.tensor(means)?;
        }
        launch = launch.tensor(&self.scales)?;
        launch = match self.means {
            Some(_) => launch.buffer(&dx)?.int(size.rows)?.int(size.width)?,
            None => launch
                .tensor(residual.unwrap_or(gradient))?
                .buffer(&dx)?
                .int(size.rows)?
                .int(size.width)?
                .int(usize::from(residual.is_some()))?,
        };
        // SAFETY: x, its gradient and the output's have `rows` rows of `width` elements.
        unsafe { launch.run(self.x.device())? };
        Ok(dx.into_tensor())
    }

    fn weight_gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        let size = &self.size;
        let shape = (size.shares(), size.width);
        let partial = Buffer::new(shape, DType::F32, self.x.device())?;
        let launch = size
            .sums("rms_norm_weight")
            .shared(THREADS * 4)
            .tensor(&self.x)?
            .tensor(gradient)?
            .tensor(&self.scales)?
            .buffer(&partial)?
            .int(size.rows)?
            .int(size.width)?
            .int(SHARE)?;
        // SAFETY: x and the gradient have `rows` rows, and `partial` a row for each share of them.
        unsafe { launch.run(self.x.device())? };
        sum_rows(&partial.into_tensor())
    }

    fn weight_and_bias_gradients(&self, gradient: &Tensor) -> Result<[Tensor; 2]> {
        let (size, device) = (&self.size, self.x.device());
        let shape = (size.shares(), size.width);
        let of_weight = Buffer::new(shape, DType::F32, device)?;
        let of_bias = Buffer::new(shape, DType::F32, device)?;
        let mut launch = size
            .sums("layer_norm_weight")
            .shared(2 * THREADS * 4)
            .tensor(&self.x)?
            .tensor(gradient)?;
        if let Some(means) = &self.means {
            launch = launch.tensor(means)?;
        }
        let launch = launch
            .tensor(&self.scales)?
            .buffer(&of_weight)?
            .buffer(&of_bias)?
            .int(size.rows)?
            .int(size.width)?
            .int(SHARE)?;
        // SAFETY: x and the gradient have `rows` rows, and each sum a row for each share of them.
        unsafe { launch.run(device)? };
        Ok([
            sum_rows(&of_weight.into_tensor())?,
            sum_rows(&of_bias.into_tensor())?,
        ])
    }
}

/// Rounded RMSNorm of rows, and its operands for the backward pass.
pub(super) struct RoundedNorm {
    pub normed: Tensor,
    saved: Saved,
}

/// Gradients of a norm's input, which includes the residual's, and of its weight.
pub(super) struct NormGradient {
    pub of_x: Tensor,
    pub of_weight: Option<Tensor>,
}

/// Rounded norm of rows, and the rows themselves in memory of their own, to which a product may be added.
pub(super) struct NormedRows {
    pub norm: RoundedNorm,
    pub copy: Buffer,
}

/// Computes RMSNorm of (rows, width), rounded to bf16, and copies the rows.
pub(super) fn rounded_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<NormedRows> {
    let size = Size::of(x)?;
    let weight = weight.detach().contiguous()?;
    let normed = Buffer::new(x.shape(), DType::BF16, x.device())?;
    let scales = Buffer::new(size.rows, DType::F32, x.device())?;
    let copy = Buffer::new(x.shape(), DType::F32, x.device())?;
    let launch = Launch::rows(NORM.kernel("rms_norm_rounded"), size.rows)
        .tensor(x)?
        .tensor(&weight)?
        .buffer(&normed)?
        .buffer(&scales)?
        .buffer(&copy)?
        .int(size.rows)?
        .int(size.width)?
        .float(epsilon);
    // SAFETY: x, its norm and its copy have `rows` rows of `width` elements, the weight `width`, the scales `rows`.
    unsafe { launch.run(x.device())? };
    let saved = Saved {
        size,
        x: x.clone(),
        weight,
        means: None,
        scales: scales.into_tensor(),
    };
    Ok(NormedRows {
        norm: RoundedNorm {
            normed: normed.into_tensor(),
            saved,
        },
        copy,
    })
}

impl RoundedNorm {
    /// Returns the gradients for the gradient of the norm and that of the residual beside it.
    pub fn backward(
        &self,
        gradient: &Tensor,
        residual: &Tensor,
        weight_moves: bool,
    ) -> Result<NormGradient> {
        let of_weight = weight_moves.then(|| self.saved.weight_gradient(gradient));
        Ok(NormGradient {
            of_x: self.saved.input_gradient(gradient, Some(residual))?,
            of_weight: of_weight.transpose()?,
        })
    }
}

/// Adds the rows of (count, width), in order.
fn sum_rows(partial: &Tensor) -> Result<Tensor> {
    let (count, width) = partial.dims2()?;
    let sum = Buffer::new(width, DType::F32, partial.device())?;
    let launch = Launch::elements(REDUCE.kernel("sum_rows"), width)
        .tensor(partial)?
        .buffer(&sum)?
        .int(count)?
        .int(width)?;
    // SAFETY: `count` rows of `width` elements, and one of the sums.
    unsafe { launch.run(partial.device())? };
    Ok(sum.into_tensor())
}
