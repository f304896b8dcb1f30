#!/usr/bin/env bash
# Makes the fixtures of transformers, PEFT, gguf-py (llama.cpp) and lm-evaluation-harness again, in crates/*/tests/fixtures. The
# tests compare with them without Python; run this when one of the programs has a new version, and read the difference.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/python-environment.sh
environment=${1:-target/fixtures-environment}
python_environment "$environment" torch transformers peft gguf accelerate lm_eval
"$environment/bin/python" scripts/check/fixtures.py
"$environment/bin/python" scripts/check/freeze_repetition_penalty.py > crates/model/tests/fixtures/repetition_penalty.json
