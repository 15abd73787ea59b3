#!/usr/bin/env bash
# Measures what Spillway, and LiteLLM's proxy beside it, add to a request: same mock, same command, one after the other.
#
# Usage: scripts/bench-gateway.sh [BINARY] [options]
#
#   BINARY            a `spillway` of a release build; default: target/release/spillway, built first if cargo is there
#   --rates LIST      requests per second of both, by commas; default 50,200
#   --top-rate RATE   a rate of Spillway alone; default 2000
#   --seconds COUNT   how long each side is asked in each of three rounds; default 10
#   --output FOLDER   where figures and logs go; default: bench-gateway-results
#   --no-peer         Spillway only
#   --workers COUNT   processes of LiteLLM; default 1
#
# Both ask for a key. Spillway keeps its ledger in a file and logs each request; LiteLLM runs as `pip install` leaves it:
# no database, no ledger. Needs Linux, python3 with pip for the peer (installed into the cache folder, under 1 GB), and free ports 9100 to 9102.
set -euo pipefail
# Figures are written with a point everywhere.
export LC_ALL=C

readonly PEER=litellm-1.105.2
readonly MOCK=127.0.0.1:9100 OURS=127.0.0.1:9101 THEIRS=127.0.0.1:9102

die() {
  echo "bench-gateway.sh: $1" >&2
  exit "${2:-2}"
}

root=$(dirname "$(cd "$(dirname "$0")" && pwd)")
binary='' rates=50,200 top_rate=2000 seconds=10 output=bench-gateway-results peer=yes workers=1
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --rates) rates=${2:?--rates needs a list} && shift ;;
    --top-rate) top_rate=${2:?--top-rate needs a rate} && shift ;;
    --seconds) seconds=${2:?--seconds needs a count} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --workers) workers=${2:?--workers needs a count} && shift ;;
    --no-peer) peer=no ;;
    -*) die "unknown option $1; known: --rates --top-rate --seconds --output --workers --no-peer" ;;
    *)
      [ -z "$binary" ] || die "takes one binary, got $binary and $1"
      binary=$1
      ;;
  esac
  shift
done

if [ -z "$binary" ]; then
  binary=${CARGO_TARGET_DIR:-$root/target}/release/spillway
  if [ ! -x "$binary" ] && command -v cargo >/dev/null; then
    (cd "$root" && cargo build --release)
  fi
fi
[ -x "$binary" ] || die "$binary is no program: build it with \`cargo build --release\`"
mkdir -p "$output"
# LiteLLM does not start without one.
key=sk-$(head -c 32 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')

gateway=''
stop() {
  [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
  [ -z "$gateway" ] || wait "$gateway" 2>/dev/null || true
  gateway=''
}
trap stop EXIT

# The process itself and all that it has started.
family() {
  local child
  echo "$1"
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
    family "$child"
  done
}

# measure NAME URL RATES
measure() {
  local pids=()
  mapfile -t pids < <(family "$gateway")
  "$binary" bench gateway --url "http://$2" --mock "$MOCK" --rate "$3" --duration-secs "$seconds" \
    --api-key "$key" --patience-secs 120 --output "$output/$1.json" "${pids[@]/#/--pid=}"
}

cat >"$output/spillway.toml" <<END
[server]
host = "${OURS%:*}"
port = ${OURS#*:}

[security]
api_key = "$key"

[[backends]]
name = "mock"
type = "openai"
boundary = "inside"
model = "mock"
urls = ["http://$MOCK"]

[[routes]]
name = "mock"
default_privacy = "private"
targets = ["mock"]

[store]
path = "$output/ledger.db"
END
rm -f "$output/ledger.db"*

echo "== Spillway, ledger and logs on"
"$binary" serve --config "$output/spillway.toml" 2>"$output/spillway.log" &
gateway=$!
measure spillway "$OURS" "$rates,$top_rate"
stop

[ "$peer" = yes ] || exit 0

cache=${SPILLWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway}
venv=$cache/$PEER
if [ ! -x "$venv/bin/litellm" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "litellm[proxy]==${PEER#litellm-}"
fi
cat >"$output/litellm.yaml" <<END
model_list:
  - model_name: mock
    litellm_params:
      model: openai/mock
      api_base: http://$MOCK/v1
      api_key: none
litellm_settings:
  telemetry: false
general_settings:
  master_key: $key
END

echo "== ${PEER/-/ }, $workers process(es), no database"
LITELLM_LOCAL_MODEL_COST_MAP=True "$venv/bin/litellm" --config "$output/litellm.yaml" --host "${THEIRS%:*}" \
  --port "${THEIRS#*:}" --num_workers "$workers" >"$output/litellm.log" 2>&1 &
gateway=$!
measure litellm "$THEIRS" "$rates"
stop

python3 - "$output" <<'END'
import json, sys
folder = sys.argv[1]
ours, theirs = (json.load(open(f"{folder}/{name}.json")) for name in ("spillway", "litellm"))
ours = {(row["mode"], row["rate"]): row["added_ms"] for row in ours}
print("== added by LiteLLM, as a multiple of what Spillway adds")
for row in theirs:
    pairs = zip(row["added_ms"].items(), ours[row["mode"], row["rate"]].values())
    cells = [f"{rank} {them / us:.1f}" if us > 0 else f"{rank} -" for (rank, them), us in pairs]
    print(f'{row["mode"]:>9} {row["rate"]:>6}/s ', "  ".join(cells))
END
