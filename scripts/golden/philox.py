"""philox.json: known answers of Philox4x32-10, from an implementation of its own.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import pathlib

import output
from prompts import Sequence

NUM_ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
MASK = 0xFFFFFFFF
# The three vectors that the authors' Random123 distribution publishes for philox4x32 with 10 rounds.
PUBLISHED = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox4x32(counter: tuple, key: tuple) -> tuple:
    """Four random words from a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(NUM_ROUNDS):
        first, second = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & MASK, (first >> 32) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def write(out: pathlib.Path) -> None:
    """Checks the implementation against the published vectors and adds more."""
    for counter, key, expected in PUBLISHED:
        if philox4x32(counter, key) != expected:
            raise AssertionError(f"philox4x32({counter}, {key}) is not {expected}")
    inputs = [(counter, key, True) for counter, key, _ in PUBLISHED]
    inputs += [((position, 0, 0, 0), (42, 0), False) for position in range(4)]
    inputs += [((0, 1, 0, 0), (42, 0), False), ((0, 0, 1, 0), (42, 0), False), ((0, 0, 0, 1), (42, 0), False)]
    inputs += [((0, 0, 0, 0), (0, 42), False), ((MASK, 0, 0, 0), (MASK, 1), False)]
    sequence = Sequence(123)
    for _ in range(20):
        words = [sequence.below(2**16) << 16 | sequence.below(2**16) for _ in range(6)]
        inputs.append((tuple(words[:4]), tuple(words[4:]), False))
    cases = [
        {"counter": counter, "key": key, "output": philox4x32(counter, key), "published": published}
        for counter, key, published in inputs
    ]
    header = {
        "format": "philox/1",
        "generator": "Philox4x32-10; counter, key and output are unsigned 32-bit words, word 0 first",
    }
    output.write_json(out / "philox.json", header, "cases", cases)
