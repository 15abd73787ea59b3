"""The tiny checkpoints of every architecture, as data: configuration, spelling, and what each feature does.

A feature says how it is turned off. tiny_architectures.py computes every checkpoint with each of its features off
and refuses one that would not tell: its logits must move by far more than the tests tolerate.
"""

import collections.abc
import dataclasses

import torch

THETA = 10000.0
PLAIN_ROPE = {"rope_type": "default", "rope_theta": THETA}
LOCAL_AND_GLOBAL_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": THETA},
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}
# Six frequencies: the rotated three quarters of a head of 16.
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": THETA,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.3, 1.5, 1.8, 2.0],
    "long_factor": [1.0, 2.0, 4.0, 8.0, 12.0, 16.0],
    "original_max_position_embeddings": 64,
}
# Small caps, so that many scores and logits come near them.
CAPS = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 6.0}

Model = torch.nn.Module


@dataclasses.dataclass
class Feature:
    """One thing that an architecture does beyond plain Llama, and how to turn it off."""

    name: str
    # Fields of the configuration with the feature off.
    fields: dict = dataclasses.field(default_factory=dict)
    # What is done to a model with the feature's weights or modules.
    change: collections.abc.Callable[[Model], None] = lambda model: None


@dataclasses.dataclass
class Checkpoint:
    """One tiny model. It is written as a folder, as a GGUF file, or both."""

    name: str
    model_type: str
    seed: int
    notes: str
    fields: dict
    features: list[Feature]
    folder: bool = True
    gguf: bool = False
    # Spelling of config.json: transformers 4 or 5.
    version: int = 4
    # Fields that are other in the GGUF file, because llama.cpp's keys cannot say them.
    gguf_fields: dict = dataclasses.field(default_factory=dict)
    # Each makes one golden: limits of the context to serve with, `None` for the model's own.
    max_model_lens: tuple[int | None, ...] = (None,)


def zeroed(*ends: str) -> collections.abc.Callable[[Model], None]:
    """Sets parameters whose names end so to zero."""

    def change(model: Model) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith(ends):
                parameter.data.zero_()

    return change


def skipped(*ends: str) -> collections.abc.Callable[[Model], None]:
    """Replaces modules whose names end so by the identity."""

    def change(model: Model) -> None:
        for name, _ in list(model.named_modules()):
            if name.endswith(ends):
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, torch.nn.Identity())

    return change


def with_attribute(end: str, attribute: str, value) -> collections.abc.Callable[[Model], None]:
    """Sets an attribute of the modules whose names end so."""

    def change(model: Model) -> None:
        for name, module in model.named_modules():
            if name.endswith(end):
                setattr(module, attribute, value)

    return change


def unscaled_embedding(model: Model) -> None:
    """Takes Gemma's factor off the embedding."""
    model.model.embed_tokens.embed_scale = torch.tensor(1.0)


def shape(hidden: int, heads: int, kv_heads: int, layers: int, ffn: int = 64, **others) -> dict:
    """Sizes of a decoder."""
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": layers,
        "intermediate_size": ffn,
    } | others


BIAS = Feature("bias of q, k, v", change=zeroed("q_proj.bias", "k_proj.bias", "v_proj.bias"))
QK_NORM = Feature("norms of q and k", change=skipped("q_norm", "k_norm"))
POST_NORMS = Feature("norms after attention and feed-forward", change=skipped("post_attention_layernorm", "post_feedforward_layernorm"))
EMBEDDING_SCALE = Feature("scaled embedding", change=unscaled_embedding)
GELU = Feature("GeGLU", {"hidden_activation": "silu"})
EXPERTS_USED = Feature("two experts a token", {"num_experts_per_tok": 1})
GEMMA3_QUERY_SCALE = Feature("query scale apart from head_dim", {"query_pre_attn_scalar": 16})

MISTRAL = Checkpoint(
    "mistral", "mistral", 11, "sliding window, head_dim apart from hidden / heads",
    shape(32, 4, 2, 3, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False, sliding_window=16),
    [Feature("window", {"sliding_window": None})],
)
QWEN2_TIED = Checkpoint(
    "qwen2-tied", "qwen2", 12, "bias of q, k and v, tied head",
    shape(32, 2, 1, 3, rope_parameters=PLAIN_ROPE | {"rope_theta": 1000000.0}, tie_word_embeddings=True),
    [BIAS, Feature("rope theta", {"rope_parameters": PLAIN_ROPE})],
    gguf=True,
)
QWEN2_UNTIED = Checkpoint(
    "qwen2-untied", "qwen2", 13, "bias of q, k and v, untied head",
    shape(64, 4, 2, 2, ffn=32, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False),
    [BIAS],
    version=5,
)
QWEN2_WINDOW = Checkpoint(
    "qwen2-window", "qwen2", 14, "sliding window in all layers from the second on",
    shape(32, 2, 1, 3, rope_parameters=PLAIN_ROPE, tie_word_embeddings=True)
    | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    [
        BIAS,
        Feature("window", {"use_sliding_window": False, "layer_types": None}),
        Feature("layers without a window", {"max_window_layers": 0, "layer_types": None}),
    ],
)
QWEN3 = Checkpoint(
    "qwen3", "qwen3", 15, "norms of q and k, head_dim apart from hidden / heads, tied head",
    shape(32, 4, 2, 3, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=True),
    [QK_NORM],
    gguf=True,
)
GEMMA2 = Checkpoint(
    "gemma2", "gemma2", 16,
    "soft caps, sandwich norms, alternating window, query scale apart from head_dim, GeGLU, scaled embedding",
    shape(32, 4, 2, 3, head_dim=16, rope_parameters=PLAIN_ROPE, sliding_window=12, query_pre_attn_scalar=6) | CAPS,
    [
        Feature("soft cap of scores", {"attn_logit_softcapping": None}),
        Feature("soft cap of logits", {"final_logit_softcapping": None}),
        Feature("window", {"layer_types": ["full_attention"] * 3}),
        Feature("layers without a window", {"layer_types": ["sliding_attention"] * 3}),
        Feature("query scale apart from head_dim", {"query_pre_attn_scalar": 16}),
        GELU,
        POST_NORMS,
        EMBEDDING_SCALE,
    ],
    gguf=True,
    # llama.cpp divides by the square root of head_dim in all but the largest Gemma 2.
    gguf_fields={"query_pre_attn_scalar": 16},
)
GEMMA3 = Checkpoint(
    "gemma3", "gemma3_text", 17, "local and global layers by layer_types, each kind with its own rope",
    shape(32, 4, 2, 3, head_dim=16, rope_parameters=LOCAL_AND_GLOBAL_ROPE, sliding_window=20, query_pre_attn_scalar=8)
    | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    [
        Feature("window", {"sliding_window": 512}),
        Feature("layers without a window", {"layer_types": ["sliding_attention"] * 3}),
        Feature("local theta", {"rope_parameters": LOCAL_AND_GLOBAL_ROPE | {"sliding_attention": PLAIN_ROPE | {"rope_theta": 1e6}}}),
        Feature("scaled global positions", {"rope_parameters": LOCAL_AND_GLOBAL_ROPE | {"full_attention": PLAIN_ROPE | {"rope_theta": 1e6}}}),
        GEMMA3_QUERY_SCALE,
        GELU,
        QK_NORM,
        POST_NORMS,
        EMBEDDING_SCALE,
    ],
    version=5,
)
GEMMA3_PATTERN = Checkpoint(
    "gemma3-pattern", "gemma3_text", 18, "every sixth layer global by sliding_window_pattern, as first published",
    shape(32, 2, 1, 6, ffn=32, head_dim=16, rope_parameters=LOCAL_AND_GLOBAL_ROPE, sliding_window=20)
    | {"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]},
    [
        Feature("window", {"sliding_window": 512}),
        Feature("layers without a window", {"layer_types": ["sliding_attention"] * 6}),
        Feature("scaled global positions", {"rope_parameters": LOCAL_AND_GLOBAL_ROPE | {"full_attention": PLAIN_ROPE | {"rope_theta": 1e6}}}),
        QK_NORM,
        POST_NORMS,
        EMBEDDING_SCALE,
    ],
    gguf=True,
)
PHI3 = Checkpoint(
    "phi3", "phi3", 19, "fused projections, partial rotary, longrope",
    shape(32, 2, 1, 3, rope_parameters=LONGROPE, tie_word_embeddings=False, original_max_position_embeddings=64),
    [
        Feature("factor of attention", {"rope_parameters": LONGROPE | {"attention_factor": 1.0}}),
        Feature("long factors", {"rope_parameters": LONGROPE | {"long_factor": [1.0] * 6, "short_factor": [1.0] * 6}}),
        Feature(
            "partial rotary",
            {
                "rope_parameters": LONGROPE
                | {
                    "partial_rotary_factor": 1.0,
                    "short_factor": LONGROPE["short_factor"] + [1.0] * 2,
                    "long_factor": LONGROPE["long_factor"] + [1.0] * 2,
                }
            },
        ),
    ],
    gguf=True,
    max_model_lens=(None, 64),
)
PHI3_WINDOW = Checkpoint(
    "phi3-window", "phi3", 20, "sliding window, as many heads of keys and values as of queries",
    shape(32, 2, 2, 3, ffn=32, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False, sliding_window=16),
    [Feature("window", {"sliding_window": None})],
)
PHI4 = Checkpoint(
    "phi4", "phi3", 21, "as Phi-4: grouped heads, plain rope, tied head, partial rotary",
    shape(64, 4, 1, 2, ffn=32, rope_parameters=PLAIN_ROPE | {"rope_theta": 250000.0, "partial_rotary_factor": 0.5})
    | {"tie_word_embeddings": True},
    [
        Feature("rope theta", {"rope_parameters": PLAIN_ROPE | {"partial_rotary_factor": 0.5}}),
        Feature("partial rotary", {"rope_parameters": PLAIN_ROPE | {"rope_theta": 250000.0}}),
    ],
    version=5,
    gguf=True,
)
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
QWEN3_MOE = Checkpoint(
    "qwen3moe", "qwen3_moe", 22, "four experts, two a token, normalised; the second layer dense",
    shape(32, 4, 2, 3, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False)
    | EXPERTS | {"norm_topk_prob": True, "mlp_only_layers": [1]},
    [QK_NORM, EXPERTS_USED, Feature("normalised weights of experts", {"norm_topk_prob": False})],
)
QWEN3_MOE_STEP = Checkpoint(
    "qwen3moe-step", "qwen3_moe", 23, "experts in every second layer only, weights not normalised",
    shape(32, 4, 2, 2, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False)
    | EXPERTS | {"norm_topk_prob": False, "decoder_sparse_step": 2},
    [EXPERTS_USED, Feature("weights not normalised", {"norm_topk_prob": True})],
    version=5,
)
QWEN3_MOE_ALL = Checkpoint(
    "qwen3moe-all", "qwen3_moe", 24, "experts in every layer, as llama.cpp wants them",
    shape(32, 4, 2, 2, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False)
    | EXPERTS | {"norm_topk_prob": True},
    [QK_NORM, EXPERTS_USED],
    folder=False,
    gguf=True,
)
MIXTRAL = Checkpoint(
    "mixtral", "mixtral", 25, "four experts, two a token",
    shape(32, 4, 2, 2, ffn=32, head_dim=16, rope_parameters=PLAIN_ROPE, tie_word_embeddings=False)
    | {"num_local_experts": 4, "num_experts_per_tok": 2},
    [EXPERTS_USED],
    gguf=True,
)

ALL = [
    MISTRAL, QWEN2_TIED, QWEN2_UNTIED, QWEN2_WINDOW, QWEN3, GEMMA2, GEMMA3, GEMMA3_PATTERN,
    PHI3, PHI3_WINDOW, PHI4, QWEN3_MOE, QWEN3_MOE_STEP, QWEN3_MOE_ALL, MIXTRAL,
]
