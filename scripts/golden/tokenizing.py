"""Tokenizers rebuilt from a vocabulary and merges, and a second, independent one to check them."""

import functools
import re
import unicodedata

import regex
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

# Words as GPT-2 splits them, as Llama 3 does, and Qwen 2; the names are GGUF's tokenizer.ggml.pre.
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
# A character that no golden text contains; see `Tokenizers.encode_chat`.
BREAKER = "\ue000"


def byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level BPE: itself if printable, else from 256 on."""
    printable = set(range(33, 127)) | set(range(161, 173)) | set(range(174, 256))
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [shifted.get(byte, chr(byte)) for byte in range(256)]


def pre_tokenizer_of(name: str) -> pre_tokenizers.PreTokenizer:
    """The Hugging Face pre-tokenizer that GGUF calls `name`."""
    if name in ("llama-bpe", "qwen2"):
        pattern = LLAMA3_WORDS if name == "llama-bpe" else QWEN2_WORDS
        words = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_of_words])
    if name == "gpt-2":
        return bytes_of_words
    raise ValueError(f"no pre-tokenizer is known as {name}")


def normal_form(pre_tokenizer: str | None, text: str) -> str:
    """What becomes of a text before anything else."""
    return unicodedata.normalize("NFC", text) if pre_tokenizer == "qwen2" else text


class PlainBpe:
    """Byte-level BPE written from its definition. It knows no special tokens, so user text cannot make one.

    `added` are texts that are always one token.
    """

    def __init__(self, vocabulary: list[str], merges: list[str], pre_tokenizer: str, added=()):
        self.ids = {token: index for index, token in enumerate(vocabulary)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.bytes = byte_characters()
        self.whole_words = pre_tokenizer == "llama-bpe"
        words = {"llama-bpe": LLAMA3_WORDS, "qwen2": QWEN2_WORDS}.get(pre_tokenizer, GPT2_WORDS)
        self.words = regex.compile(words)
        self.normal_form = functools.partial(normal_form, pre_tokenizer)
        self.added = re.compile("(" + "|".join(map(re.escape, added)) + ")") if added else None
        self.runs = regex.compile(r"\p{N}|\P{N}+") if pre_tokenizer == "smollm" else regex.compile(r"(?s).+")
        self.word = functools.lru_cache(maxsize=None)(self._word)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`. Bytes that the vocabulary lacks are dropped, as the reference does."""
        if self.added is None:
            return self._encode(text)
        ids = []
        for place, part in enumerate(self.added.split(text)):
            ids += [self.ids[part]] if place % 2 else self._encode(part)
        return ids

    def _encode(self, text: str) -> list[int]:
        return [
            token
            for run in self.runs.findall(self.normal_form(text))
            for word in self.words.findall(run)
            for token in self.word(word)
        ]

    def _word(self, word: str) -> list[int]:
        parts = [self.bytes[byte] for byte in word.encode("utf-8")]
        if self.whole_words and "".join(parts) in self.ids:
            return [self.ids["".join(parts)]]
        parts = [part for part in parts if part in self.ids]
        while len(parts) > 1:
            pairs = [(self.ranks.get(pair, len(self.ranks)), place) for place, pair in enumerate(zip(parts, parts[1:]))]
            rank, place = min(pairs)
            if rank == len(self.ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [self.ids[part] for part in parts]


class Tokenizers:
    """One vocabulary as the Hugging Face tokenizer (`hf`) and as `PlainBpe` (`plain`)."""

    # How the ids of text.json were made.
    agreement = (
        "From transformers with split_special_tokens=True; a byte-level BPE written from its definition, which has no "
        "special tokens at all, gave the same ids for every string."
    )

    def __init__(
        self, vocabulary, merges, specials, pre_tokenizer, bos, eos, chat_template, adds_bos=False, added=()
    ):
        bpe = models.BPE(
            vocab={token: index for index, token in enumerate(vocabulary)},
            merges=[tuple(merge.split(" ")) for merge in merges],
            ignore_merges=pre_tokenizer == "llama-bpe",
        )
        self.backend = tokenizers.Tokenizer(bpe)
        if pre_tokenizer == "qwen2":
            self.backend.normalizer = normalizers.NFC()
        self.backend.pre_tokenizer = pre_tokenizer_of(pre_tokenizer)
        self.backend.decoder = decoders.ByteLevel()
        self.backend.add_special_tokens(
            [tokenizers.AddedToken(token, special=True, normalized=False) for token in specials]
        )
        self.backend.add_tokens([tokenizers.AddedToken(token, special=False, normalized=False) for token in added])
        if adds_bos:
            self.backend.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, vocabulary.index(bos))]
            )
        self.hf = transformers.PreTrainedTokenizerFast(
            tokenizer_object=self.backend,
            bos_token=bos,
            eos_token=eos,
            clean_up_tokenization_spaces=False,
            chat_template=chat_template,
        )
        self.plain = PlainBpe(vocabulary, merges, pre_tokenizer, added)
        self._keep(vocabulary, merges, specials, pre_tokenizer, bos, eos, chat_template, adds_bos)

    def _keep(self, vocabulary, merges, specials, pre_tokenizer, bos, eos, chat_template, adds_bos) -> None:
        """Keeps what a GGUF file or a tokenizer_config.json is written from."""
        self.vocabulary, self.merges, self.specials = vocabulary, merges, specials
        self.pre_tokenizer, self.bos, self.eos = pre_tokenizer, bos, eos
        self.chat_template, self.adds_bos = chat_template, adds_bos
        self._special = re.compile("|".join(re.escape(token) for token in specials))

    def normal_form(self, text: str) -> str:
        """What decoding the ids of `text` gives back."""
        return normal_form(self.pre_tokenizer, text)

    def encode_text(self, text: str) -> list[int]:
        """Ids of user text: nothing in it becomes a special token. Two implementations must agree."""
        ids = self.hf.encode(text, add_special_tokens=False, split_special_tokens=True)
        plain = self.plain.encode(text)
        if ids != plain:
            raise AssertionError(f"{text!r}: Hugging Face says {ids}, the plain BPE {plain}")
        return ids

    def encode_parsed(self, text: str) -> list[int]:
        """Ids of trusted text, in which special tokens are parsed."""
        return self.hf.encode(text, add_special_tokens=False, split_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`, special tokens included; bytes that are not UTF-8 become U+FFFD."""
        return self.hf.decode(ids, skip_special_tokens=False)

    def render_chat(self, messages: list[dict], add_generation_prompt: bool) -> str:
        """The chat template's text."""
        return self.hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    def encode_chat(self, messages: list[dict], add_generation_prompt: bool) -> list[int]:
        """Ids of a rendered chat in which the template's markers are special and the contents' are not.

        Every special token's text inside a content is broken by a character before rendering, so what is
        found in the rendered text is the template's own. The text between two markers is encoded as one
        piece, without special tokens, after the breaking characters were taken out again.
        """
        broken = [
            message | {"content": self._special.sub(lambda m: BREAKER.join(m.group()), message["content"])}
            for message in messages
        ]
        rendered = self.render_chat(broken, add_generation_prompt)
        if rendered.replace(BREAKER, "") != self.render_chat(messages, add_generation_prompt):
            raise AssertionError(f"{messages!r}: the template depends on special tokens in a content")
        ids = []
        start = 0
        for marker in self._special.finditer(rendered):
            ids += self.encode_text(rendered[start : marker.start()].replace(BREAKER, ""))
            ids.append(self.plain.ids[marker.group()])
            start = marker.end()
        return ids + self.encode_text(rendered[start:].replace(BREAKER, ""))
