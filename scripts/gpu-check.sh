#!/usr/bin/env bash
# Tries Spillway on a GPU node and measures it there, every figure with its floor: one JSON file, one table.
#
# Usage: scripts/gpu-check.sh --pack FILE.tgz [BINARY] [--model FILE.gguf] [--layers COUNT]     on any machine
#        tar xf FILE.tgz && gpu-check/gpu-check.sh                                              on the node
#        scripts/gpu-check.sh [BINARY] [options]                                                or on both at once
#
#   --pack FILE.tgz  writes what a node needs, under 60 MB: the stripped binary, the first layers of a model, the scripts
#   BINARY           a `spillway` built with --features cuda; default: the one beside this script, else
#                    target/release/spillway, built first if cargo is there
#   --model PATH     a model to compare with the CPU: a .gguf file, or a folder; default: model.gguf beside this script,
#                    else the demo model, if it is in the cache
#   --layers COUNT   with --pack: how many layers of the model are carried; default 6
#   --output FOLDER  where results go, results.json and results.md among them; default: gpu-check-results
#   --no-bench       correctness only
#   --sanitize       also under compute-sanitizer's memcheck and racecheck, where it is installed
#   --budget SECONDS no part begins that would end later; default 600
#   --quick          a tiny shape: tries this script itself on an emulated device, and measures nothing of worth
#
# A node needs the NVIDIA driver; no network, no Rust and no CUDA toolkit. The peer is measured where the node's python3 has PyTorch
# and transformers. Exit code 0: all right; 1: something is wrong; 2: bad usage; 3: no usable device.
set -euo pipefail
# Figures are written with a point everywhere.
export LC_ALL=C

# What is carried to a node: megabytes of 10^6 bytes.
readonly MAX_CARRIED_BYTES=60000000

die() {
  echo "gpu-check.sh: $1" >&2
  exit "${2:-2}"
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
binary='' model='' output=gpu-check-results bench=yes sanitize=no quick=no pack='' layers=6 budget=600
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --pack) pack=${2:?--pack needs a file} && shift ;;
    --model) model=${2:?--model needs a path} && shift ;;
    --layers) layers=${2:?--layers needs a count} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --budget) budget=${2:?--budget needs seconds} && shift ;;
    --no-bench) bench=no ;;
    --sanitize) sanitize=yes ;;
    --quick) quick=yes ;;
    -*) die "unknown option $1; known: --pack --model --layers --output --budget --no-bench --sanitize --quick" ;;
    *)
      [ -z "$binary" ] || die "takes one binary, got $binary and $1"
      binary=$1
      ;;
  esac
  shift
done
[[ $budget =~ ^[0-9]+$ ]] || die "--budget is $budget, must be a number of seconds"

if [ -z "$binary" ] && [ -x "$here/spillway" ]; then
  binary="$here/spillway"
elif [ -z "$binary" ]; then
  binary="${CARGO_TARGET_DIR:-$root/target}/release/spillway"
  if command -v cargo >/dev/null; then
    if [ -z "${NVCC:-}${CUDA_HOME:-}" ]; then
      CUDA_HOME=$("$here/cuda-toolkit.sh") || exit 1
      export CUDA_HOME
    fi
    (cd "$root" && cargo build --release --features cuda) || exit 1
  fi
fi
[ -x "$binary" ] || die "$binary is not there or not executable; build it with cargo build --release --features cuda"
if [ -z "$model" ]; then
  demo="${SPILLWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway}/SmolLM2-135M-Instruct.Q4_1.gguf"
  for candidate in "$here/model.gguf" "$demo"; do
    [ -n "$model" ] || [ ! -e "$candidate" ] || model=$candidate
  done
fi

bytes_of() { wc -c <"$1"; }

# Everything a node needs in one file.
pack_all() {
  [ -n "$model" ] || die "there is no model to carry: run \`$binary pull demo\`, or name one with --model"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir "$folder/gpu-check"
  strip --strip-all -o "$folder/gpu-check/spillway" "$binary"
  "$binary" cut-model "$model" "$folder/gpu-check/model.gguf" --layers "$layers"
  cp "$here/gpu-check.sh" "$here/gpu_peer.py" "$folder/gpu-check/"
  git -C "$root" rev-parse HEAD >"$folder/gpu-check/commit" 2>/dev/null || echo unknown >"$folder/gpu-check/commit"
  for file in "$folder"/gpu-check/*; do
    printf '%12d bytes  %s\n' "$(bytes_of "$file")" "$(basename "$file")"
  done
  tar -czf "$folder/carried" -C "$folder" gpu-check
  local carried
  carried=$(bytes_of "$folder/carried")
  printf '%12d bytes  packed, at most %d\n' "$carried" "$MAX_CARRIED_BYTES"
  [ "$carried" -le "$MAX_CARRIED_BYTES" ] ||
    die "$carried bytes are too many to carry, at most $MAX_CARRIED_BYTES: name a smaller --model, or fewer --layers" 1
  mv "$folder/carried" "$pack"
  echo "on the node: tar xf $(basename "$pack") && gpu-check/gpu-check.sh"
}

if [ -n "$pack" ]; then
  pack_all
  exit 0
fi

mkdir -p "$output"
rm -f "$output"/{about,kernels,selftest,serve,start,peer,results}.json "$output"/{parts,latency-*}.jsonl "$output/results.md"

# cuBLASLt is optional. Where it came with a Python package, the loader does not find it by itself.
python=$(command -v python3 || command -v python || true)
if ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libcublasLt\.so' >/dev/null && [ -n "$python" ]; then
  folder=$("$python" -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null) || folder=
  if [ -n "$folder" ] && ls "$folder"/libcublasLt.so* >/dev/null 2>&1; then
    export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  fi
fi

# A text as JSON. What would need escaping is not worth keeping.
json_text() { printf '"%s"' "$(tr -d '"\\' | tr -s '[:cntrl:]' ' ' | sed 's/ *$//')"; }

about() {
  local commit driver='not told' model_bytes=0
  commit=$(cat "$here/commit" 2>/dev/null || git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
  if command -v nvidia-smi >/dev/null; then
    local fields=name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.mem,power.limit
    driver=$(nvidia-smi --query-gpu="$fields" --format=csv,noheader 2>/dev/null || echo 'nvidia-smi failed')
  fi
  [ ! -f "$model" ] || model_bytes=$(bytes_of "$model")
  {
    printf '{"date": %s,\n' "$(date -u '+%Y-%m-%d %H:%M UTC' | json_text)"
    printf ' "commit": %s,\n' "$(json_text <<<"$commit")"
    printf ' "driver": %s,\n' "$(json_text <<<"$driver")"
    printf ' "processor": %s,\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | json_text)"
    printf ' "version": %s,\n' "$("$binary" --version | json_text)"
    printf ' "shape": %s,\n' "$(json_text <<<"$shape_name")"
    printf ' "binary_bytes": %d,\n' "$(bytes_of "$binary")"
    printf ' "model_bytes": %d}\n' "$model_bytes"
  } >"$output/about.json"
  echo "== commit $commit, $(bytes_of "$binary") bytes of binary, $model_bytes bytes of model"
}

began=$SECONDS
left() { echo $((budget - (SECONDS - began))); }

record() { # NAME OUTCOME SECONDS WHY
  printf '{"name": "%s", "outcome": "%s", "seconds": %d, "why": %s}\n' "$1" "$2" "$3" "$(json_text <<<"$4")" >>"$output/parts.jsonl"
  echo "== $1: $2${4:+ ($4)}, $3 s, $(left) s left"
}

# Runs a part: its name, the seconds it takes on a GPU of a data centre, what it prints to (text or JSON lines), the command.
# The parts go on after one that fails; only a missing device ends all.
status=0
part() {
  local name=$1 estimate=$2 kind=$3
  shift 3
  [ "$quick" = no ] || estimate=0
  if [ "$(left)" -lt "$estimate" ]; then
    record "$name" skipped 0 "takes about $estimate s, $(left) s are left"
    return
  fi
  local start=$SECONDS outcome=0 log="$output/$name.txt"
  case "$kind" in
    text) "$@" 2>&1 | tee "$log" || outcome=${PIPESTATUS[0]} ;;
    lines) "$@" >"$output/$name.jsonl" 2>"$log" || outcome=$? ;;
  esac
  local why='' last
  last=$(grep -m 1 '^error' "$log" || tail -n 1 "$log")
  # What this binary does not know, or a device that only candle cannot use.
  if { [ "$outcome" -eq 2 ] && grep -qE '^error: (unexpected argument|invalid value)' "$log"; } ||
    { [ "$outcome" -eq 3 ] && [ "$name" = latency-candle ]; }; then
    record "$name" 'not supported' $((SECONDS - start)) "$last"
    return
  fi
  case "$outcome" in
    0) record "$name" ok $((SECONDS - start)) '' && return ;;
    3) die "no usable device: $last" 3 ;;
    124) why="did not end in time" ;;
    *) why=$last ;;
  esac
  record "$name" failed $((SECONDS - start)) "$why"
  # What the node's own PyTorch does says nothing of Spillway.
  [ "$name" = peer ] || status=1
}

# A command that ends when the time is over.
bounded() { timeout --kill-after 10 "$(($(left) > 10 ? $(left) : 10))" "$@"; }

# Random weights of this shape are made on the node.
if [ "$quick" = yes ]; then
  shape_name='tiny: nothing of worth'
  config='{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 64,
 "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512, "hidden_act": "silu",
 "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false}'
  limits=(--max-model-len 128 --max-num-batched-tokens 64 --max-num-seqs 2)
  decode_shapes=1x8+3,2x8+3 ablation_shapes=1x8+3 prefill_shapes=1x24+1 candle_shapes=1x8+3
  iterations=(--num-iters 1 --num-iters-warmup 0)
  load=(--concurrency 1,2 --num-requests 2 --input-words 4 --max-tokens 2)
  peer_shapes=(--device cpu --batch-size 1,2 --context 16 --prefill 8 --steps 2)
else
  shape_name='Llama-3.1-8B, random weights'
  config='{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "hidden_act": "silu",
 "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false}'
  limits=(--max-model-len 9216 --max-num-batched-tokens 8192)
  decode_shapes=1x1024+64,8x1024+64,32x1024+64,128x1024+96 ablation_shapes=1x1024+64,32x1024+64
  prefill_shapes=1x512+1,1x2048+1,1x8192+1 candle_shapes=1x1024+64,1x2048+1
  iterations=(--num-iters 2 --num-iters-warmup 1)
  load=(--concurrency 1,16,64,256 --input-words 512 --max-tokens 128)
  peer_shapes=()
fi
shape="$output/shape"
mkdir -p "$shape"
printf '%s\n' "$config" >"$shape/config.json"
engine=(--model "$shape" --weights dummy --device cuda "${limits[@]}")

# One engine, batches of several shapes. A variant is named by what is set.
variant() { # NAME SECONDS SHAPES FLAGS...
  local name=$1 estimate=$2 shapes=$3
  shift 3
  part "latency-$name" "$estimate" lines bounded "$binary" bench latency "${engine[@]}" "$@" --shape "$shapes" "${iterations[@]}" --json
}

seconds_since() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.2f", to - from }'; }

serve_load() {
  local log="$output/serve.log" address='' outcome=0 start listening
  start=$(date +%s.%N)
  "$binary" serve "${engine[@]}" --port 0 --log-format json >"$log" 2>&1 &
  local server=$!
  # It says where it listens, or ends.
  while kill -0 "$server" 2>/dev/null && [ "$(left)" -gt 0 ]; do
    address=$(sed -n 's/.*"message":"listening".*"address":"\([^"]*\)".*/\1/p; s/.*"address":"\([^"]*\)".*"message":"listening".*/\1/p' "$log")
    [ -z "$address" ] || break
    sleep 0.1
  done
  if [ -n "$address" ]; then
    listening=$(seconds_since "$start")
    local client=(bounded "$binary" bench serve --base-url "$address" --endpoint completions)
    "${client[@]}" --concurrency 1 --num-requests 1 --num-warmups 0 --input-words 8 --max-tokens 1 --seed 1 || outcome=$?
    printf '{"listening_s": %s, "first_token_s": %s}\n' "$listening" "$(seconds_since "$start")" >"$output/start.json"
    "${client[@]}" "${load[@]}" --output "$output/serve.json" || outcome=$?
  else
    outcome=1
    tail -n 5 "$log"
  fi
  kill -TERM "$server" 2>/dev/null || true
  local ended=0 waited=0
  while kill -0 "$server" 2>/dev/null && [ "$waited" -lt 200 ]; do
    sleep 0.1
    waited=$((waited + 1))
  done
  kill -KILL "$server" 2>/dev/null && echo "error: the server did not end within 20 s of SIGTERM"
  wait "$server" || ended=$?
  [ "$ended" -eq 0 ] || echo "error: the server ended with $ended"
  return $((outcome != 0 ? outcome : ended))
}

peer() {
  [ -n "$python" ] || { echo '{"note": "not installed: python3", "rows": []}' >"$output/peer.json" && return; }
  bounded "$python" "$here/gpu_peer.py" --shape "$shape" --output "$output/peer.json" \
    --max-seconds "$(($(left) > 30 ? $(left) - 30 : 0))" "${peer_shapes[@]}"
}

about
small=()
[ "$quick" = no ] || small=(--quick)
parity=()
[ -z "$model" ] || parity=(--model "$model")

# What is worth most comes first: a device's rates, which all floors need, then whether its results are right.
[ "$bench" = no ] || part kernels 20 text bounded "$binary" gpu-selftest --no-test "${small[@]}" --output "$output/kernels.json"
part selftest 0 text bounded "$binary" gpu-selftest --no-bench "${small[@]}" "${parity[@]}" --output "$output/selftest.json"
if [ "$sanitize" = yes ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    part "sanitizer-$tool" 60 text bounded compute-sanitizer --tool "$tool" --error-exitcode 1 "$binary" gpu-selftest --no-bench --quick
  done
elif [ "$sanitize" = yes ]; then
  record sanitizer skipped 0 "compute-sanitizer is not installed"
fi
if [ "$bench" = yes ]; then
  all="$decode_shapes,$prefill_shapes"
  variant bf16 45 "$all"
  variant int4 45 "$all" --quantization int4
  variant int4-fp8-kv 45 "$all" --quantization int4 --kv-cache-dtype fp8
  part serve 80 text serve_load
  variant int8 45 "$all" --quantization int8
  variant fp8 45 "$all" --quantization fp8
  variant bf16-no-graphs 25 "$ablation_shapes" --cuda-graphs=false
  variant bf16-no-overlap 25 "$ablation_shapes" --kernel-overlap=false
  variant bf16-batch-invariant 25 "$ablation_shapes" --batch-invariant
  variant candle 45 "$candle_shapes" --executor candle
  part peer 60 text peer
fi

echo
"$binary" gpu-report "$output"
if [ "$status" -eq 0 ]; then echo "== all right: $output/results.json, $output/results.md"; else echo "== FAILED: $output"; fi
exit "$status"
