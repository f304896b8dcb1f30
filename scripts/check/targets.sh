#!/usr/bin/env bash
# Type-checks the program for the machines of releases that this one is not: macOS, Windows and Linux on arm64. Adds
# the standard library of each target by rustup, and says which it could not get. No compiler of C for these machines
# is needed: build scripts are given one that makes empty objects, since nothing is linked. So this finds code that
# does not compile there, and nothing else: the program was never linked or run on macOS or Windows, nor on Linux arm64.
#
#   scripts/check/targets.sh                            all targets
#   scripts/check/targets.sh aarch64-apple-darwin       one, or several
#   FEATURES="--no-default-features" scripts/check/targets.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
targets=("$@")
[ $# -gt 0 ] || targets=(aarch64-apple-darwin x86_64-pc-windows-msvc aarch64-unknown-linux-gnu)
stub=$PWD/target/targets-stub
mkdir -p "$stub"

# Writes an empty file wherever a compiler or archiver is told to write one.
cat >"$stub/cc" <<'STUB'
#!/bin/sh
case " $* " in *" -E "* | *" /E "* | *" -EP "*) exec cc -E -x c "$(for last; do :; done; echo "$last")" ;; esac
previous=
for argument; do
    case $previous in -o | -Fo) : >"$argument" ;; esac
    case $argument in
        -o | -Fo) ;;
        -Fo* | /Fo*) : >"${argument#?Fo}" ;;
        -out:* | /out:* | -OUT:* | /OUT:*) : >"${argument#*:}" ;;
        *.a | *.lib) : >"$argument" ;;
    esac
    previous=$argument
done
exit 0
STUB
chmod +x "$stub/cc"
ln -sf cc "$stub/ar"

left=()
for target in "${targets[@]}"; do
    if ! rustup target list --installed 2>/dev/null | grep -qx "$target" && ! rustup target add "$target" >/dev/null 2>&1; then
        left+=("$target: its standard library can't be fetched (rustup target add $target)")
        continue
    fi
    name=${target//-/_}
    # shellcheck disable=SC2086
    env "CC_$name=$stub/cc" "CXX_$name=$stub/cc" "AR_$name=$stub/ar" \
        cargo check --locked --target "$target" --target-dir target/targets --package polymath-lm ${FEATURES:-}
    echo "$target: the program type-checks; it was not linked or run"
done
for line in "${left[@]}"; do
    echo "skipped: $line" | tee -a "${POLYMATH_SKIPPED:-/dev/null}"
done
