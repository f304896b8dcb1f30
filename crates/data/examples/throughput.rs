//! Measures the throughput of `prepare` without tokenizer training: raw text in, finished dataset out.
//!
//! `cargo run --release -p polymath-data --example throughput [-- <file or glob>…]`; without files, it prepares 64 MB
//! of the built-in synthetic corpus. All files form one domain. `RAYON_NUM_THREADS` sets the number of threads.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use polymath_data::synthetic::{self, SyntheticConfig};
use polymath_data::{
    Dataset, DomainConfig, NoProgress, PrepareConfig, Split, TokenizerConfig, prepare,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        let config = SyntheticConfig {
            seed: 1,
            bytes_per_domain: 64_000_000 / synthetic::DOMAINS.len() as u64,
        };
        synthetic::write(&config, folder.path())?;
        paths.push(format!("{}/*/documents.jsonl", folder.path().display()));
    }

    let began = Instant::now();
    let trained = make(&paths, &folder.path().join("trained"), None)?;
    println!(
        "with tokenizer training  {:6.1} s",
        began.elapsed().as_secs_f64()
    );

    let began = Instant::now();
    let tokenizer = trained.tokenizer_path();
    let dataset = make(&paths, &folder.path().join("given"), Some(&tokenizer))?;
    let seconds = began.elapsed().as_secs_f64();

    let (mut bytes, mut tokens) = (0, 0);
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard("all", split)?;
        bytes += shard.bytes();
        tokens += shard.tokens();
    }
    let megabytes = bytes as f64 / 1e6;
    println!(
        "with a given tokenizer   {seconds:6.1} s: {megabytes:.1} MB of text kept, {tokens} tokens"
    );
    println!("throughput               {:6.1} MB/s", megabytes / seconds);
    if let Some(peak) = peak_memory() {
        println!("peak memory              {peak:>6}");
    }
    Ok(())
}

fn make(
    paths: &[String],
    output: &Path,
    tokenizer: Option<&Path>,
) -> Result<Dataset, Box<dyn Error>> {
    let domain = DomainConfig {
        paths: paths.to_vec(),
        ..DomainConfig::default()
    };
    let config = PrepareConfig {
        output: output.to_path_buf(),
        heldout_fraction: 0.05,
        seed: 0,
        tokenizer: TokenizerConfig {
            path: tokenizer.map(Path::to_path_buf),
            ..TokenizerConfig::default()
        },
        domains: BTreeMap::from([("all".into(), domain)]),
    };
    Ok(prepare(&config, false, &NoProgress)?)
}

/// Returns the peak resident memory of this process (`VmHWM`), or `None` on a system without `/proc`.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
