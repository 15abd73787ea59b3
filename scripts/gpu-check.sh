#!/usr/bin/env bash
# Tries Spillway on a GPU node and measures it there: kernels, a real model against the CPU, an 8 B shape, the server.
#
# Usage: scripts/gpu-check.sh [BINARY] [--model PATH] [--output FOLDER] [--no-bench] [--sanitize]
#
#   BINARY           a `spillway` built with --features cuda; default: target/release/spillway, built first if
#                    cargo is there
#   --model PATH     a model to compare with the CPU: a .gguf file, or a folder; default: the demo model, if it is in
#                    the cache
#   --output FOLDER  where results go; default: gpu-check-results
#   --no-bench       correctness only
#   --sanitize       also under compute-sanitizer's memcheck and racecheck, where it is installed
#
# Needs the NVIDIA driver; no network, no Rust and no CUDA toolkit if BINARY is given. Takes under ten minutes on a data
# centre GPU. Exit code 0: all right; 1: something is wrong; 2: bad usage; 3: no usable device.
set -euo pipefail

die() {
  echo "gpu-check.sh: $1" >&2
  exit "${2:-2}"
}

root=$(cd "$(dirname "$0")/.." && pwd)
binary=
model=
output=gpu-check-results
bench=yes
sanitize=no
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,16s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --model) model=${2:?--model needs a path} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --no-bench) bench=no ;;
    --sanitize) sanitize=yes ;;
    -*) die "unknown option $1; known: --model PATH --output FOLDER --no-bench --sanitize" ;;
    *)
      [ -z "$binary" ] || die "takes one binary, got $binary and $1"
      binary=$1
      ;;
  esac
  shift
done

if [ -z "$binary" ]; then
  binary="${CARGO_TARGET_DIR:-$root/target}/release/spillway"
  if command -v cargo >/dev/null; then
    if [ -z "${NVCC:-}${CUDA_HOME:-}" ]; then
      CUDA_HOME=$("$root/scripts/cuda-toolkit.sh") || exit 1
      export CUDA_HOME
    fi
    (cd "$root" && cargo build --release --features cuda) || exit 1
  fi
fi
[ -x "$binary" ] || die "$binary is not there or not executable; build it with cargo build --release --features cuda"
if [ -z "$model" ]; then
  demo="${SPILLWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway}/SmolLM2-135M-Instruct.Q4_1.gguf"
  [ -e "$demo" ] && model=$demo
fi
mkdir -p "$output"

# cuBLASLt is optional. Where it came with a Python package, the loader does not find it by itself.
if ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libcublasLt\.so' >/dev/null; then
  for python in python3 python; do
    folder=$("$python" -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null) || continue
    if ls "$folder"/libcublasLt.so* >/dev/null 2>&1; then
      export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      break
    fi
  done
fi

{
  echo "== device"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.mem,power.limit --format=csv || true
  fi
  date -u '+%Y-%m-%d %H:%M UTC'
  git -C "$root" rev-parse HEAD 2>/dev/null || true
} | tee "$output/device.txt"

# The parts go on after one that fails; only a missing device ends all.
status=0
part() {
  local name=$1
  shift
  echo "== $name"
  local outcome=0
  "$@" 2>&1 | tee "$output/$name.txt" || outcome=${PIPESTATUS[0]}
  [ "$outcome" -ne 3 ] || die "no usable device" 3
  [ "$outcome" -eq 0 ] || status=1
}

parity=()
[ -z "$model" ] || parity=(--model "$model")
part selftest "$binary" gpu-selftest --no-bench "${parity[@]}"

if [ "$sanitize" = yes ]; then
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      part "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$binary" gpu-selftest --no-bench
    done
  else
    echo "== compute-sanitizer is not installed: left out"
  fi
fi

# The shape of Llama-3.1-8B; its weights are random, made on the node.
shape="$output/llama-3.1-8b-shape"
mkdir -p "$shape"
cat >"$shape/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "hidden_act": "silu",
 "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false}
JSON
engine=(--model "$shape" --weights dummy --device cuda --max-model-len 9216 --max-num-batched-tokens 8192)

serve_bench() {
  local log="$output/serve.log" address=
  "$binary" serve "${engine[@]}" --port 0 --log-format json >"$log" 2>&1 &
  local server=$!
  # It says where it listens, or ends.
  while kill -0 "$server" 2>/dev/null; do
    address=$(sed -n 's/.*"message":"listening".*"address":"\([^"]*\)".*/\1/p; s/.*"address":"\([^"]*\)".*"message":"listening".*/\1/p' "$log")
    [ -z "$address" ] || break
    sleep 0.5
  done
  local outcome=1
  if [ -n "$address" ]; then
    outcome=0
    "$binary" bench serve --base-url "$address" --endpoint completions --concurrency 1,16,64,256 --input-words 512 --max-tokens 128 \
      --output "$output/serve.json" || outcome=$?
    kill -TERM "$server"
  else
    tail -n 5 "$log"
  fi
  wait "$server" || outcome=$?
  return "$outcome"
}

if [ "$bench" = yes ]; then
  part kernels "$binary" gpu-selftest --no-test
  part decode "$binary" bench latency "${engine[@]}" --batch-size 1,8,32,128 --input-len 1024 --output-len 64 \
    --num-iters 3 --num-iters-warmup 1 --output "$output/decode.json"
  part prefill "$binary" bench latency "${engine[@]}" --batch-size 1 --input-len 512,2048,8192 --output-len 1 \
    --num-iters 5 --num-iters-warmup 1 --output "$output/prefill.json"
  part serve serve_bench
fi

# One file with everything that was measured.
{
  printf '{"device": "%s"' "$(tr -d '"\\' <"$output/device.txt" | tr '\n' ';')"
  for result in decode prefill serve; do
    [ ! -s "$output/$result.json" ] || printf ',\n"%s": %s' "$result" "$(cat "$output/$result.json")"
  done
  printf '}\n'
} >"$output/results.json"

if [ "$status" -eq 0 ]; then echo "== all right: $output"; else echo "== FAILED: $output"; fi
exit "$status"
