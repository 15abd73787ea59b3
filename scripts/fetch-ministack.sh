#!/usr/bin/env bash
# Puts MiniStack, an emulator of AWS, into the cache folder, for the tests of the Bedrock backend.
#
# Usage: scripts/fetch-ministack.sh
# Needs: Python 3 with venv and pip. Installs one pinned version and what it needs (90 MB) into a virtual environment of its
# own; nothing outside it changes. Its licence is MIT. The tests bind it to loopback.
set -euo pipefail

readonly PACKAGE=ministack VERSION=1.5.33
cache="${SPILLWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway}"
folder="$cache/$PACKAGE-$VERSION"
if [ -x "$folder/bin/$PACKAGE" ]; then
    echo "$folder is there"
    exit 0
fi
mkdir -p "$cache"
# Scripts of an environment name its folder, so it is made in place and taken away again if it does not come to its end.
python3 -m venv "$folder"
trap 'rm -rf "$folder"' EXIT
"$folder/bin/pip" install --quiet --disable-pip-version-check "$PACKAGE==$VERSION"
trap - EXIT
echo "fetched $folder"
