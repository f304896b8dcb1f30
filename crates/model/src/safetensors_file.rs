//! Reading of safetensors files, one tensor at a time. Each value is in memory once, as f32, for any type in the
//! file.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use candle_core::{Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use polymath_ops::all_finite;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, View};

use crate::ModelError;

/// Number of half-precision values that are read at once before conversion (1 MB).
const AT_ONCE: usize = 1 << 19;
/// Maximum bytes of the header, which is the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// An open safetensors file. It is opened once, so that all tensors come from the same file even if its path is
/// replaced.
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Offset of the end of the header, where the first tensor begins.
    data: u64,
}

impl SafetensorsFile {
    /// Reads the header and checks that the file has the length that it gives.
    ///
    /// # Errors
    /// Fails if the file can't be read, is truncated or is not a safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let broken = |reason: &str| {
            let message = format!(
                "is not a whole safetensors file ({reason}): it may have been cut off while copied"
            );
            ModelError::content(path, message)
        };
        polymath_input::refuse_pointer(path)?;
        let mut file = polymath_base::open(path).map_err(ModelError::file("open", path))?;
        let metadata = file.metadata().map_err(ModelError::file("open", path))?;
        let size = metadata.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| broken("it has no header"))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length + 8 > size {
            return Err(broken("its header ends outside the file"));
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
                "{size} bytes, but its header says {expected}"
            )));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            data,
        })
    }

    /// Returns the names of the tensors in file order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Returns the metadata in the file's header.
    pub(crate) fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// Reads the tensors of these names as f32 on the CPU, in parallel.
    ///
    /// # Errors
    /// Fails if a type is not supported, or if the file changes meanwhile.
    pub(crate) fn read_all(&self, names: Vec<String>) -> Result<Vec<(String, Tensor)>, ModelError> {
        let read = |name: String| {
            let tensor = self.read(&name)?;
            Ok((name, tensor))
        };
        names.into_par_iter().map(read).collect()
    }

    /// Returns true if the file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Returns true if the tensor `name` equals the tensor `other_name` of the file `other`, value for value.
    ///
    /// # Errors
    /// Fails if a tensor is missing or can't be read.
    pub(crate) fn is_same(
        &self,
        name: &str,
        other: &Self,
        other_name: &str,
    ) -> Result<bool, ModelError> {
        let (ours, theirs) = (self.info(name)?, other.info(other_name)?);
        if ours.shape != theirs.shape {
            return Ok(false);
        }
        if ours.dtype != theirs.dtype {
            let (ours, theirs) = (self.read(name)?, other.read(other_name)?);
            return Ok((ours - theirs)?.abs()?.sum_all()?.to_scalar::<f32>()? == 0.0);
        }
        let mut left = ours.data_offsets.1 - ours.data_offsets.0;
        let (mut file, mut other_file) = (self.at(ours), other.at(theirs));
        let (mut some, mut other_some) = (vec![0; AT_ONCE], vec![0; AT_ONCE]);
        while left > 0 {
            let length = left.min(AT_ONCE);
            let (some, other_some) = (&mut some[..length], &mut other_some[..length]);
            file.read_exact(some)
                .map_err(ModelError::file("read", &self.path))?;
            other_file
                .read_exact(other_some)
                .map_err(ModelError::file("read", &other.path))?;
            if some != other_some {
                return Ok(false);
            }
            left -= length;
        }
        Ok(true)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        self.header.info(name).ok_or_else(|| {
            ModelError::content(&self.path, format!("the parameter `{name}` is missing"))
        })
    }

    /// Returns a reader of the file at the start of a tensor.
    fn at(&self, info: &TensorInfo) -> FromOffset<'_> {
        FromOffset {
            file: &self.file,
            offset: self.data + info.data_offsets.0 as u64,
        }
    }

    fn read(&self, name: &str) -> Result<Tensor, ModelError> {
        let info = self.info(name)?;
        let mut file = self.at(info);
        // Weights are kept as f32 for any type in the file, since they are the optimizer's master copy.
        let mut values = vec![0f32; info.shape.iter().product()];
        let read = match info.dtype {
            Dtype::F32 => in_chunks(&mut values, |to| {
                file.read_exact(bytemuck::cast_slice_mut(to))
            }),
            Dtype::F16 => widen(&mut file, &mut values, |from: &[f16], to| {
                from.convert_to_f32_slice(to)
            }),
            Dtype::BF16 => widen(&mut file, &mut values, |from: &[u16], to| {
                // A bf16 is the upper half of an f32's bits.
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
        };
        let is_finite = read.map_err(|error| {
            ModelError::content(&self.path, format!("can't read `{name}`: {error}"))
        })?;
        if !is_finite {
            return Err(ModelError::NotFinite {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        }
        Ok(Tensor::from_vec(values, &info.shape[..], &Device::Cpu)?)
    }
}

/// Calls `read` to fill one chunk at a time; returns true if all values are finite. Each chunk is checked while it is
/// in the processor's cache.
fn in_chunks(
    values: &mut [f32],
    mut read: impl FnMut(&mut [f32]) -> std::io::Result<()>,
) -> std::io::Result<bool> {
    let mut is_finite = true;
    for stretch in values.chunks_mut(AT_ONCE) {
        read(stretch)?;
        is_finite = is_finite && all_finite(stretch);
    }
    Ok(is_finite)
}

/// Returns the names of the tensors in a safetensors file.
///
/// # Errors
/// Fails if the file can't be read.
pub fn tensor_names(path: &Path) -> Result<Vec<String>, ModelError> {
    Ok(SafetensorsFile::open(path)?.names())
}

/// Writes tensors to the file `path`. The file gets the permissions of the file that it replaces, or those that the
/// umask gives a new file. (The library's own temporary file would be readable by its owner only.)
///
/// # Errors
/// Fails if the tensors do not fit the format, or if the file can't be written.
pub fn write_safetensors<S, V, I>(
    path: &Path,
    tensors: I,
    metadata: Option<HashMap<String, String>>,
) -> Result<(), SafeTensorError>
where
    S: AsRef<str> + Ord + Display,
    V: View,
    I: IntoIterator<Item = (S, V)>,
{
    let new = File::options().create(true).append(true).open(path)?;
    let permissions = new.metadata()?.permissions();
    safetensors::serialize_to_file(tensors, metadata, path)?;
    Ok(std::fs::set_permissions(path, permissions)?)
}

/// Reader of an open file from an offset on. Threads share the file, so it does not use the file's own position.
struct FromOffset<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FromOffset<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(unix)]
        let count = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        #[cfg(windows)]
        let count = std::os::windows::fs::FileExt::seek_read(self.file, buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Reads `to.len()` values, one chunk at a time, and converts each chunk to f32 by `convert`; returns true if all
/// values are finite.
fn widen<T: Pod>(
    file: &mut impl Read,
    to: &mut [f32],
    convert: impl Fn(&[T], &mut [f32]),
) -> std::io::Result<bool> {
    let mut narrow = vec![T::zeroed(); AT_ONCE.min(to.len())];
    in_chunks(to, |to| {
        let narrow = &mut narrow[..to.len()];
        file.read_exact(bytemuck::cast_slice_mut(narrow))?;
        convert(narrow, to);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that all tensors come from the file that was opened, even if another file has its name now.
    #[test]
    fn a_file_is_opened_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let write = |path: &Path, value: f32| {
            let tensors = ["a", "b"].map(|name| {
                let tensor = Tensor::full(value, (2, 3), &Device::Cpu).unwrap();
                (name.to_owned(), tensor)
            });
            safetensors::serialize_to_file(tensors, None, path).unwrap();
        };
        write(&path, 1.0);
        let file = SafetensorsFile::open(&path).unwrap();
        write(&folder.path().join("other"), 2.0);
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        for (name, tensor) in file.read_all(file.names()).unwrap() {
            let sum = tensor.sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(sum, 6.0, "{name}");
        }
    }
}
