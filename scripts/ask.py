#!/usr/bin/env python3
"""Waits until a server is ready, asks it one question and prints the streamed answer with its tokens per second.

Standard library only. Exit code 0 only if an answer came.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

READY_WITHIN_SECONDS = 120


def wait_until_ready(url: str, server_pid: int | None) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server_pid is not None and not os.path.exists(f"/proc/{server_pid}"):
                sys.exit("ask.py: the server has ended before it was ready")
            time.sleep(0.1)
    sys.exit(f"ask.py: the server was not ready within {READY_WITHIN_SECONDS} s")


def ask(url: str, question: str, max_tokens: int) -> bool:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    text, usage, first, last = "", None, None, None
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=300) as response:
        for line in response:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            event = json.loads(line[len(b"data: ") :])
            if "error" in event:
                sys.exit(f"ask.py: {event['error']['message']}")
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece:
                    last = time.monotonic()
                    first = first or last
                    text += piece
                    print(piece, end="", flush=True)
    print()
    if not text or usage is None:
        return False
    num_tokens = usage["completion_tokens"]
    seconds = max(last - first, 1e-9)
    print(
        f"== {num_tokens} tokens, first after {1000 * (first - started):.0f} ms, "
        f"then {(num_tokens - 1) / seconds:.1f} tokens/s"
    )
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--server-pid", type=int, help="stop waiting when this process has ended")
    parser.add_argument("--max-tokens", type=int, default=128)
    arguments = parser.parse_args()
    wait_until_ready(arguments.url, arguments.server_pid)
    print(f"== question: {arguments.question}\n== answer:")
    if not ask(arguments.url, arguments.question, arguments.max_tokens):
        sys.exit("ask.py: the answer was empty")


if __name__ == "__main__":
    main()
