"""Two byte-level tokenizers of 512 tokens for the tiny models, trained here on generated text."""

import collections
import json
import pathlib

import regex
import tokenizers as hf_tokenizers

import tokenizing
from prompts import PYTHON, Sequence, sentence

VOCABULARY_SIZE = 512
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As Llama 3 writes a chat: a leading bos, contents trimmed, and a refusal of what it cannot write.
HEADERS = """{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('no role ' ~ message['role'] ~ ' in this template') }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def corpus() -> str:
    """Generated text to learn merges from."""
    sequence = Sequence(11)
    return PYTHON + " ".join(sentence(sequence) for _ in range(400))


def train_merges(words: list[list[str]], num_merges: int) -> list[str]:
    """The merges that byte-pair encoding learns from `words`; ties go to the smaller pair."""
    counts = collections.Counter(tuple(word) for word in words)
    split = {word: list(word) for word in counts}
    merges = []
    while len(merges) < num_merges:
        pairs = collections.Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(" ".join(best))
        for parts in split.values():
            for place in range(len(parts) - 1):
                if tuple(parts[place : place + 2]) == best:
                    parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return merges


def byte_level_merges(num_merges: int) -> list[str]:
    """Merges over the characters that stand for bytes, inside words as GPT-2 splits them."""
    characters = tokenizing.byte_characters()
    words = regex.findall(tokenizing.GPT2_WORDS, corpus())
    return train_merges([[characters[byte] for byte in word.encode()] for word in words], num_merges)


def chatml() -> tokenizing.Tokenizers:
    """Like SmolLM's: special tokens first, each digit alone, no bos."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    merges = byte_level_merges(VOCABULARY_SIZE - 256 - len(specials))
    vocabulary = specials + sorted(tokenizing.byte_characters()) + [merge.replace(" ", "") for merge in merges]
    return tokenizing.Tokenizers(vocabulary, merges, specials, "smollm", specials[1], specials[2], CHATML)


def headers() -> tokenizing.Tokenizers:
    """Like Llama 3's: special tokens last, whole words looked up before merging, a bos in front."""
    specials = "begin_of_text end_of_text start_header_id end_header_id eot_id python_tag".split()
    specials = [f"<|{name}|>" for name in specials]
    merges = byte_level_merges(VOCABULARY_SIZE - 256 - len(specials))
    vocabulary = sorted(tokenizing.byte_characters()) + [merge.replace(" ", "") for merge in merges] + specials
    return tokenizing.Tokenizers(
        vocabulary, merges, specials, "llama-bpe", specials[0], specials[4], HEADERS, adds_bos=True
    )


def save(folder: pathlib.Path, tokenizer: tokenizing.Tokenizers, template_file: bool) -> None:
    """tokenizer.json and tokenizer_config.json; the chat template in the latter or in a file of its own."""
    backend = hf_tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.encode_special_tokens = False
    backend.save(str(folder / "tokenizer.json"))
    eos = {"content": tokenizer.eos, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    config = {
        "bos_token": tokenizer.bos,
        "clean_up_tokenization_spaces": False,
        # Both spellings of a special token occur in the wild: its text, and an object.
        "eos_token": tokenizer.eos if template_file else eos | {"__type": "AddedToken"},
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if template_file:
        folder.joinpath("chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    else:
        config["chat_template"] = tokenizer.chat_template
    folder.joinpath("tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
