//! Draws the pictures of the documentation: `cargo run -p polymath-report --example pictures -- docs/images`.
//!
//! With a second argument, `compare_torch.json` of `scripts/bench/compare_torch.sh`, its figures are drawn in place of
//! those in `docs/experiments/performance.md`.

mod measured;
mod synthetic;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "docs/images".into());
    let speeds = match arguments.next() {
        Some(path) => measured::read_speeds(Path::new(&path))?,
        None => measured::speeds(),
    };
    for (name, picture) in measured::pictures(&synthetic::report()?, &speeds)? {
        std::fs::write(Path::new(&folder).join(name), picture)?;
    }
    Ok(())
}
