#!/usr/bin/env bash
# Attacks runs and files, and checks that nothing is lost: random kills, death and errors at each file-system call, starts
# at the same time, full disks. All of it takes days: `--minutes 60` takes a sample of an hour, `--quick` one of two minutes, in
# the order that the seed gives.
# A table stands at the end, with a command for each fault that was found; exit code 1 where there is one.
#
#   scripts/check/reliability.sh [--quick] [--seed N] [--minutes N] [--jobs N] [--only kills,faults,starts,disks]
#   scripts/check/reliability.sh --only soak --jobs 1 --minutes 720    # a frontier that is killed every few seconds, half a day
#
# Needs Python 3 and strace, which is installed where it is missing (Debian's packages). `POLYMATH` names the program;
# default: the one that `cargo build` makes.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Installs the package of a command that is missing; what can't be had is said in the table.
need() {
    command -v "$1" >/dev/null && return
    echo "$1 is missing: installing it" >&2
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get install -y -qq "$1" >/dev/null 2>&1 && return
    { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq "$1"; } >/dev/null 2>&1 ||
        echo "$1 can't be installed: install it with your distribution's package manager" >&2
}
need python3
need strace
if [ -z "${POLYMATH:-}" ]; then
    # With the tests, so that what `cargo test` has built is used: their dependencies switch on further features, without
    # which nearly every crate would be compiled again.
    cargo build --quiet --workspace --tests --bins
    POLYMATH=${CARGO_TARGET_DIR:-target}/debug/polymath
fi
POLYMATH=$(realpath "$POLYMATH")
export POLYMATH
# Small disks are mounted in a namespace of their own, which takes no rights where the system lets users make one.
private=()
if unshare --mount true 2>/dev/null; then
    private=(unshare --mount)
elif unshare --map-root-user --mount true 2>/dev/null; then
    private=(unshare --map-root-user --mount)
fi
exec "${private[@]}" python3 -B scripts/check/reliability "$@"
