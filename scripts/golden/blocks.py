"""dequant.json: blocks of the simple GGUF types, as bytes and as f32."""

import pathlib

import gguf
import numpy

import output

QuantType = gguf.GGMLQuantizationType
# Type, weights a block holds, bytes a block takes, number of f16 fields at a block's start.
LAYOUTS = [(QuantType.Q4_0, 32, 18, 1), (QuantType.Q4_1, 32, 20, 2), (QuantType.Q8_0, 32, 34, 1)]
# Scales that go wrong easily: zeros, the smallest subnormal, the largest finite, a negative one.
HARD_SCALES = [0.0, -0.0, 2.0**-24, 65504.0, -1.0]
NUM_RANDOM_BLOCKS = 6


def block_bytes(layout, generator: numpy.random.Generator) -> numpy.ndarray:
    """Blocks with random weights, and with random and hard scales. Shape `[blocks, block_bytes]`."""
    _, _, size, num_fields = layout
    num_blocks = NUM_RANDOM_BLOCKS + len(HARD_SCALES)
    raw = generator.integers(0, 256, size=(num_blocks, size), dtype=numpy.uint8)
    fields = generator.normal(0.0, 0.05, size=(num_blocks, num_fields)).astype("<f2")
    fields[NUM_RANDOM_BLOCKS:, 0] = HARD_SCALES
    raw[:, : 2 * num_fields] = fields.view(numpy.uint8)
    return raw


def write(out: pathlib.Path) -> None:
    """Dequantises random blocks, and quantises random rows, with the gguf package."""
    generator = numpy.random.Generator(numpy.random.PCG64(7))
    cases = []
    for layout in LAYOUTS:
        kind, num_weights, size, _ = layout
        for raw in block_bytes(layout, generator):
            values = gguf.dequantize(raw, kind).astype(numpy.float32)
            if values.shape != (num_weights,) or raw.shape != (size,):
                raise AssertionError(f"{kind.name}: block of {raw.shape} bytes gave {values.shape} weights")
            cases.append({"type": kind.name, "hex": raw.tobytes().hex(), "values": [float(v) for v in values]})
    for kind in (QuantType.F16, QuantType.BF16):
        values = generator.normal(0.0, 1.0, size=32).astype(numpy.float32)
        raw = gguf.quantize(values, kind)
        cases.append(
            {
                "type": kind.name,
                "hex": raw.tobytes().hex(),
                "values": [float(v) for v in gguf.dequantize(raw, kind)],
                "rounded_from": [float(v) for v in values],
            }
        )
    header = {
        "format": "dequant/1",
        "reference": "the PyPI package gguf",
        "values": "f32, written so that reading them as f64 and converting to f32 is exact",
    }
    output.write_json(out / "dequant.json", header, "cases", cases)
