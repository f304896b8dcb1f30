//! Writes every page from made-up scores, to look at: `cargo run -p polymath-eval --example report -- <folder>`.

mod made_up;

use std::path::Path;

use polymath_eval::{EvalError, write};

fn main() -> Result<(), EvalError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "report".into());
    let report = made_up::report()?;
    print!("{}", report.table());
    let folder = Path::new(&folder);
    write(&report, folder)?;
    made_up::frontier()?.write(folder)?;
    made_up::transfer().write(folder)?;
    made_up::revert()?.write(folder)?;
    write(&made_up::chain()?, &folder.join("chain"))
}
