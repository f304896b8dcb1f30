//! The `polymath` command: everything happens in `polymath-cli`.

/// A step takes and gives back large buffers; this allocator keeps them, where the system's gives the memory back and has
/// every page of it cleared again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    polymath_cli::run()
}
