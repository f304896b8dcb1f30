//! A safetensors file, read a tensor at a time: what a file holds is in memory once, as f32, whatever its type there.

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

/// Values of half precision that are read at once, before they are widened: 1 MB.
const AT_ONCE: usize = 1 << 19;
/// The longest header that is read: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// An open file: its header is read, its tensors are not. It is opened once, so that all tensors are those of one file
/// whatever its path leads to meanwhile.
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    file: File,
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
            file,
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

    /// Whether the file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Whether the tensor `name` is that called `other_name` in the file `other`, value for value.
    ///
    /// # Errors
    /// A tensor that is in neither, or can't be read.
    pub(crate) fn is_same(
        &self,
        name: &str,
        (other, other_name): (&Self, &str),
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

    /// The file, at the beginning of a tensor.
    fn at(&self, info: &TensorInfo) -> FromOffset<'_> {
        FromOffset {
            file: &self.file,
            offset: self.data + info.data_offsets.0 as u64,
        }
    }

    fn read(&self, name: &str) -> Result<Tensor, ModelError> {
        let info = self.info(name)?;
        let mut file = self.at(info);
        // Weights are kept in f32 whatever the file holds: they are the optimizer's master copy.
        let mut values = vec![0f32; info.shape.iter().product()];
        let read = match info.dtype {
            Dtype::F32 => in_stretches(&mut values, |to| {
                file.read_exact(bytemuck::cast_slice_mut(to))
            }),
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

/// Has `read` fill a stretch at a time. Returns whether all values are finite: each stretch is looked at while the processor's
/// cache holds it.
fn in_stretches(
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

/// Writes tensors as the file `path`, which has the mode that the umask gives to new files, or that of the file that it
/// replaces. The library writes a temporary file of its own, which only its owner may read.
///
/// # Errors
/// Tensors that don't fit the format; a file that can't be written.
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

/// Reads an open file from an offset on. Threads share the file, so none moves its position.
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

/// Reads as many values as `to` has, a stretch at a time. Returns whether all are finite.
fn widen<T: Pod>(
    file: &mut impl Read,
    to: &mut [f32],
    convert: impl Fn(&[T], &mut [f32]),
) -> std::io::Result<bool> {
    let mut narrow = vec![T::zeroed(); AT_ONCE.min(to.len())];
    in_stretches(to, |to| {
        let narrow = &mut narrow[..to.len()];
        file.read_exact(bytemuck::cast_slice_mut(narrow))?;
        convert(narrow, to);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tensors are those of the file that was opened, although another one has its name now.
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
