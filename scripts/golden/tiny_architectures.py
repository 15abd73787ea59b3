"""Writes the checkpoints of architectures.py as folders and GGUF files, and architectures.json with what they compute."""

import copy
import json
import pathlib
import shutil

import gguf
import numpy
import torch
import transformers

import architectures
import gguf_layout
import output
import parity
import tiny_gguf
import tiny_tokenizers
import tokenizing
from prompts import Sequence, sentence

QuantType = gguf.GGMLQuantizationType
NUM_GREEDY_TOKENS = 32
VOCABULARY_SIZE = 128
MAX_POSITIONS = 256
# Tokens of the three prompts; the last but one must be longer than every window.
PROMPT_TOKENS = (1, 25, 100)
# A feature must move the logits by this part of the largest; the tests tolerate a thousandth.
LEAST_MOVE = 1e-2


def small_tokenizer() -> tokenizing.Tokenizers:
    """Byte-level BPE over printable ASCII, with a few merges: the checkpoints are about arithmetic."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    alphabet = [tokenizing.byte_characters()[byte] for byte in [10, *range(32, 127)]]
    merges = tiny_tokenizers.byte_level_merges(VOCABULARY_SIZE - len(alphabet) - len(specials))
    vocabulary = specials + alphabet + [merge.replace(" ", "") for merge in merges]
    return tokenizing.Tokenizers(vocabulary, merges, specials, "smollm", specials[1], specials[2], tiny_tokenizers.CHATML)


def config_of(checkpoint: architectures.Checkpoint, **changes) -> transformers.PreTrainedConfig:
    """The configuration, with some fields changed."""
    fields = {
        "vocab_size": VOCABULARY_SIZE,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "attn_implementation": "eager",
        "experts_implementation": "eager",
    }
    # A configuration fills in what its nested parts lack, so it gets parts of its own.
    fields = copy.deepcopy(fields | checkpoint.fields | changes)
    return transformers.AutoConfig.for_model(checkpoint.model_type, **fields)


def random_state(checkpoint: architectures.Checkpoint) -> dict[str, torch.Tensor]:
    """Weights from a seed, in values that f16 holds, so large that every feature tells."""
    generator = numpy.random.Generator(numpy.random.PCG64(checkpoint.seed))
    config = config_of(checkpoint)
    gemma = checkpoint.model_type in gguf_layout.SHIFTED_NORMS
    state = {}
    for name, parameter in gguf_layout.empty_model(config).state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        noise = generator.standard_normal(size=tuple(parameter.shape), dtype=numpy.float32)
        if name == "model.norm.weight" and gemma:
            # Its embedding is scaled and tied, so it must be small, or a token's successor is the token itself.
            values = 4.0 + noise
        elif name.endswith("norm.weight"):
            values = (0.0 if gemma else 1.0) + 0.3 * noise
        elif name.endswith("bias"):
            values = noise
        elif "embed" in name:
            values = (0.1 if gemma else 0.3) * noise
        else:
            values = noise * (1.6 / numpy.sqrt(parameter.shape[-1]))
        state[name] = torch.from_numpy(values.astype(numpy.float16).astype(numpy.float32))
    return state


def force_factors(model: transformers.PreTrainedModel, max_model_len: int | None) -> None:
    """Fixes longrope's factors by the longest sequence that is served, where transformers looks at each one."""
    rope = model.config.rope_parameters
    if rope.get("rope_type") != "longrope":
        return
    factors = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["longrope"]
    served = max_model_len or model.config.max_position_embeddings
    rotary = model.model.rotary_emb
    rotary.inv_freq, rotary.attention_scaling = factors(model.config, seq_len=served)
    rotary.rope_type = "default"


def build(checkpoint, state: dict[str, torch.Tensor], max_model_len: int | None = None, **changes):
    """A model of this checkpoint with these weights, ready to compute."""
    model = gguf_layout.load_state(config_of(checkpoint, **changes), state)
    force_factors(model, max_model_len)
    return model


def prompts(tokenizer, max_model_len: int | None) -> list[dict]:
    """Prompts of `PROMPT_TOKENS` tokens, those that fit."""
    sequence = Sequence(31)
    ids = tokenizer.encode_text(" ".join(sentence(sequence) for _ in range(8)))
    cases = []
    for count in PROMPT_TOKENS:
        if count + NUM_GREEDY_TOKENS <= (max_model_len or MAX_POSITIONS):
            text = tokenizer.decode(ids[:count])
            cases.append({"text": text, "prompt_ids": tokenizer.encode_text(text)})
    return cases


@torch.no_grad()
def check_greedy(model, case: dict, name: str) -> None:
    """The tokens must be those of one pass without a cache too: transformers' caches of windows are code as well."""
    ids = case["prompt_ids"] + case["tokens"]
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    again = logits[len(case["prompt_ids"]) - 1 : -1].argmax(-1).tolist()
    if again != case["tokens"]:
        raise AssertionError(f"{name}: with a cache {case['tokens']}, without {again}")


def golden(path: str, checkpoint, model, tokenizer, max_model_len: int | None) -> dict:
    """What a model computes for the prompts."""
    cases = prompts(tokenizer, max_model_len)
    for case in cases:
        logits, generated = parity.greedy(model, case["prompt_ids"], NUM_GREEDY_TOKENS)
        exact = parity.last_logits(copy.deepcopy(model).double(), case["prompt_ids"])
        case["logits"] = [float(str(value)) for value in logits.numpy()]
        case["f32_relative_error"] = float(f"{parity.relative_error(logits, exact):.2e}")
        case |= generated
        check_greedy(model, case, path)
    entry = {"path": path, "architecture": checkpoint.model_type, "notes": checkpoint.notes}
    if max_model_len is not None:
        entry["max_model_len"] = max_model_len
    return entry | {"prompts": cases, "texts": [], "chats": []}


def moves(checkpoint, state: dict[str, torch.Tensor], ids: list[int]) -> dict[str, float]:
    """How far each feature moves the logits of the longest prompt; one that does not is an error."""
    logits = parity.last_logits(build(checkpoint, state), ids)
    found = {}
    for feature in checkpoint.features:
        model = build(checkpoint, state, **feature.fields)
        feature.change(model)
        move = parity.relative_error(parity.last_logits(model, ids), logits)
        if move < LEAST_MOVE:
            raise AssertionError(f"{checkpoint.name}: without {feature.name} the logits move by {move} only")
        found[feature.name] = float(f"{move:.2e}")
    return found


def spell_as_version_4(path: pathlib.Path) -> None:
    """Rewrites a config.json as the families' published files have it."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    if "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if config["model_type"] == "gemma3_text":
        del config["layer_types"]
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern")
    elif config["model_type"] in ("gemma2", "qwen2", "qwen3"):
        del config["layer_types"]
    elif config["model_type"] == "qwen3_moe":
        config["num_experts"] = config.pop("num_local_experts")
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if rope["rope_type"] == "longrope":
        config["original_max_position_embeddings"] = rope.pop("original_max_position_embeddings")
        rope = {"type": rope.pop("rope_type")} | rope
        rope.pop("factor", None)
    config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_folder(folder: pathlib.Path, checkpoint, state: dict[str, torch.Tensor], tokenizer) -> None:
    """A checkpoint folder in f16 as Hugging Face lays it out."""
    folder.mkdir(parents=True)
    model = build(checkpoint, state)
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, eos_token_id=2)
    model.to(torch.float16).save_pretrained(folder)
    tiny_tokenizers.save(folder, tokenizer, template_file=False)
    if checkpoint.version == 4:
        spell_as_version_4(folder / "config.json")
    for path in folder.iterdir():
        path.chmod(0o644)


def read_folder(folder: pathlib.Path) -> transformers.PreTrainedModel:
    """The folder as transformers reads it, in f32."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()


def add_rope(writer: gguf.GGUFWriter, config: transformers.PreTrainedConfig) -> None:
    """Rotary numbers; a Gemma 3's local layers have theta 10000 without saying so."""
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if config.model_type != "phi3":
        return
    head_dim = config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(int(head_dim * rope["partial_rotary_factor"]))
    original = rope.get("original_max_position_embeddings", config.max_position_embeddings)
    writer.add_rope_scaling_orig_ctx_len(original)
    if rope["rope_type"] == "longrope":
        factors = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["longrope"]
        writer.add_rope_scaling_attn_factors(factors(config)[1])
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight", numpy.array(rope[f"{kind}_factor"], numpy.float32))


def add_attention(writer: gguf.GGUFWriter, config: transformers.PreTrainedConfig) -> None:
    """What differs in attention between the families."""
    head_dim = getattr(config, "head_dim", None)
    if head_dim is not None and config.model_type not in ("qwen2", "phi3"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if config.model_type in ("llama", "mistral", "mixtral"):
        writer.add_rope_dimension_count(head_dim)
    window = getattr(config, "sliding_window", None)
    if config.model_type in ("gemma2", "gemma3_text", "phi3"):
        writer.add_sliding_window(window or 0)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def add_experts(writer: gguf.GGUFWriter, config: transformers.PreTrainedConfig) -> None:
    """Counts and sizes of experts."""
    if config.model_type in ("qwen3_moe", "mixtral"):
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type == "qwen3_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def save_gguf(path: pathlib.Path, model: transformers.PreTrainedModel, tokenizer) -> None:
    """One GGUF file: matrices in F16, all else in F32."""
    config = model.config
    layout = gguf_layout.Layout(config)
    writer = gguf.GGUFWriter(path, layout.architecture)
    # llama.cpp treats the vocabulary of what has phi3 in its name in a way of its own, so the name is not the file's.
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tiny_gguf.add_shape(writer, config)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    add_attention(writer, config)
    add_rope(writer, config)
    add_experts(writer, config)
    tiny_gguf.add_vocabulary(writer, tokenizer)
    writer.add_bos_token_id(tokenizer.plain.ids[tokenizer.bos])
    writer.add_eos_token_id(tokenizer.plain.ids[tokenizer.eos])
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    for name, values in layout.store(model.state_dict()):
        kind = QuantType.F16 if values.ndim > 1 and "ffn_gate_inp" not in name else QuantType.F32
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    tiny_gguf.finish(writer)


def write_checkpoint(out: pathlib.Path, checkpoint: architectures.Checkpoint, tokenizer) -> list[dict]:
    """The folder and the file of one checkpoint, read back, and their goldens."""
    state = random_state(checkpoint)
    features = moves(checkpoint, state, prompts(tokenizer, None)[-1]["prompt_ids"])
    print(f"{checkpoint.name}: {features}")
    entries = []
    if checkpoint.folder:
        save_folder(out / checkpoint.name, checkpoint, state, tokenizer)
        for max_model_len in checkpoint.max_model_lens:
            model = read_folder(out / checkpoint.name)
            force_factors(model, max_model_len)
            entry = golden(checkpoint.name, checkpoint, model, tokenizer, max_model_len)
            same = parity.last_logits(build(checkpoint, state, max_model_len), entry["prompts"][-1]["prompt_ids"])
            if same.tolist() != torch.tensor(entry["prompts"][-1]["logits"]).tolist():
                raise AssertionError(f"{checkpoint.name}: the folder is read as another model")
            entries.append(entry | {"features": features})
    if checkpoint.gguf:
        path = out / "gguf" / f"{checkpoint.name}-f16.gguf"
        save_gguf(path, build(checkpoint, state, **checkpoint.gguf_fields), tokenizer)
        config = config_of(checkpoint, **checkpoint.gguf_fields)
        restored = gguf_layout.Layout(config).restore(gguf.GGUFReader(path))
        for max_model_len in checkpoint.max_model_lens:
            model = build(checkpoint, restored, max_model_len, **checkpoint.gguf_fields)
            entry = golden(f"gguf/{path.name}", checkpoint, model, tokenizer, max_model_len)
            same = parity.last_logits(
                build(checkpoint, state, max_model_len, **checkpoint.gguf_fields), entry["prompts"][-1]["prompt_ids"]
            )
            if parity.relative_error(same, torch.tensor(entry["prompts"][-1]["logits"])) > 1e-5:
                raise AssertionError(f"{path.name}: the file holds another model")
            entries.append(entry | {"features": features})
    return entries


def write(out: pathlib.Path) -> None:
    """Makes all folders and files anew."""
    shutil.rmtree(out, ignore_errors=True)
    out.joinpath("gguf").mkdir(parents=True)
    tokenizer = small_tokenizer()
    models = [entry for checkpoint in architectures.ALL for entry in write_checkpoint(out, checkpoint, tokenizer)]
    header = {
        "format": "tiny/1",
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, f32, eager attention",
    }
    output.write_json(out.with_suffix(".json"), header, "models", models)
