"""text.json: 240 strings, their ids and what the ids decode to."""

import pathlib

import demo_model
import output
import strings


def write(out: pathlib.Path, demo: demo_model.DemoModel) -> None:
    """Encodes with special tokens off and on, decodes, checks and writes."""
    tokenizer = demo.tokenizer
    known = {byte for byte, character in enumerate(tokenizer.plain.bytes) if character in tokenizer.plain.ids}
    num_special = len(tokenizer.specials)
    cases = []
    for text in strings.all_strings():
        ids, parsed = tokenizer.encode_text(text), tokenizer.encode_parsed(text)
        if min(ids, default=num_special) < num_special:
            raise AssertionError(f"{text!r}: user text became a special token")
        kept = bytes(byte for byte in text.encode("utf-8") if byte in known).decode("utf-8", errors="replace")
        decoded = tokenizer.decode(ids)
        if decoded != kept:
            raise AssertionError(f"{text!r}: decodes to {decoded!r}, expected {kept!r}")
        case = {"text": text, "ids": ids, "decoded": decoded}
        if parsed != ids:
            case["ids_parsed"] = parsed
        cases.append(case)
    header = {
        "format": "text/1",
        "model": demo.source,
        "notes": {
            "ids": "special-token parsing off: no part of the text may become a special token. From transformers with "
            "split_special_tokens=True; a byte-level BPE written from its definition, which has no special tokens "
            "at all, gave the same ids for every string.",
            "ids_parsed": "special-token parsing on; present only where it differs from ids.",
            "decoded": "text of ids. It differs from text only where the vocabulary lacks a byte: such bytes are dropped.",
        },
        "bytes_not_in_vocabulary": [byte for byte in range(256) if byte not in known],
    }
    output.write_json(out / "text.json", header, "cases", cases)
