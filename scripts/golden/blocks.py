"""dequant.json: blocks of the GGUF types, as bytes and as f32."""

import pathlib

import gguf
import numpy

import output

QuantType = gguf.GGMLQuantizationType
# Type, and where the f16 fields of a block are: scale, then minimum if there is one.
LAYOUTS = [
    (QuantType.Q4_0, [0]),
    (QuantType.Q4_1, [0, 2]),
    (QuantType.Q5_0, [0]),
    (QuantType.Q5_1, [0, 2]),
    (QuantType.Q8_0, [0]),
    (QuantType.Q2_K, [80, 82]),
    (QuantType.Q3_K, [108]),
    (QuantType.Q4_K, [0, 2]),
    (QuantType.Q5_K, [0, 2]),
    (QuantType.Q6_K, [208]),
]
# Scales that go wrong easily: zeros, the smallest and the largest subnormal, the largest finite, infinity, a negative one.
HARD_SCALES = [0.0, -0.0, 2.0**-24, 1023 * 2.0**-24, 65504.0, float("inf"), -1.0]
NUM_RANDOM_BLOCKS = 6
# Blocks of which every byte is random, scales too.
NUM_WILD_BLOCKS = 3


def block_bytes(layout, generator: numpy.random.Generator) -> numpy.ndarray:
    """Blocks with random weights, and with random, hard and wild scales. Shape `[blocks, block_bytes]`."""
    kind, fields = layout
    _, size = gguf.GGML_QUANT_SIZES[kind]
    num_tame = NUM_RANDOM_BLOCKS + len(HARD_SCALES)
    raw = generator.integers(0, 256, size=(num_tame + NUM_WILD_BLOCKS, size), dtype=numpy.uint8)
    for order, field in enumerate(fields):
        scales = generator.normal(0.0, 0.05, size=num_tame).astype("<f2")
        if order == 0:
            scales[NUM_RANDOM_BLOCKS:] = HARD_SCALES
        else:
            # A hard minimum beside another hard scale than its own, so that both are seen alone and together.
            scales[NUM_RANDOM_BLOCKS + 1 :] = HARD_SCALES[:-1]
        raw[:num_tame, field : field + 2] = scales[:, None].view(numpy.uint8)
    return raw


def case(kind, raw: numpy.ndarray) -> dict:
    """One block, or a row of floats, with what the gguf package makes of it."""
    values = gguf.dequantize(raw, kind).astype("<f4")
    return {"type": kind.name, "hex": raw.tobytes().hex(), "f32": values.tobytes().hex()}


def write(out: pathlib.Path) -> None:
    """Dequantises random blocks, and quantises random rows, with the gguf package."""
    generator = numpy.random.Generator(numpy.random.PCG64(7))
    cases = []
    with numpy.errstate(invalid="ignore", over="ignore"):
        for layout in LAYOUTS:
            cases.extend(case(layout[0], raw) for raw in block_bytes(layout, generator))
    for kind in (QuantType.F16, QuantType.BF16):
        values = generator.normal(0.0, 1.0, size=32).astype("<f4")
        rounded = case(kind, gguf.quantize(values, kind))
        cases.append({**rounded, "rounded_from": values.tobytes().hex()})
    header = {
        "format": "dequant/2",
        "reference": "the PyPI package gguf",
        "f32": "little-endian bytes of the f32 numbers",
    }
    output.write_json(out / "dequant.json", header, "cases", cases)
