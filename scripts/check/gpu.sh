#!/usr/bin/env bash
# Checks the CUDA build on a machine with a GPU, and prints one table. Each step has its own time limit, and a failed step
# does not stop the next. Exits with 0 only if all steps passed. About six minutes after the build.
#
#   scripts/check/gpu.sh --build     builds everything; do it before the time on the machine is counted
#   scripts/check/gpu.sh             runs the checks
#
# Needs the CUDA toolkit (nvcc for Candle's kernels, libnvrtc and cuBLAS at run time) and Python with PyTorch for the last
# step. Without a GPU, see cuda-types.sh, cuda.sh and kernels.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
results=target/gpu-check
mkdir -p "$results"

build() {
    cargo build --release --features cuda &&
        cargo test --release --features cuda --workspace --lib --no-run &&
        cargo test --release --features cuda --test it --no-run
}
if [ "${1:-}" = --build ]; then
    build
    exit
fi
command -v nvidia-smi >/dev/null || { echo "nvidia-smi is missing: this script needs a machine with a GPU" >&2; exit 1; }
polymath=target/release/polymath
[ -x "$polymath" ] || { echo "$polymath is missing: run scripts/check/gpu.sh --build first" >&2; exit 1; }

failed=0
table=
# step NAME SECONDS COMMAND...: runs a command within its time and adds a row to the table.
step() {
    local name=$1 limit=$2 begin=$SECONDS result=ok
    shift 2
    timeout "$limit" "$@" >"$results/$name.log" 2>&1 || { result="FAILED ($results/$name.log)"; failed=1; }
    table+=$(printf '%-28s %4s s  %s' "$name" "$((SECONDS - begin))" "$result")$'\n'
}
# bench PRECISION FILE [FLAG...]: measures the base shape.
bench() {
    "$polymath" bench configs/pretrain/reference.toml --device cuda:0 --json --steps 10 --vocabulary 32000 "${@:3}" \
        model.hidden_size=768 model.num_hidden_layers=12 model.num_attention_heads=12 model.intermediate_size=2048 \
        training.batch_size=8 training.sequence_length=1024 "training.precision=\"$1\"" >"$2"
}
export -f bench
export polymath
# measure NAME PRECISION [FLAG...]: adds a row with the result of a bench.
measure() {
    local name=$1 file=$results/$1.json
    step "$name" 60 bash -c 'bench "$@"' bench "$2" "$file" "${@:3}"
    table+=$(printf '%-28s         %s' "" "$(python3 scripts/check/gpu_rate.py "$file")")$'\n'
}

export POLYMATH_TEST_DEVICE=cuda:0
step kernels-against-f64 120 cargo test --release --features cuda --workspace --lib gpu::tests::
if command -v compute-sanitizer >/dev/null; then
    program=$(cargo test --release --features cuda -p polymath-ops --lib --no-run 2>&1 | sed -n 's/.*(\(target[^)]*polymath_ops[^)]*\)).*/\1/p')
    step memcheck 60 compute-sanitizer --error-exitcode 1 "$program" gpu::tests::layers
    step racecheck 60 compute-sanitizer --tool racecheck --error-exitcode 1 "$program" gpu::tests::attention::dimensions
fi
unset POLYMATH_TEST_DEVICE
step models-against-the-cpu 120 cargo test --release --features cuda --test it cuda::
measure bf16 bf16
POLYMATH_CUDA_POOL=default measure bf16-default-pool bf16
measure f32 f32
measure bf16-reference bf16 --ops reference
if python3 -c 'import torch' 2>/dev/null; then
    step compare-torch 120 python3 scripts/bench/compare_torch.py "$polymath" --device cuda:0 --shapes base
fi

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
printf '%s' "$table"
[ -f "$results/compare-torch.log" ] && tail -n 8 "$results/compare-torch.log"
exit "$failed"
