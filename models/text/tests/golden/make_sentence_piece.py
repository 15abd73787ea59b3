"""Writes sentence_piece.json: a small SentencePiece vocabulary with scores, and what Hugging Face makes of it.

    pip install sentencepiece==0.2.3 transformers==5.23.0 tokenizers==0.23.3 protobuf
    python make_sentence_piece.py > sentence_piece.json

A BPE model with byte fallback is trained on the sentences below, as Llama 2's was. Its pieces and scores are what a GGUF
file would hold. The ids come from the library's tokenizer, with merges made from the scores by the
converter of transformers, a prefix space and no BOS.
"""
import io
import json

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers.convert_slow_tokenizer import generate_merges

SENTENCES = [
    "The river runs past the old stone mill, and the miller counts his sacks.",
    "It was the best of rivers; it was the worst of rivers.",
    "Numbers such as 1234 and 56789 are cut into digits, 3.14 too.",
    "Où est la bibliothèque ? Die Straße ist naß. Ελληνικά γράμματα.",
    "def main(args):\n    for arg in args:\n        print(arg)\n",
    "Counting: one, two, three, four, five, six, seven, eight, nine, ten.",
    "She said: \"Don't wait for me,\" and they didn't wait.",
    "the miller of the old mill by the river by the stones counting stones",
] * 4

TEXTS = [
    "", " ", "  ", "a", " a", "a ", "The river", "the rivers of the old mill", "Don't wait", "1234567 3.14",
    "tab\tand\nnewline\r\n", "    indented", "naïve café", "Ελληνικά", "日本語のテキスト", "emoji 😀👩‍👩‍👧 end", "\u0000\u0001\u001f",
    "<s> not a token </s>", "<0x41> neither", "▁ mark ▁▁", "MIXED Case wOrDs", "aaaaaaaaaaaaaaaa", "ab" * 20,
    "one  two   three    four", "x" * 50, "\u00a0nbsp\u3000wide", "e\u0301 combining", "thethethe", "millermiller",
]


def main():
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=file, model_type="bpe", vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, hard_vocab_limit=False, minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    ids = range(model.vocab_size())
    pieces = [model.id_to_piece(i) for i in ids]
    scores = [model.get_score(i) for i in ids]
    types = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]

    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = generate_merges(vocab, dict(zip(pieces, scores)))
    reference = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    reference.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    reference.decoder = decoders.Sequence(steps)

    cases = []
    for text in TEXTS:
        encoded = reference.encode(text).ids
        assert encoded == model.encode(text), text
        cases.append({"text": text, "ids": encoded, "decoded": reference.decode(encoded)})
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"pieces": pieces, "scores": scores, "types": types})
    print(f'{head[:-1]},\n"cases": [\n{lines}\n]}}')


main()
