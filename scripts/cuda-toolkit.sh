#!/usr/bin/env bash
# Installs the pinned CUDA 13.0 compiler from its PyPI wheels into a folder and prints CUDA_HOME.
#
# Usage: CUDA_HOME=$(scripts/cuda-toolkit.sh [--disassembler] [FOLDER])
#
#   --disassembler   NVIDIA's disassembler (cuobjdump, 6 MB) instead, for `cargo xtask kernels`
#   FOLDER           where it goes; default ${XDG_CACHE_HOME:-~/.cache}/spillway/cuda-13.0, or cuda-disassembler there
#
# Needs python3 with pip, and gcc 12 or newer as the host compiler. No GPU, no driver, no root.
# Only the folder's path goes to standard output. A finished installation is left as it is; a
# broken one (no marker file) is installed anew. Nothing outside the folder is touched.
set -euo pipefail

readonly WHEELS=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85
)

# It came to PyPI after 13.0, and reads the machine code of older compilers.
readonly DISASSEMBLER_WHEELS=(
  nvidia-cuda-cuobjdump==13.5.37
  nvidia-cuda-nvdisasm==13.5.37
)

die() {
  echo "cuda-toolkit.sh: $*" >&2
  exit 1
}

wheels=("${WHEELS[@]}") name=cuda-13.0 program=nvcc
case "${1:-}" in
  -h | --help)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  --disassembler)
    wheels=("${DISASSEMBLER_WHEELS[@]}") name=cuda-disassembler program=cuobjdump
    shift
    ;;
esac
[ "$#" -le 1 ] || die "takes at most one argument, the folder; got $#"

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/spillway/$name}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
marker="$folder/.complete"
wanted="${wheels[*]}"

if [ -f "$marker" ] && [ "$(cat "$marker")" = "$wanted" ] && [ -x "$folder/bin/$program" ]; then
  echo "$folder"
  exit 0
fi

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
  die "the wheels are for Linux on x86-64, this is $(uname -s) on $(uname -m); install CUDA 13.0 and set CUDA_HOME"
command -v python3 >/dev/null || die "python3 is missing; install it, or install CUDA 13.0 and set CUDA_HOME"
python3 -m pip --version >/dev/null 2>&1 ||
  die "python3 has no pip; install it (apt-get install python3-pip), or install CUDA 13.0 and set CUDA_HOME"

rm -rf "$folder/wheels" "$folder/bin" "$folder/include" "$folder/nvvm" "$folder/lib64" "$marker"
python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --no-compile --target "$folder/wheels" "${wheels[@]}" >&2 ||
  die "pip could not install the wheels; look at its message above"

tree="$folder/wheels/nvidia/cu13"
[ -x "$tree/bin/$program" ] || die "the wheels hold no bin/$program under $tree; their layout has changed"
for part in bin include nvvm; do
  [ ! -e "$tree/$part" ] || ln -s "wheels/nvidia/cu13/$part" "$folder/$part"
done

# The wheels name their libraries with versions only; nvcc looks for the plain names.
mkdir "$folder/lib64"
for library in "$tree"/lib/*; do
  [ -e "$library" ] || continue
  name=$(basename "$library")
  ln -s "../wheels/nvidia/cu13/lib/$name" "$folder/lib64/$name"
  case "$name" in
    *.so.*) plain=${name%%.so.*}.so ;;
    *) continue ;;
  esac
  [ -e "$folder/lib64/$plain" ] || ln -s "$name" "$folder/lib64/$plain"
done

"$folder/bin/$program" --version >/dev/null || die "$folder/bin/$program does not run"
printf '%s' "$wanted" >"$marker"
echo "$folder"
