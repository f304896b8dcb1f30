//! A safetensors file, read a tensor at a time: what a file holds is in memory once, as f32, whatever its type there.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use candle_core::{Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::ModelError;

/// Values of half precision that are read at once, before they are widened: 1 MB.
const AT_ONCE: usize = 1 << 19;
/// The longest header that is read: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// An open file: its header is read, its tensors are not.
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    header: Metadata,
    /// Where the header ends and the first tensor begins.
    data: u64,
}

impl SafetensorsFile {
    /// Reads the header, and checks that the file is as long as it says.
    ///
    /// # Errors
    /// A file that can't be read, is cut off or is no safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let broken = |reason: &str| {
            let message = format!(
                "is not a whole safetensors file ({reason}): it may have been cut off while copied"
            );
            ModelError::content(path, message)
        };
        polymath_input::refuse_pointer(path)?;
        let mut file = polymath_files::open(path).map_err(ModelError::file("open", path))?;
        let metadata = file.metadata().map_err(ModelError::file("open", path))?;
        let size = metadata.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| broken("it has no header"))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length + 8 > size {
            return Err(broken("its header ends outside of it"));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text)
            .map_err(ModelError::file("read", path))?;
        let header: Metadata =
            serde_json::from_slice(&text).map_err(|error| broken(&error.to_string()))?;
        let data = length + 8;
        let expected = data + header.data_len() as u64;
        if size != expected {
            return Err(broken(&format!(
                "{size} bytes, where its header says {expected}"
            )));
        }
        Ok(Self {
            path: path.to_path_buf(),
            header,
            data,
        })
    }

    /// The tensors' names, in the order in which they stand in the file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// What is written into the header beside the tensors.
    pub(crate) fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// The tensors of these names, as f32 on the CPU, read on all threads.
    ///
    /// # Errors
    /// A type that is not supported; a file that changes meanwhile.
    pub(crate) fn read_all(&self, names: Vec<String>) -> Result<Vec<(String, Tensor)>, ModelError> {
        let read = |name: String| {
            let tensor = self.read(&name)?;
            Ok((name, tensor))
        };
        names.into_par_iter().map(read).collect()
    }

    fn read(&self, name: &str) -> Result<Tensor, ModelError> {
        let info = self.header.info(name).ok_or_else(|| {
            ModelError::content(&self.path, format!("the parameter `{name}` is missing"))
        })?;
        let mut file = File::open(&self.path).map_err(ModelError::file("open", &self.path))?;
        let start = self.data + info.data_offsets.0 as u64;
        // Weights are kept in f32 whatever the file holds: they are the optimizer's master copy.
        let mut values = vec![0f32; info.shape.iter().product()];
        file.seek(SeekFrom::Start(start))
            .and_then(|_| match info.dtype {
                Dtype::F32 => file.read_exact(bytemuck::cast_slice_mut(&mut values)),
                Dtype::F16 => widen(&mut file, &mut values, |from: &[f16], to| {
                    from.convert_to_f32_slice(to)
                }),
                Dtype::BF16 => widen(&mut file, &mut values, |from: &[u16], to| {
                    // The upper half of an f32's bits.
                    for (to, bits) in to.iter_mut().zip(from) {
                        *to = f32::from_bits(u32::from(*bits) << 16);
                    }
                }),
                other => {
                    let message = format!(
                        "a parameter of type {other:?} is not supported: expected F32, F16 or BF16"
                    );
                    Err(std::io::Error::other(message))
                }
            })
            .map_err(|error| {
                ModelError::content(&self.path, format!("can't read `{name}`: {error}"))
            })?;
        Ok(Tensor::from_vec(values, &info.shape[..], &Device::Cpu)?)
    }
}

/// Reads as many values as `to` has, a stretch at a time.
fn widen<T: Pod>(
    file: &mut File,
    to: &mut [f32],
    convert: impl Fn(&[T], &mut [f32]),
) -> std::io::Result<()> {
    let mut narrow = vec![T::zeroed(); AT_ONCE.min(to.len())];
    for to in to.chunks_mut(AT_ONCE) {
        let narrow = &mut narrow[..to.len()];
        file.read_exact(bytemuck::cast_slice_mut(narrow))?;
        convert(narrow, to);
    }
    Ok(())
}
