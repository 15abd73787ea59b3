#!/usr/bin/env bash
# Builds Spillway, fetches the demo model, serves it on 127.0.0.1 and asks it a question.
#
# Usage: scripts/quickstart.sh [--once] [--port PORT]
#   --once       stop after the answer; exit code 0 only if an answer came
#   --port PORT  default 8000
# Needs: Rust (rustup), git, a C compiler, Python 3 with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

once=false
port=8000
while [ $# -gt 0 ]; do
    case "$1" in
        --once) once=true ;;
        --port) port="${2:?--port needs a number}"; shift ;;
        *) echo "quickstart.sh: unknown argument $1; known are --once and --port PORT" >&2; exit 2 ;;
    esac
    shift
done

missing() {
    echo "quickstart.sh: $1 is missing; $2" >&2
    exit 1
}
command -v cargo >/dev/null || missing cargo "install Rust from https://rustup.rs"
command -v cc >/dev/null || missing "a C compiler" "install gcc"
command -v python3 >/dev/null || missing python3 "install Python 3 with pip"

# Where there is an NVIDIA driver, the binary can use its GPU; it takes the CPU if that turns out not to do.
features=()
if { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libcuda\.so' >/dev/null; then
    if [ -z "${NVCC:-}${CUDA_HOME:-}" ]; then
        echo "== an NVIDIA driver is here: installing the compiler of the GPU code (220 MB, once)"
        CUDA_HOME=$(scripts/cuda-toolkit.sh)
        export CUDA_HOME
    fi
    features=(--features cuda)
fi

echo "== building the release binary (minutes the first time)"
cargo build --release "${features[@]}"
spillway="${CARGO_TARGET_DIR:-target}/release/spillway"

echo "== fetching the demo model"
"$spillway" pull demo

echo "== starting the server on http://127.0.0.1:$port"
log=$(mktemp "${TMPDIR:-/tmp}/spillway-quickstart.XXXXXX")
"$spillway" serve --model demo --host 127.0.0.1 --port "$port" >"$log" 2>&1 &
server=$!
stop_server() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -f "$log"
}
trap stop_server EXIT
trap 'exit 130' INT TERM

# Asks one question, prints the answer as it comes, then its speed. Waits until the server is ready.
python3 scripts/ask.py --url "http://127.0.0.1:$port" --server-pid "$server" \
    "What is a spillway? Answer in two sentences." || {
    echo "quickstart.sh: no answer came; the server said:" >&2
    tail -n 20 "$log" >&2
    exit 1
}

if [ "$once" = true ]; then
    exit 0
fi
echo "== serving on http://127.0.0.1:$port until you press Ctrl-C"
wait "$server"
