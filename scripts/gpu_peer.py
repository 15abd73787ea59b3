#!/usr/bin/env python3
"""Measures the node's own PyTorch and transformers on the shape that gpu-check.sh measures: a peer for its table.

Usage: gpu_peer.py --shape FOLDER --output FILE [--device cuda|cpu] [--batch-size 1,8,32,128] [--context 1024]
                   [--prefill 512,2048,8192] [--steps 32] [--max-seconds 150]

The model is transformers' own class for the folder's config.json, with random bf16 weights made on the device. A decode step runs
on a static cache that holds the context, and is recorded as a CUDA graph, where the installed version lets itself be recorded;
a row says so if it does not. A prefill is one forward pass of one prompt into an empty static cache, with the last logits
alone. Times are medians, each step waited for. Writes {"versions", "note", "rows"}; ends with 0 where PyTorch or transformers is
not installed, and says so in the note.
"""

import argparse
import gc
import json
import statistics
import sys
import time

# Prompts enter the cache in pieces of about so many tokens of all rows together, so that activations stay small.
PIECE_TOKENS = 16384
# Steps of a row beside those that are measured: to warm up, to record and to try the recording.
OTHER_STEPS = 6


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", required=True, help="folder with a config.json")
    parser.add_argument("--output", required=True, help="file for the result, as JSON")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--batch-size", type=numbers, default=[1, 8, 32, 128])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--prefill", type=numbers, default=[512, 2048, 8192])
    parser.add_argument("--steps", type=int, default=32, help="measured steps of a row")
    parser.add_argument("--max-seconds", type=float, default=150, help="no row begins later than this")
    return parser.parse_args()


class Peer:
    """The model, and how its steps are timed."""

    def __init__(self, torch, transformers, arguments):
        self.torch = torch
        self.transformers = transformers
        self.device = torch.device(arguments.device)
        self.steps = arguments.steps
        config = transformers.AutoConfig.from_pretrained(arguments.shape)
        config._attn_implementation = "sdpa"
        self.config = config
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with self.device:
                self.model = transformers.AutoModelForCausalLM.from_config(config).eval()
        finally:
            torch.set_default_dtype(before)
        self.model.requires_grad_(False)

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def cache(self, rows, length):
        arguments = {"config": self.config, "max_cache_len": length}
        try:
            return self.transformers.StaticCache(**arguments)
        except TypeError:
            # Before version 5 it was made whole, for so many rows.
            return self.transformers.StaticCache(
                **arguments, max_batch_size=rows, device=self.device, dtype=self.torch.bfloat16
            )

    def ids(self, rows, tokens):
        shape = (rows, tokens)
        return self.torch.randint(0, self.config.vocab_size, shape, device=self.device)

    def forward(self, ids, cache, start, mask=None):
        """The last token's logits. `start` is the first position, a tensor."""
        positions = start + self.torch.arange(ids.shape[1], device=self.device)
        return self.model(
            input_ids=ids,
            past_key_values=cache,
            cache_position=positions,
            position_ids=positions.unsqueeze(0),
            attention_mask=mask,
            use_cache=True,
            logits_to_keep=1,
        ).logits

    def median_ms(self, step, count):
        times = []
        for _ in range(count):
            self.wait()
            begin = time.perf_counter()
            step()
            self.wait()
            times.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(times)

    def filled(self, rows, context):
        """A cache for `context` tokens of every row, with room left for the steps, and how many it holds.

        Some versions count the steps themselves. A static cache is read whole, so the steps' cost is that of the full context.
        """
        count = context - self.steps - OTHER_STEPS
        if count < 1:
            raise ValueError(f"context is {context}, must be above {self.steps + OTHER_STEPS}, the number of steps")
        cache = self.cache(rows, context)
        piece = max(1, PIECE_TOKENS // rows)
        for begin in range(0, count, piece):
            ids = self.ids(rows, min(piece, count - begin))
            self.forward(ids, cache, self.torch.tensor(begin, device=self.device))
        return cache, count

    def decode(self, rows, context):
        torch = self.torch
        cache, count = self.filled(rows, context)
        ids = self.ids(rows, 1)
        start = torch.tensor(count, device=self.device)
        # All keys are seen, those of no token as well: what they hold does not matter here.
        mask = torch.zeros((rows, 1, 1, context), dtype=torch.bfloat16, device=self.device)

        def step():
            ids.copy_(self.forward(ids, cache, start, mask)[:, -1].argmax(-1, keepdim=True))

        for _ in range(3):
            step()
        self.wait()
        replay, how = step, "eager"
        if self.device.type == "cuda":
            try:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    step()
                replay, how = graph.replay, "CUDA graph"
                replay()
            except Exception as error:
                how = f"eager: {type(error).__name__} while recording"
                self.wait()
        return {"ms": self.median_ms(replay, self.steps), "how": how}

    def prefill(self, tokens):
        ids = self.ids(1, tokens)
        start = self.torch.tensor(0, device=self.device)

        def step():
            self.forward(ids, self.cache(1, tokens), start)

        step()
        return {"ms": self.median_ms(step, max(1, self.steps // 4)), "how": "eager"}


def one_line(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def measure(peer, arguments, began):
    torch = peer.torch
    cells = [("decode", rows, arguments.context) for rows in arguments.batch_size]
    cells += [("prefill", 1, tokens) for tokens in arguments.prefill]
    for kind, rows, tokens in cells:
        row = {"kind": kind, "batch_size": rows, "tokens": tokens}
        if time.monotonic() - began > arguments.max_seconds:
            row["problem"] = f"left out: {arguments.max_seconds:.0f} s were over"
        else:
            try:
                with torch.inference_mode():
                    row |= peer.decode(rows, tokens) if kind == "decode" else peer.prefill(tokens)
            except Exception as error:
                row["problem"] = one_line(error)
            gc.collect()
            if peer.device.type == "cuda":
                torch.cuda.empty_cache()
        print(json.dumps(row), flush=True)
        yield row


def run(arguments):
    began = time.monotonic()
    try:
        import torch
        import transformers
    except ImportError as error:
        return {"note": f"not installed: {one_line(error)}", "rows": []}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if arguments.device == "cuda" and not torch.cuda.is_available():
        return {"versions": versions, "note": "PyTorch finds no CUDA device", "rows": []}
    torch.manual_seed(0)
    try:
        peer = Peer(torch, transformers, arguments)
    except Exception as error:
        return {"versions": versions, "note": one_line(error), "rows": []}
    return {"versions": versions, "note": None, "rows": list(measure(peer, arguments, began))}


def main():
    arguments = parse()
    result = run(arguments)
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    if result["note"]:
        print(result["note"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
