#!/usr/bin/env bash
# Talks to `polymath serve` with OpenAI's own Python client, and compares its greedy answers with `polymath generate`.
#
#     scripts/check/serve.sh CHECKPOINT [PROGRAM]
#
# CHECKPOINT has a chat template. PROGRAM is `polymath` (default: target/release/polymath). Needs a network for pip.
set -eu
checkpoint=${1:?"a checkpoint with a chat template"}
program=${2:-target/release/polymath}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openai
"$program" serve "$checkpoint" --port 0 --queue 2 2> "$work/log" &
server=$!
for _ in $(seq 600); do
    grep -q ' at http' "$work/log" && break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
url=$(sed -n 's/.* at \(http[^;]*\);.*/\1/p' "$work/log")
"$work/venv/bin/python" "$here/check_serve.py" "$url" "$program" "$checkpoint"
kill -INT "$server"
wait "$server" || { echo "the server ended with $? after Ctrl-C" >&2; exit 1; }
server=
echo "the server ended with 0 after Ctrl-C"
