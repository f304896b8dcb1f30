//! The `polymath` command: everything happens in `polymath-cli`.

/// Allocator that keeps the large buffers of a step. The system's returns the memory, and every page of it is cleared
/// again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    polymath_cli::run()
}
