"""pre_tokenizers.json: the words that the pre-tokenizers named in GGUF files cut texts into.

Every step takes its matches out of the pieces of the step before. Python's `regex` cuts here, another library than the
one under test.
"""

import pathlib
import unicodedata

import regex

import output
import strings
import tokenizing

UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
MARKED = r"[^\r\n\p{L}\p{N}]?"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O_WORDS = (
    rf"{MARKED}{UPPER}*{LOWER}+{ENDINGS}|{MARKED}{UPPER}+{LOWER}*{ENDINGS}|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN_WORDS = GPT4O_WORDS.replace(ENDINGS, "").replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK_V3_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# From one name of each kind to its steps. None of the strings is changed by Qwen's normal form before.
STEPS = {
    "gpt-2": [tokenizing.GPT2_WORDS],
    "smollm": [r"\p{N}", tokenizing.GPT2_WORDS],
    "llama-bpe": [tokenizing.LLAMA3_WORDS],
    "dbrx": [tokenizing.LLAMA3_WORDS],
    "qwen2": [tokenizing.QWEN2_WORDS],
    "tekken": [TEKKEN_WORDS],
    "gpt-4o": [GPT4O_WORDS],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_V3_WORDS],
}


def cut(text: str, pattern: str) -> list[str]:
    """Matches of `pattern` and what lies between them."""
    pieces, done = [], 0
    for match in regex.finditer(pattern, text):
        pieces += [text[done : match.start()], match.group()]
        done = match.end()
    return [piece for piece in [*pieces, text[done:]] if piece]


def words(name: str, text: str) -> list[str]:
    """The words of a text."""
    pieces = [text]
    for pattern in STEPS[name]:
        pieces = [word for piece in pieces for word in cut(piece, pattern)]
    return pieces


def write(out: pathlib.Path) -> None:
    """Cuts every string that is in normal form, and writes.

    Characters that Python's Unicode does not have yet are left out: libraries differ in how new theirs is.
    """
    texts = [
        text
        for text in strings.more_strings()
        if text
        and tokenizing.normal_form("qwen2", text) == text
        and all(unicodedata.category(character) != "Cn" for character in text)
    ]
    cases = [{"text": text} | {name: [len(word) for word in words(name, text)] for name in STEPS} for text in texts]
    header = {
        "format": "pre_tokenizers/1",
        "reference": "Python's regex",
        "words": "of each name in a GGUF file: the lengths of the words in characters",
        "names": list(STEPS),
    }
    output.write_json(out / "pre_tokenizers.json", header, "cases", cases)
