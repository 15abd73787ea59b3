"""parity.json and parity_logits.f32: what a real model computes, in f32."""

import pathlib

import numpy
import torch
import transformers

import output
import prompts
import real_model

NUM_GREEDY_TOKENS = 64


@torch.no_grad()
def last_logits(model: transformers.PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Logits at the last position of `ids`, computed in one pass. Shape `[vocabulary]`."""
    return model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits[0, -1]


@torch.no_grad()
def greedy(model: transformers.PreTrainedModel, ids: list[int], num_tokens: int) -> tuple[torch.Tensor, dict]:
    """First logits, and `num_tokens` greedy tokens that do not stop at any end token.

    For each token: `margins`, the logit of the best token less that of the second, and `logprobs`, the
    natural logarithm of the chosen token's probability at temperature 1.
    """
    step = model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1)
    first = step.logits[0, -1]
    tokens, margins, logprobs = [], [], []
    while True:
        logits = step.logits[0, -1].double()
        best = torch.topk(logits, 2)
        if best.values[0] == best.values[1]:
            raise AssertionError(f"the two best tokens of step {len(tokens)} tie; choose another prompt")
        tokens.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 6))
        logprobs.append(round(float(best.values[0] - torch.logsumexp(logits, 0)), 6))
        if len(tokens) == num_tokens:
            return first, {"tokens": tokens, "margins": margins, "logprobs": logprobs}
        step = model(
            input_ids=torch.tensor([tokens[-1:]]), past_key_values=step.past_key_values, use_cache=True
        )


def relative_error(values: torch.Tensor, exact: torch.Tensor) -> float:
    """Largest difference as a fraction of the largest magnitude."""
    return float((values.double() - exact.double()).abs().max() / exact.double().abs().max())


def prompt_ids(prompt: prompts.Prompt, tokenizers) -> dict:
    """The prompt's fields of a case: how it was written and its ids."""
    if prompt.text is not None:
        ids = tokenizers.encode_text(prompt.text)
        if tokenizers.decode(ids) != prompt.text:
            raise AssertionError(f"{prompt.name}: text does not survive encoding")
        if tokenizers.adds_bos:
            ids = [tokenizers.plain.ids[tokenizers.bos], *ids]
        return {"name": prompt.name, "kind": "raw", "text": prompt.text, "prompt_ids": ids}
    ids = tokenizers.encode_chat(prompt.messages, add_generation_prompt=True)
    if tokenizers.decode(ids) != tokenizers.render_chat(prompt.messages, add_generation_prompt=True):
        raise AssertionError(f"{prompt.name}: text does not survive encoding")
    return {"name": prompt.name, "kind": "chat", "messages": prompt.messages, "prompt_ids": ids}


def write(out: pathlib.Path, real: real_model.RealModel) -> None:
    """Computes and writes both files."""
    cases = [prompt_ids(prompt, real.tokenizer) for prompt in prompts.all_prompts(real.tokenizer, real.plan)]
    every = real.plan.logits_every
    logits = []
    for row, case in enumerate(cases):
        first, generated = greedy(real.model, case["prompt_ids"], NUM_GREEDY_TOKENS)
        logits.append(first)
        case |= {"logits_row": row, "ignore_eos": True}
        case |= {"logits_max_abs": float(first.abs().max()), "logsumexp": float(torch.logsumexp(first.double(), 0))}
        case |= generated
        print(f"{case['name']}: {len(case['prompt_ids'])} prompt tokens, least margin {min(case['margins'])}")
    # The same in f64 says how far f32 itself is from the truth. (Rotary angles stay in f32 in both.)
    double = real.model.double()
    for case, first in zip(cases, logits):
        case["f32_relative_error"] = float(f"{relative_error(first, last_logits(double, case['prompt_ids'])):.2e}")
        print(f"{case['name']}: f32 is {case['f32_relative_error']} from f64")
    header = {
        "format": "parity/1",
        "model": real.source,
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, f32, eager attention",
        "logits_file": "parity_logits.f32",
        "logits_shape": [len(cases), len(logits[0][::every])],
    }
    if every > 1:
        header["logits_every"] = every
    kept = torch.stack([row[::every] for row in logits])
    out.joinpath("parity_logits.f32").write_bytes(kept.numpy().astype(numpy.dtype("<f4")).tobytes())
    output.write_json(out / "parity.json", header, "cases", cases)
