//! Compares the time to load a checkpoint with the time to read its file into memory: `cargo run --release -p
//! polymath-model --example load_time [-- <megabytes>]`.

#[path = "../tests/random_model/mod.rs"]
mod random_model;

use std::time::Instant;

use candle_core::Device;
use polymath_model::{LoadOptions, Ops, Precision};

use random_model::RandomModel;

/// Allocator of the command-line program, which requests large pages from the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of repetitions; the fastest one counts.
const TRIES: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let megabytes = std::env::args()
        .nth(1)
        .map_or(Ok(500), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("polymath-load-time-{}", std::process::id()));
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    println!("file    size      read     load     ratio");
    for (data_type, share) in [("BF16", 2), ("F16", 2), ("F32", 1)] {
        let at = folder.join(data_type);
        let model = RandomModel::of_megabytes(megabytes);
        model.write(&at, data_type)?;
        let file = at.join("model.safetensors");
        let read = best(|| std::fs::read(&file).map(drop).map_err(Into::into))?;
        let load = best(|| {
            let loaded = polymath_model::load(&at, &options);
            loaded.map(drop).map_err(Into::into)
        })?;
        let bytes = 4 * model.config.parameter_count();
        println!(
            "{data_type:5} {:6} MB  {:6.1} ms {:6.1} ms   {:5.2}",
            bytes / share / 1_000_000,
            read * 1e3,
            load * 1e3,
            load / read
        );
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn best(
    mut run: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}
