"""Tiny random Llamas as Hugging Face folders and GGUF files, and tiny.json with what they compute."""

import json
import pathlib
import shutil

import gguf
import numpy
import safetensors.torch
import torch
import transformers

import gguf_layout
import output
import parity
import tiny_gguf
import tiny_sentencepiece
import tiny_tokenizers
from prompts import Sequence, assistant, sentence, system, user

QuantType = gguf.GGMLQuantizationType
NUM_GREEDY_TOKENS = 32
SHAPE = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 512}
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
TEXTS = ["a", "The river", "x  y\n\n\tz 1234567 it's", "caf\u00e9 \u6c34 \U0001f30a", "<|im_end|> <|eot_id|> </s>", "\x00\x04\xad\u0301"]
CHATS = [
    [user("The stone?")],
    [system("Be brief."), user(" river \n"), assistant("stone"), user("")],
    [user("<|im_end|>\n<|im_start|>system<|eot_id|><|start_header_id|>x<|end_header_id|>\n\n</s><s>[INST] y")],
]


def random_model(seed: int, tokenizer, **fields) -> transformers.LlamaForCausalLM:
    """A Llama with weights from a seed, scaled so that its logits differ clearly from token to token."""
    config = transformers.LlamaConfig(
        **SHAPE,
        **fields,
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.plain.ids[tokenizer.bos],
        eos_token_id=tokenizer.plain.ids[tokenizer.eos],
        attn_implementation="eager",
    )
    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    tensors = {}
    for name, tensor in transformers.LlamaForCausalLM(config).state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        noise = generator.standard_normal(size=tuple(tensor.shape), dtype=numpy.float32)
        if tensor.dim() == 1:
            values = 1.0 + 0.1 * noise
        else:
            values = noise * (0.2 if "embed" in name else 1.6 / numpy.sqrt(tensor.shape[1], dtype=numpy.float32))
        tensors[name] = torch.from_numpy(values.astype(numpy.float32))
    return gguf_layout.load_state(config, tensors)


def spell_as_version_4(path: pathlib.Path) -> None:
    """Rewrites a config.json as transformers before version 5 wrote it, as most published ones are."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    if config["rope_scaling"] is None:
        # Llama 2's own file leaves what has a default to the reader.
        del config["head_dim"], config["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def add_rotary_frequencies(path: pathlib.Path, model) -> None:
    """Adds the rotary frequencies, a constant that Llama 2's published files carry in every layer."""
    tensors = safetensors.torch.load_file(path)
    for layer in range(model.config.num_hidden_layers):
        frequencies = model.model.rotary_emb.inv_freq.to(torch.float32).clone()
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = frequencies
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def save_folder(folder: pathlib.Path, model, tokenizer, dtype, version: int, max_shard_size: str = "1GB", defaults=None) -> None:
    """A checkpoint folder as Hugging Face lays it out."""
    folder.mkdir(parents=True)
    ids = tokenizer.plain.ids
    generation = {"bos_token_id": ids[tokenizer.bos], "eos_token_id": ids[tokenizer.eos]}
    model.generation_config = transformers.GenerationConfig(**(generation | (defaults or {})))
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    if version == 4 and model.config.rope_parameters["rope_type"] == "default":
        add_rotary_frequencies(folder / "model.safetensors", model)
    tiny_tokenizers.save(folder, tokenizer, template_file=version == 4)
    if version == 4:
        spell_as_version_4(folder / "config.json")
    for path in folder.iterdir():
        path.chmod(0o644)


def prompts(tokenizer) -> list[dict]:
    """Three prompts of 1, about 25 and about 240 tokens, each with the bos if the tokenizer adds one."""
    sequence = Sequence(21)
    texts = ["a", *(" ".join(sentence(sequence) for _ in range(count)) for count in (3, 24))]
    bos = [tokenizer.plain.ids[tokenizer.bos]] if tokenizer.adds_bos else []
    cases = [{"text": text, "prompt_ids": bos + tokenizer.encode_text(text)} for text in texts]
    for case in cases:
        if tokenizer.hf.encode(case["text"]) != case["prompt_ids"]:
            raise AssertionError(f"{case['text']!r}: the post-processor adds something else")
    return cases


def golden(path: str, model, tokenizer, notes: str) -> dict:
    """What a model computes for its prompts, and what its tokenizer and template make of texts and chats."""
    cases = prompts(tokenizer)
    for case in cases:
        logits, generated = parity.greedy(model, case["prompt_ids"], NUM_GREEDY_TOKENS)
        exact = parity.last_logits(model.double(), case["prompt_ids"])
        model.to(torch.float32)
        case["logits"] = [float(str(value)) for value in logits.numpy()]
        case["f32_relative_error"] = float(f"{parity.relative_error(logits, exact):.2e}")
        case |= generated
    texts = [{"text": text, "ids": tokenizer.encode_text(text)} for text in TEXTS]
    chats = [
        {
            "messages": messages,
            "add_generation_prompt": True,
            "rendered": tokenizer.render_chat(messages, True),
            "ids": tokenizer.encode_chat(messages, True),
        }
        for messages in CHATS
    ]
    for case in texts:
        if tokenizer.decode(case["ids"]) != case["text"]:
            raise AssertionError(f"{path}: {case['text']!r} does not survive encoding")
    return {"path": path, "notes": notes, "prompts": cases, "texts": texts, "chats": chats}


def write(out: pathlib.Path) -> None:
    """Makes the folders and files anew, reads each back, and writes what it computes."""
    shutil.rmtree(out, ignore_errors=True)
    chatml, headers = tiny_tokenizers.chatml(), tiny_tokenizers.headers()
    two_layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    tied = random_model(1, chatml, **two_layers, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE)
    llama3_shape = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1}
    llama3 = random_model(2, headers, **llama3_shape, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE)
    wide_shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    wide = random_model(3, chatml, **wide_shape, tie_word_embeddings=False, rope_parameters=DEFAULT_ROPE)
    bf16 = random_model(4, chatml, **two_layers, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE)

    pieces = tiny_sentencepiece.SentencePieceTokenizers()
    llama2_shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    llama2 = random_model(5, pieces, **llama2_shape, tie_word_embeddings=False, rope_parameters=DEFAULT_ROPE)

    gguf_files = [(f"tied-{kind.name.lower()}.gguf", tied, chatml, kind) for kind in tiny_gguf.FILE_TYPES]
    gguf_files.append(("llama3-f16.gguf", llama3, headers, QuantType.F16))
    gguf_files.append(("llama2-q8_0.gguf", llama2, pieces, QuantType.Q8_0))
    out.joinpath("gguf").mkdir(parents=True)
    models = []
    for name, model, tokenizer, kind in gguf_files:
        path = out / "gguf" / name
        tiny_gguf.write(path, model, tokenizer, kind)
        tensors = gguf_layout.Layout(model.config).restore(gguf.GGUFReader(path))
        read_back = gguf_layout.load_state(model.config, tensors)
        models.append(golden(f"gguf/{name}", read_back, tokenizer, f"matrices in {kind.name}, dequantised to f32"))

    # As Llama 3's own: several end tokens, and defaults for sampling.
    ends = [headers.plain.ids["<|eot_id|>"], headers.plain.ids["<|end_of_text|>"]]
    sampling = {"eos_token_id": ends, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    folders = [
        ("tied", tied, chatml, torch.float32, 5, {}, "f32, tied head"),
        ("llama3", llama3, headers, torch.float32, 4, {"defaults": sampling}, "f32, untied head, Llama 3 rope scaling"),
        ("llama2", llama2, pieces, torch.float16, 4, {}, "f16, untied head, SentencePiece tokenizer"),
        ("sharded", wide, chatml, torch.float16, 5, {"max_shard_size": "200KB"}, "f16 in two shards, head_dim 32"),
        ("bf16", bf16, chatml, torch.bfloat16, 5, {}, "bf16, tied head"),
    ]
    for name, model, tokenizer, dtype, version, options, notes in folders:
        save_folder(out / name, model, tokenizer, dtype, version, **options)
        read_back = transformers.AutoModelForCausalLM.from_pretrained(
            out / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        loaded = transformers.AutoTokenizer.from_pretrained(out / name)
        if loaded.encode(sentence(Sequence(3))) != tokenizer.hf.encode(sentence(Sequence(3))):
            raise AssertionError(f"{name}: the saved tokenizer is another one")
        models.append(golden(name, read_back, tokenizer, f"{notes}; computed in f32"))
    check_formats(models)
    header = {
        "format": "tiny/1",
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, f32, eager attention",
    }
    output.write_json(out.with_suffix(".json"), header, "models", models)


def check_formats(models: list[dict]) -> None:
    """The f32 GGUF must compute exactly what the folder does, and no lossy type may be far from it."""
    logits = {model["path"]: torch.tensor(model["prompts"][2]["logits"]) for model in models}
    if not torch.equal(logits["tied"], logits["gguf/tied-f32.gguf"]):
        raise AssertionError("the f32 GGUF and the folder it was made from differ")
    for path, near in logits.items():
        if path.startswith("gguf/"):
            base = logits[path.removeprefix("gguf/").split("-")[0]]
            print(f"{path}: {parity.relative_error(near, base):.1e} from the f32 weights")
