#!/usr/bin/env python3
"""Perplexity of a fixed text by llama.cpp, and files of one model in every quantised type to compute it with.

How to run, in an environment with the packages numpy, gguf and xllamacpp (llama.cpp in a wheel):

    python scripts/golden/perplexity.py quantise MODEL.gguf FOLDER     # MODEL-Q4_K.gguf and so on
    python scripts/golden/perplexity.py measure [--context 512] FILE.. # one line a file
    python scripts/golden/perplexity.py golden DEMO.gguf               # tests/golden/perplexity.json

The text is tests/golden/perplexity.txt. It is cut into windows of `--context` tokens, each computed as a sequence of its
own; where the model's prompts begin with a token, it takes the place of a window's first. The tokens of the second half of
each window are scored, and the perplexity is the exponential of their mean negative log-likelihood: the method of
llama.cpp's own tool. `cargo run --workspace --bin perplexity` does the same with Spillway.
"""

import argparse
import json
import math
import pathlib

import gguf
import numpy

import llama_cpp

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests/golden"
QuantType = gguf.GGMLQuantizationType
# What llama.cpp takes where a row is no whole number of blocks of 256.
FALLBACK = {
    QuantType.Q2_K: QuantType.Q4_0,
    QuantType.Q3_K: QuantType.Q4_0,
    QuantType.Q4_K: QuantType.Q5_0,
    QuantType.Q5_K: QuantType.Q5_1,
    QuantType.Q6_K: QuantType.Q8_0,
}
TYPES = [QuantType.Q4_0, QuantType.Q4_1, QuantType.Q5_0, QuantType.Q5_1, QuantType.Q8_0, *FALLBACK]
# The golden's own windows: few, since the tests compute them.
GOLDEN_CONTEXT = 256
GOLDEN_WINDOWS = 2


def windows(model: llama_cpp.Model, ids: list[int], context: int) -> list[list[int]]:
    """Whole windows of the text."""
    cut = [ids[start : start + context] for start in range(0, len(ids) - context + 1, context)]
    bos = model.bos()
    return cut if bos is None else [[bos, *window[1:]] for window in cut]


def log_likelihood(model: llama_cpp.Model, window: list[int]) -> list[float]:
    """The natural logarithms of the probabilities of the second half's tokens."""
    half = len(window) // 2
    logits = model.logits(window)[half:-1].astype(numpy.float64)
    largest = logits.max(axis=1)
    norms = largest + numpy.log(numpy.exp(logits - largest[:, None]).sum(axis=1))
    targets = window[half + 1 :]
    return [float(logits[place, token] - norms[place]) for place, token in enumerate(targets)]


def perplexity(scores: list[float]) -> float:
    """Of tokens with these log-probabilities."""
    return math.exp(-sum(scores) / len(scores))


def measure(path: pathlib.Path, context: int) -> str:
    """One line of a table."""
    model = llama_cpp.Model(path, context)
    ids = model.tokenise((GOLDEN / "perplexity.txt").read_text())
    scores = [score for window in windows(model, ids, context) for score in log_likelihood(model, window)]
    return f"{path.name}: {path.stat().st_size} bytes, {len(scores)} tokens scored, perplexity {perplexity(scores):.4f}"


def quantise(source: pathlib.Path, kind: QuantType, target: pathlib.Path) -> None:
    """Writes the model with its matrices in `kind`, from the numbers that `source` stands for."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape([int(size) for size in reversed(tensor.shape)]).astype(numpy.float32)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
            continue
        fitting = kind
        if values.shape[1] % gguf.GGML_QUANT_SIZES[kind][0]:
            fitting = FALLBACK[kind]
        numbers, size = gguf.GGML_QUANT_SIZES[fitting]
        encoded = llama_cpp.quantise(values, int(fitting), values.size // numbers * size)
        writer.add_tensor(tensor.name, encoded, raw_dtype=fitting)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def golden(demo: pathlib.Path) -> None:
    """The log-likelihoods of a few windows of the demo model, for the tests."""
    model = llama_cpp.Model(demo, GOLDEN_CONTEXT)
    ids = model.tokenise((GOLDEN / "perplexity.txt").read_text())
    cut = windows(model, ids, GOLDEN_CONTEXT)[:GOLDEN_WINDOWS]
    scores = [score for window in cut for score in log_likelihood(model, window)]
    content = {
        "format": "perplexity/1",
        "reference": "llama.cpp, out of the PyPI package xllamacpp, for the demo model's file as it is",
        "num_text_tokens": len(ids),
        "windows": cut,
        "num_scored": len(scores),
        "perplexity": perplexity(scores),
    }
    (GOLDEN / "perplexity.json").write_text(json.dumps(content) + "\n")


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("quantise")
    command.add_argument("model", type=pathlib.Path)
    command.add_argument("folder", type=pathlib.Path)
    command = commands.add_parser("measure")
    command.add_argument("--context", type=int, default=512)
    command.add_argument("files", type=pathlib.Path, nargs="+")
    command = commands.add_parser("golden")
    command.add_argument("model", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "quantise":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for kind in TYPES:
            quantise(arguments.model, kind, arguments.folder / f"{arguments.model.stem}-{kind.name}.gguf")
    elif arguments.command == "measure":
        for path in arguments.files:
            print(measure(path, arguments.context), flush=True)
    else:
        golden(arguments.model)


if __name__ == "__main__":
    main()
