"""GGUF tensors from a Hugging Face model's, and back, in the conventions of llama.cpp's converter."""

import collections.abc

import gguf
import numpy
import torch
import transformers

# `general.architecture` of each family; Mistral and Mixtral are stored as Llama.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
}
# Families whose norms multiply by 1 + weight; GGUF stores the sum.
SHIFTED_NORMS = ("gemma2", "gemma3_text")
GATE_UP = "experts.gate_up_proj"


def permute(weight: numpy.ndarray, num_heads: int) -> numpy.ndarray:
    """The row order that GGUF gives q and k of a Llama.

    GGUF rotates neighbouring rows (0, 1), (2, 3), ..; Hugging Face rotates row i of a head with row
    i + head_dim / 2. So within a head GGUF's row 2 i + s is Hugging Face's row s * head_dim / 2 + i.
    """
    rows, columns = weight.shape
    halves = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def unpermute(weight: numpy.ndarray, num_heads: int) -> numpy.ndarray:
    """Undoes `permute`."""
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


class Layout:
    """How one model's tensors are named and stored in a GGUF file."""

    def __init__(self, config: transformers.PreTrainedConfig):
        self.config = config
        self.architecture = ARCHITECTURES[config.model_type]
        kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
        self._names = gguf.get_tensor_name_map(kinds[self.architecture], config.num_hidden_layers)

    def name(self, theirs: str) -> str:
        """The GGUF name of a Hugging Face parameter; experts are tensors of three dimensions without a suffix."""
        if ".experts." in theirs:
            return self._names.get_name(theirs) + ".weight"
        return self._names.get_name(theirs, try_suffixes=(".weight", ".bias"))

    def permuted_heads(self, name: str) -> int | None:
        """Heads whose rows `permute` reorders in this tensor, if it does."""
        if self.architecture != "llama":
            return None
        heads = {"q_proj": self.config.num_attention_heads, "k_proj": self.config.num_key_value_heads}
        return next((count for part, count in heads.items() if f"{part}.weight" in name), None)

    def norm_shift(self, name: str) -> float:
        """What GGUF adds to this tensor."""
        return 1.0 if self.config.model_type in SHIFTED_NORMS and name.endswith("norm.weight") else 0.0

    def store(self, state: dict[str, torch.Tensor]) -> collections.abc.Iterator[tuple[str, numpy.ndarray]]:
        """Every tensor once, in f32, under its GGUF name."""
        for name, tensor in state.items():
            if name == "lm_head.weight" and self.config.tie_word_embeddings:
                continue
            values = tensor.to(torch.float32).numpy() + numpy.float32(self.norm_shift(name))
            if name.endswith(GATE_UP):
                gate, up = numpy.split(values, 2, axis=1)
                yield self.name(name.replace("gate_up_proj", "gate_proj")), gate
                yield self.name(name.replace("gate_up_proj", "up_proj")), up
                continue
            if heads := self.permuted_heads(name):
                values = permute(values, heads)
            yield self.name(name), values

    def restore(self, reader: gguf.GGUFReader) -> dict[str, torch.Tensor]:
        """Every tensor of a GGUF file in f32, under its Hugging Face name; a left-over one raises."""
        found = {tensor.name: tensor for tensor in reader.tensors if not tensor.name.startswith("rope_f")}

        def take(name: str) -> numpy.ndarray:
            tensor = found.pop(name)
            return gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)

        state = {}
        for name, parameter in empty_model(self.config).state_dict().items():
            if name == "lm_head.weight" and self.config.tie_word_embeddings:
                continue
            if name.endswith(GATE_UP):
                parts = [take(self.name(name.replace("gate_up_proj", part))) for part in ("gate_proj", "up_proj")]
                values = numpy.concatenate(parts, axis=1)
            else:
                values = take(self.name(name))
            if heads := self.permuted_heads(name):
                values = unpermute(values, heads)
            values = values - numpy.float32(self.norm_shift(name))
            state[name] = torch.from_numpy(numpy.ascontiguousarray(values.reshape(tuple(parameter.shape))))
        if found:
            raise AssertionError(f"the file has tensors that {self.config.model_type} does not: {sorted(found)}")
        return state


def empty_model(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    """The shape of a model, without weights."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def load_state(config: transformers.PreTrainedConfig, tensors: dict[str, torch.Tensor]) -> transformers.PreTrainedModel:
    """A model of this config in f32 with exactly these tensors; a missing or left-over one raises."""
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32)
    if config.tie_word_embeddings:
        tensors = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    model.load_state_dict(tensors, strict=True)
    model.tie_weights()
    return model.eval()
