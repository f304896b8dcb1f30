//! Writes every kind of report from synthetic scores: `cargo run -p polymath-report --example report -- <folder>`.

mod synthetic;

use std::path::Path;

use polymath_report::{ReportError, write};

fn main() -> Result<(), ReportError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "report".into());
    let report = synthetic::report()?;
    print!("{}", report.table());
    let folder = Path::new(&folder);
    write(&report, folder)?;
    synthetic::frontier()?.write(folder)?;
    synthetic::transfer().write(folder)?;
    synthetic::reset()?.write(folder)?;
    write(&synthetic::chain()?, &folder.join("chain"))
}
