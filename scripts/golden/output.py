"""Writes goldens so that equal values give equal bytes."""

import json
import pathlib


def write_json(path: pathlib.Path, header: dict, name: str, cases: list) -> None:
    """One object: the header's fields, then `name`, an array with one case a line. ASCII only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in header.items()]
    body = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    path.write_text("{\n" + "\n".join(lines) + f"\n{json.dumps(name)}: [\n{body}\n]\n}}\n", encoding="ascii")
    print(f"{path.name}: {len(cases)} {name}, {path.stat().st_size} bytes")
