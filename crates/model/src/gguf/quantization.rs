//! Storage types of parameters in GGUF files.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Result, Tensor};

/// Storage type of the matrices in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    /// 32 bits per weight: the checkpoint's exact values.
    F32,
    /// 16 bits per weight (half precision).
    F16,
    /// 8.5 bits per weight: blocks of 32 with a scale.
    Q8_0,
    /// 4.5 bits per weight: blocks of 256 with a scale for every 32. The output projection (in a tied model, the
    /// embedding) has 6.6 bits, as in llama.cpp's files of this type.
    Q4K,
}

impl GgufType {
    /// Returns llama.cpp's number for a file whose matrices are mostly of this type.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4K => 14,
        }
    }

    fn wanted(self, is_output: bool) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4K if is_output => GgmlDType::Q6K,
            Self::Q4K => GgmlDType::Q4K,
        }
    }

    /// Returns the type for a parameter of this shape. Norms and biases are stored as f32. If the row length is not a
    /// multiple of the block size, the next type that fits is used.
    pub(super) fn of(self, shape: &[usize], is_output: bool) -> GgmlDType {
        let &[_, width] = shape else {
            return GgmlDType::F32;
        };
        [self.wanted(is_output), GgmlDType::Q8_0, GgmlDType::F16]
            .into_iter()
            .find(|kind| width.is_multiple_of(kind.block_size()))
            .unwrap_or(GgmlDType::F32)
    }

    /// Returns true if a parameter of this shape gets another type than the requested one.
    pub(super) fn falls_back(self, shape: &[usize], is_output: bool) -> bool {
        shape.len() == 2 && self.of(shape, is_output) != self.wanted(is_output)
    }
}

/// Largest f16 value; the scale of a block is an f16, too.
const GREATEST: f32 = 65504.0;

/// Converts a parameter to its stored type.
///
/// # Errors
/// Fails if a value would become infinite.
pub(super) fn store(weight: &Tensor, kind: GgmlDType) -> Result<QTensor> {
    if kind != GgmlDType::F32 {
        let greatest = weight.abs()?.max_all()?.to_scalar::<f32>()?;
        if greatest > GREATEST {
            candle_core::bail!("it has a value of {greatest}, beyond 16 bits: use the type `f32`");
        }
    }
    QTensor::quantize(weight, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the chosen type's blocks fit the rows, and that norms keep their type.
    #[test]
    fn rows_get_the_next_type_whose_blocks_fit() {
        let of = |kind: GgufType, shape: &[usize]| kind.of(shape, false);
        assert_eq!(of(GgufType::Q4K, &[64, 512]), GgmlDType::Q4K);
        assert_eq!(GgufType::Q4K.of(&[64, 512], true), GgmlDType::Q6K);
        assert_eq!(of(GgufType::Q4K, &[512, 576]), GgmlDType::Q8_0);
        assert_eq!(of(GgufType::Q4K, &[512, 48]), GgmlDType::F16);
        assert_eq!(of(GgufType::Q8_0, &[512, 48]), GgmlDType::F16);
        assert_eq!(of(GgufType::F32, &[512, 48]), GgmlDType::F32);
        for kind in [GgufType::F16, GgufType::Q8_0, GgufType::Q4K] {
            assert_eq!(of(kind, &[512]), GgmlDType::F32);
        }
        assert!(GgufType::Q4K.falls_back(&[512, 576], false));
        assert!(!GgufType::Q4K.falls_back(&[576], false));
    }

    /// Checks that a value beyond the range of f16 is refused.
    #[test]
    fn great_values_are_refused() {
        let weight = Tensor::new(&[[1e6f32; 32]], &candle_core::Device::Cpu).unwrap();
        store(&weight, GgmlDType::F32).unwrap();
        let error = store(&weight, GgmlDType::F16).err().unwrap().to_string();
        assert!(error.contains("`f32`"), "{error}");
    }
}
