# `just` lists the recipes; https://just.systems. Each is a command that works without `just` too.

default:
    @just --list

# All that must pass before a change lands: the steps of `.ci/run`
check:
    .ci/run

# Format, links, terms, crate layers and spelling: seconds
fast:
    cargo fmt --all --check
    scripts/check/links.py
    scripts/check/prose.py
    scripts/check/architecture.py
    scripts/check/module-cycles.py
    if command -v typos >/dev/null; then typos; else echo "skipped: typos is not installed"; fi

# Clippy and rustdoc, warnings as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The tests, or those whose name contains FILTER
test FILTER="":
    cargo test --workspace {{ FILTER }}

# The kernels for AVX2 and for machines without vector instructions
test-kernels:
    POLYMATH_PORTABLE=1 cargo test --workspace --lib fused::
    POLYMATH_TEST_AVX2=1 cargo test --workspace --lib fused::

# The demo: pretrain, fine-tune by three methods, report; minutes after the build
demo:
    cargo run --release -- demo

# The book, into target/book (needs mdbook)
book:
    mdbook build

# Writes the generated pages of docs/reference
reference:
    POLYMATH_WRITE_REFERENCE=1 cargo test --workspace --test it reference_pages::

# Licenses, duplicate versions and origins of dependencies (needs cargo-deny)
deny:
    cargo deny check licenses bans sources

# Known vulnerabilities of dependencies (needs cargo-deny and a network)
advisories:
    cargo deny check advisories

# Kills commands that write, makes their file-system calls fail and fills their disk, for MINUTES minutes
reliability MINUTES="60":
    scripts/check/reliability.sh --minutes {{ MINUTES }}

# Altered files against every reader: hours
mutate-files:
    scripts/check/mutate-files.py

# How often intervals cover the truth and verdicts are wrong: the tables of docs/concepts/evidence.md
coverage:
    scripts/check/coverage.sh

# Plants one-line faults and prints which ones the tests catch; WORDS select faults by name
planted-faults *WORDS:
    scripts/check/planted-faults.py {{ WORDS }}

# cargo-mutants over the loop, fine-tuning, scores, data and optimizer: hours
mutants:
    scripts/check/mutants.sh

# Against transformers, peft, llama.cpp and lm-evaluation-harness (fetches Python packages)
compare-hugging-face:
    scripts/check/hf.sh
    scripts/check/finetune.sh
    scripts/check/chat.sh
compare-openai-client CHECKPOINT:
    scripts/check/serve.sh {{ CHECKPOINT }}
compare-llama-cpp:
    scripts/check/gguf.sh
compare-tasks:
    scripts/check/tasks.sh

# The program of the library guide, outside of the workspace
library:
    scripts/check/library.sh

# The program without the features that can be left out
check-no-default-features:
    cargo clippy -p polymath-lm -p polymath-cli -p polymath-data -p polymath-hub -p polymath-train --no-default-features -- -D warnings

# What each crate would publish holds what its sources include
package:
    scripts/check/package.sh

# Type-checks for macOS, Windows and Linux arm64
targets *TARGETS:
    scripts/check/targets.sh {{ TARGETS }}

# Compiles for CUDA on a machine without a GPU: half an hour
cuda:
    scripts/check/cuda.sh

# Each operation, fused against composed
bench-operations:
    scripts/bench/operations.sh

# Seconds, packages and size of the release build, with and without features
bench-build:
    scripts/bench/build.sh

# A training step against PyTorch's
bench-torch:
    scripts/bench/compare_torch.sh
