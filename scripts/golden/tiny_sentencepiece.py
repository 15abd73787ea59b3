"""A tokenizer of 512 tokens like Llama 2's: SentencePiece BPE with byte fallback, trained on generated text."""

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, processors

import tiny_tokenizers
import tokenizing

SPACE = "\u2581"
SPECIALS = ["<unk>", "<s>", "</s>"]
# As Llama 2 writes a chat: the system message goes into the first user message, roles must alternate.
INSTRUCTIONS = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set turns = messages[1:] %}{% set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}"
    "{% else %}{% set turns = messages %}{% set system = '' %}{% endif %}"
    "{% for message in turns %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate: user, assistant, user, ..') }}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)


class PlainSentencePiece:
    """SentencePiece's BPE from its definition: join the neighbours whose joined piece scores best."""

    def __init__(self, vocabulary: list[str], normal: range):
        self.ids = {token: index for index, token in enumerate(vocabulary)}
        self.pieces = {vocabulary[index] for index in normal}

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: a space in front, spaces as U+2581, unknown characters as bytes."""
        parts = list((SPACE + text.replace(" ", SPACE)) if text else "")
        while True:
            joined = [(self.ids[a + b], place) for place, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in self.pieces]
            if not joined:
                break
            _, place = min(joined)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [token for part in parts for token in self._fall_back(part)]

    def _fall_back(self, part: str) -> list[int]:
        if part in self.pieces:
            return [self.ids[part]]
        return [self.ids[f"<0x{byte:02X}>"] for byte in part.encode("utf-8")]


class SentencePieceTokenizers(tokenizing.Tokenizers):
    """The vocabulary as the Hugging Face tokenizer and as `PlainSentencePiece`; see the base class."""

    def __init__(self):
        words = [[SPACE, *word] for word in tiny_tokenizers.corpus().split()]
        characters = sorted({character for word in words for character in word})
        pieces = [SPACE * 2, SPACE * 4]
        num_merges = tiny_tokenizers.VOCABULARY_SIZE - len(SPECIALS) - 256 - len(characters) - len(pieces)
        pieces += [merge.replace(" ", "") for merge in tiny_tokenizers.train_merges(words, num_merges)]
        vocabulary = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)] + pieces + characters
        self.plain = PlainSentencePiece(vocabulary, range(len(SPECIALS) + 256, len(vocabulary)))
        # Every way to make a piece out of two others, in the order of the pieces.
        merges = [
            (piece[:cut], piece[cut:])
            for piece in pieces
            for cut in range(1, len(piece))
            if {piece[:cut], piece[cut:]} <= self.plain.pieces
        ]
        self.backend = tokenizers.Tokenizer(
            models.BPE(vocab=self.plain.ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        )
        self.backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
        self.backend.decoder = decoders.Sequence(
            [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        self.backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        self.backend.add_special_tokens(
            [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIALS]
        )
        self.hf = transformers.PreTrainedTokenizerFast(
            tokenizer_object=self.backend,
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            clean_up_tokenization_spaces=False,
            chat_template=INSTRUCTIONS,
        )
        self._keep(vocabulary, [], SPECIALS, None, "<s>", "</s>", INSTRUCTIONS, adds_bos=True)
