#!/usr/bin/env bash
# Tries every GPU kernel against f64 sums and times it, on a node that has a GPU and maybe nothing else.
#
# Usage: scripts/gpu-check.sh [BINARY] [--no-bench] [--sanitize]
#
#   BINARY       a built `gpu_selftest`; default: target/release/examples/gpu_selftest, built first
#                if cargo is there
#   --no-bench   correctness only
#   --sanitize   also under compute-sanitizer's memcheck and racecheck, where it is installed
#
# Needs the NVIDIA driver; no network, no Rust and no CUDA toolkit if BINARY is given. Takes under ten
# minutes. Exit code 0: all right; 1: something is wrong; 2: bad usage; 3: no usable device.
set -euo pipefail

die() {
  echo "gpu-check.sh: $1" >&2
  exit "${2:-2}"
}

root=$(cd "$(dirname "$0")/.." && pwd)
binary=
bench=yes
sanitize=no
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      sed -n '2,14s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --no-bench) bench=no ;;
    --sanitize) sanitize=yes ;;
    -*) die "unknown option $argument; known: --no-bench --sanitize" ;;
    *)
      [ -z "$binary" ] || die "takes one binary, got $binary and $argument"
      binary=$argument
      ;;
  esac
done

if [ -z "$binary" ]; then
  binary="${CARGO_TARGET_DIR:-$root/target}/release/examples/gpu_selftest"
  if command -v cargo >/dev/null; then
    if [ -z "${NVCC:-}${CUDA_HOME:-}" ]; then
      CUDA_HOME=$("$root/scripts/cuda-toolkit.sh") || exit 1
      export CUDA_HOME
    fi
    (cd "$root" && cargo build --release -p spillway-kernels --features cuda --example gpu_selftest) || exit 1
  fi
fi
[ -x "$binary" ] || die "$binary is not there or not executable; build it with cargo build --release -p spillway-kernels --features cuda --example gpu_selftest"

# cuBLASLt is optional. Where it came with a Python package, the loader does not find it by itself.
if ! ldconfig -p 2>/dev/null | grep -q 'libcublasLt\.so'; then
  for python in python3 python; do
    folder=$("$python" -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null) || continue
    if ls "$folder"/libcublasLt.so* >/dev/null 2>&1; then
      export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      break
    fi
  done
fi

echo "== device"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.mem,power.limit --format=csv || true
fi
date -u '+%Y-%m-%d %H:%M UTC'

echo "== self-test"
status=0
"$binary" --no-bench || status=$?
[ "$status" -ne 3 ] || die "no usable device" 3

if [ "$sanitize" = yes ]; then
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      echo "== compute-sanitizer $tool"
      compute-sanitizer --tool "$tool" --error-exitcode 1 "$binary" --no-bench || status=1
    done
  else
    echo "== compute-sanitizer is not installed: left out"
  fi
fi

if [ "$bench" = yes ]; then
  echo "== bench"
  "$binary" --no-test || status=1
fi

if [ "$status" -eq 0 ]; then echo "== all right"; else echo "== FAILED"; fi
exit "$status"
