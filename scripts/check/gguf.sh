#!/usr/bin/env bash
# GGUF files in llama.cpp: random checkpoints of every family, and trained ones, exported in every type; logits, tokens and
# greedy text there against ours, and what is imported again against what was exported. SmolLM2-135M, which comes as a GGUF in
# a package (93 MB), is imported and compared too, and the vocabularies that llama.cpp tests itself with. Prints two tables.
# llama.cpp is compiled out of the source package of `llama-cpp-python` (77 MB; some minutes), into target/.
#
#   scripts/check/gguf.sh [trained checkpoint folder…]
#
# PROGRAMS=target/debug takes what is built there already, not a release build.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/gguf-environment
scratch=target/check-gguf
python_environment "$environment" cmake ninja scikit_build_core numpy typing_extensions diskcache jinja2 tokenizers safetensors \
    sentencepiece
smollm2_wheel "$scratch"
package=$(llama_cpp_source "$scratch")

# Only the library: no programs, no server, no pictures.
export PATH="$PWD/$environment/bin:$PATH"
if [ ! -f "$scratch/source/PKG-INFO" ]; then
    mkdir -p "$scratch/source"
    tar xzf "$package" -C "$scratch/source" --strip-components=1
fi
cmake -S "$scratch/source/vendor/llama.cpp" -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_HTML=OFF -DLLAMA_CURL=OFF >"$scratch/configure.log" 2>&1 ||
    { cat "$scratch/configure.log" >&2; exit 1; }
cmake --build "$scratch/build" --target llama >"$scratch/build.log" 2>&1 || { tail -40 "$scratch/build.log" >&2; exit 1; }
export LLAMA_CPP_LIB_PATH="$PWD/$scratch/build/bin"
python -c 'import llama_cpp' 2>/dev/null ||
    CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF" "$environment/bin/pip" install --quiet --disable-pip-version-check \
        --no-deps --no-build-isolation "$package"

programs=${PROGRAMS:-target/release}
if [ -z "${PROGRAMS:-}" ]; then
    cargo build --release --quiet
    cargo build --release --quiet --workspace --example forward
fi
python scripts/check/check_gguf_vocabularies.py "$programs/polymath" "$scratch/source/vendor/llama.cpp/models" "$scratch"
echo
exec python scripts/check/check_gguf.py "$programs" "$scratch" "$@"
