//! Search for NaN and infinite values.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};

/// Exponent bits of an f32. All of them are set only in infinities and NaN.
const EXPONENT: u32 = 0x7f80_0000;
/// Number of values that are checked before the search may stop early.
const CHUNK: usize = 1 << 14;

/// Returns true if no value is NaN or infinite. One vectorized pass.
pub fn all_finite(values: &[f32]) -> bool {
    values.chunks(CHUNK).all(|chunk| {
        let strange = |value: &f32| u32::from(value.to_bits() & EXPONENT == EXPONENT);
        chunk.iter().fold(0, |any, value| any | strange(value)) == 0
    })
}

/// Returns true if no element of the tensor is NaN or infinite. The tensor may be on any device.
///
/// # Errors
/// Fails if a tensor operation on the device fails.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(all_finite(&values[start..end]));
    }
    drop(storage);
    if tensor.elem_count() == 0 {
        return Ok(true);
    }
    // NaN · 0 and ∞ · 0 are NaN, every finite x · 0 is 0: the sum is NaN if any element is not finite.
    let sum = (tensor.to_dtype(DType::F32)? * 0.0)?.sum_all()?;
    Ok(sum.to_scalar::<f32>()? == 0.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Checks that a single NaN or infinity is found at any index, and that the largest and smallest finite numbers
    /// pass.
    #[test]
    fn strange_values_are_found() {
        let plain = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45];
        assert!(all_finite(&plain));
        for strange in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 6] {
                let mut values = vec![1.0; 2 * CHUNK + 7];
                assert!(all_finite(&values));
                values[at] = strange;
                assert!(!all_finite(&values), "{strange} at {at}");
                let tensor = Tensor::from_vec(values, (2 * CHUNK + 7, 1), &Device::Cpu).unwrap();
                assert!(!is_finite(&tensor).unwrap());
                assert!(!is_finite(&tensor.broadcast_as((2 * CHUNK + 7, 2)).unwrap()).unwrap());
                assert!(is_finite(&tensor.zeros_like().unwrap()).unwrap());
            }
        }
        assert!(all_finite(&[]));
    }
}
