//! Test that loading takes little more memory than the weights in f32. It is alone in its process, whose memory it
//! measures.

#![cfg(target_os = "linux")]

mod random_model;

use candle_core::Device;
use polymath_model::{LoadOptions, Ops, Precision, load};

use random_model::RandomModel;

const MEGABYTE: usize = 1 << 20;

/// Returns the peak resident memory of this process in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// Checks that loading a model of 100 MB (in f32) from files of f32, bf16 and f16 has a peak far below twice this
/// size. The peak is about a tenth more, and somewhat more where the system uses large pages.
#[test]
fn weights_are_in_memory_once() {
    let folder = tempfile::tempdir().unwrap();
    let before = peak();
    for data_type in ["BF16", "F16", "F32"] {
        let at = folder.path().join(data_type);
        let model = RandomModel::of_megabytes(100);
        model.write(&at, data_type).unwrap();
        let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
        let loaded = load(&at, &options).unwrap();
        let bytes = 4 * loaded.config().parameter_count() as usize;
        assert!(bytes > 95 * MEGABYTE);
        let grown = peak() - before;
        assert!(
            grown < bytes / 10 * 13,
            "{data_type}: {} MB for {} MB of weights",
            grown / MEGABYTE,
            bytes / MEGABYTE
        );
    }
}
