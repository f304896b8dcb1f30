# To be sourced from the repository's root: `python_environment FOLDER PACKAGE…` makes a scratch environment of Python in
# FOLDER, with these packages (each imported by its own name). What is there already is not fetched again.
python_environment() {
    local environment=$1
    shift
    command -v python3 >/dev/null || { echo "python3 is missing: install Python 3.9 or later" >&2; exit 1; }
    [ -x "$environment/bin/python" ] || python3 -m venv "$environment"
    "$environment/bin/python" -c "import $(IFS=,; echo "$*")" 2>/dev/null ||
        "$environment/bin/pip" install --quiet --disable-pip-version-check "$@"
}
