//! Compiles the kernels with a C++ compiler.

/// Dimensions of heads in `native/dimensions.h`.
const DIMENSIONS: [&str; 7] = ["8", "16", "24", "32", "64", "96", "128"];

fn main() {
    if std::env::var_os("CARGO_CFG_UNIX").is_none() {
        return; // nothing depends on it there
    }
    println!("cargo::rerun-if-changed=native");
    println!("cargo::rerun-if-changed=kernels");
    let compiler = || {
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .opt_level(2)
            .debug(false)
            .flag_if_supported("-fno-stack-protector")
            .include("kernels")
            .include("native");
        build
    };
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut objects = Vec::new();
    for dimension in DIMENSIONS {
        // An object is named after its source, so each dimension needs a folder of its own.
        let mut build = compiler();
        build
            .out_dir(out.join(dimension))
            .define("HEAD_DIM", dimension)
            .file("native/attention.cpp")
            .file("native/attention_f32.cpp");
        match build.try_compile_intermediates() {
            Ok(found) => objects.extend(found),
            Err(error) => explain(&error),
        }
    }
    let mut build = compiler();
    build
        .file("native/kernels.cpp")
        .file("native/emulate.cpp")
        .objects(objects);
    if let Err(error) = build.try_compile("polymath_kernels") {
        explain(&error);
    }
}

/// Ends the build with what to install.
fn explain(error: &cc::Error) -> ! {
    eprintln!(
        "the tests run the CUDA kernels on the processor, which needs a C++17 compiler: install one (Debian: `apt install \
         g++`; Fedora: `dnf install gcc-c++`; macOS: `xcode-select --install`), or name it in `CXX`. The program itself \
         needs none.\n{error}"
    );
    std::process::exit(1)
}
