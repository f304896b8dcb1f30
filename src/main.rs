//! The `polymath` command: everything happens in `polymath-cli`.
fn main() -> std::process::ExitCode {
    polymath_cli::run()
}
