"""Gemma's tokenizer, as transformers makes it from the GGUF file and as its definition has it."""

import heapq
import pathlib
import re

import transformers

import tokenizing

SPACE = "\u2581"
NORMAL, USER_DEFINED, CONTROL_KINDS = 1, 4, (2, 3)


class PlainSentencePiece:
    """SentencePiece's BPE with scores: join the neighbours whose joined piece scores best, the leftmost first.

    User-defined pieces are cut out of the text before; what is no piece becomes bytes. There are no special tokens.
    """

    def __init__(self, vocabulary: list[str], types: list[int], scores: list[float]):
        self.ids = {token: index for index, token in enumerate(vocabulary)}
        self.scores = {token: scores[index] for index, token in enumerate(vocabulary) if types[index] == NORMAL}
        defined = sorted((token for token, kind in zip(vocabulary, types) if kind == USER_DEFINED), key=len, reverse=True)
        self._defined = re.compile("(" + "|".join(re.escape(token) for token in defined) + ")")

    def encode(self, text: str) -> list[int]:
        """Ids of `text`."""
        ids = []
        for place, part in enumerate(self._defined.split(text)):
            ids += [self.ids[part]] if place % 2 else self._merge(part.replace(" ", SPACE))
        return ids

    def _merge(self, text: str) -> list[int]:
        parts = list(text)
        following = list(range(1, len(parts) + 1))
        before = list(range(-1, len(parts) - 1))
        queue = []

        def offer(left: int) -> None:
            right = following[left] if left >= 0 else len(parts)
            if left >= 0 and right < len(parts):
                joined = parts[left] + parts[right]
                if joined in self.scores:
                    heapq.heappush(queue, (-self.scores[joined], left, right, joined))

        for left in range(len(parts)):
            offer(left)
        while queue:
            _, left, right, joined = heapq.heappop(queue)
            if parts[left] is None or parts[right] is None or following[left] != right or parts[left] + parts[right] != joined:
                continue
            parts[left], parts[right] = joined, None
            following[left] = following[right]
            if following[left] < len(parts):
                before[following[left]] = left
            offer(before[left])
            offer(left)
        return [token for part in parts if part is not None for token in self._fall_back(part)]

    def _fall_back(self, part: str) -> list[int]:
        if part in self.scores:
            return [self.ids[part]]
        return [self.ids[f"<0x{byte:02X}>"] for byte in part.encode("utf-8")]


class SentencePieceTokenizers(tokenizing.Tokenizers):
    """The vocabulary of a GGUF file as transformers' tokenizer (`hf`) and as `PlainSentencePiece` (`plain`).

    transformers leaves out the BOS that the file asks for; here it is put in front where prompts are made.
    """

    agreement = (
        "From SentencePiece's BPE written from its definition; transformers' tokenizer of the GGUF file with "
        "split_special_tokens=True gave the same ids for every string without a run of 32 spaces, which is longer "
        "than any piece, and without U+2581; llama.cpp gave the same for those too."
    )

    def __init__(self, path: pathlib.Path, vocabulary: list[str], types: list[int], scores: list[float], bos: int):
        self.plain = PlainSentencePiece(vocabulary, types, scores)
        self.hf = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        self.types = types
        specials = [token for token, kind in zip(vocabulary, types) if kind in CONTROL_KINDS]
        self._keep(vocabulary, [], specials, None, vocabulary[bos], None, None, adds_bos=True)

    def normal_form(self, text: str) -> str:
        """What decoding the ids of `text` gives back: what stands for a space in pieces is one in a text too."""
        return text.replace(SPACE, " ")

    def encode_text(self, text: str) -> list[int]:
        """Ids of user text. transformers must agree, but for two things, in which llama.cpp is followed.

        Runs of spaces longer than any piece are cut otherwise by its BPE than by SentencePiece, which takes the longest
        piece first; and it takes the character that stands for a space in pieces for a space in a text too early.
        """
        ids = self.plain.encode(text)
        theirs = self.hf.encode(text, add_special_tokens=False, split_special_tokens=True)
        if ids != theirs and " " * 32 not in text and SPACE not in text:
            raise AssertionError(f"{text!r}: Hugging Face says {theirs}, the plain SentencePiece {ids}")
        return ids

    def encode_parsed(self, text: str) -> list[int]:
        """Ids of trusted text, in which special tokens are parsed."""
        parts = re.split("(" + "|".join(map(re.escape, self.specials)) + ")", text)
        return [
            token
            for place, part in enumerate(parts)
            for token in ([self.plain.ids[part]] if place % 2 else self.encode_text(part))
        ]

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`: pieces with their spaces, runs of bytes as UTF-8."""
        raw = bytearray()
        for index in ids:
            token = self.vocabulary[index]
            if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
                raw.append(int(byte[1], 16))
            else:
                raw += token.replace(SPACE, " ").encode("utf-8") if self.types[index] == NORMAL else token.encode("utf-8")
        return raw.decode("utf-8", errors="replace")
