//! Writes every page from made-up scores, to look at: `cargo run -p polymath-report --example report -- <folder>`.

mod made_up;

use std::path::Path;

use polymath_report::{ReportError, write};

fn main() -> Result<(), ReportError> {
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
