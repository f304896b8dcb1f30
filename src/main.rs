//! The `polymath` command. All of it is in the crate `polymath-cli`.

/// Global allocator. It keeps the large buffers of a training step, whereas the system's allocator returns them to
/// the system, which then clears every page again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    polymath_cli::run()
}
