"""text.json: some hundred strings, their ids and what the ids decode to."""

import pathlib

import output
import real_model
import strings


def write(out: pathlib.Path, model: real_model.RealModel) -> None:
    """Encodes with special tokens off and on, decodes, checks and writes."""
    tokenizer = model.tokenizer
    known = set(range(256))
    if tokenizer.pre_tokenizer is not None:
        known = {byte for byte in known if tokenizer.plain.bytes[byte] in tokenizer.plain.ids}
    special = {tokenizer.plain.ids[token] for token in tokenizer.specials}
    cases = []
    for text in strings.all_strings() if model.plan is real_model.DEMO else strings.more_strings():
        ids, parsed = tokenizer.encode_text(text), tokenizer.encode_parsed(text)
        if special.intersection(ids):
            raise AssertionError(f"{text!r}: user text became a special token")
        kept = bytes(byte for byte in tokenizer.normal_form(text).encode("utf-8") if byte in known).decode("utf-8", errors="replace")
        decoded = tokenizer.decode(ids)
        if decoded != kept:
            raise AssertionError(f"{text!r}: decodes to {decoded!r}, expected {kept!r}")
        case = {"text": text, "ids": ids, "decoded": decoded}
        if parsed != ids:
            case["ids_parsed"] = parsed
        cases.append(case)
    header = {
        "format": "text/1",
        "model": model.source,
        "notes": {
            "ids": "special-token parsing off: no part of the text may become a special token. "
            + tokenizer.agreement,
            "ids_parsed": "special-token parsing on; present only where it differs from ids.",
            "decoded": "text of ids. It differs from text only where the vocabulary lacks a byte: such bytes are dropped.",
        },
        "bytes_not_in_vocabulary": [byte for byte in range(256) if byte not in known],
    }
    output.write_json(out / "text.json", header, "cases", cases)
