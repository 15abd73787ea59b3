"""Writes a tiny Llama as GGUF in llama.cpp's conventions."""

import pathlib

import gguf
import numpy
import transformers

import gguf_layout
import tokenizing

QuantType = gguf.GGMLQuantizationType
FILE_TYPES = {
    QuantType.F32: gguf.LlamaFileType.ALL_F32,
    QuantType.F16: gguf.LlamaFileType.MOSTLY_F16,
    QuantType.BF16: gguf.LlamaFileType.MOSTLY_BF16,
    QuantType.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0,
    QuantType.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0,
    QuantType.Q4_1: gguf.LlamaFileType.MOSTLY_Q4_1,
}


def rope_factors(config: transformers.LlamaConfig) -> numpy.ndarray:
    """What Llama 3's rope scaling divides each rotary frequency by: the tensor rope_freqs.weight."""
    rope = config.rope_parameters
    frequencies = rope["rope_theta"] ** -(numpy.arange(0, config.head_dim, 2) / config.head_dim)
    wave_lengths = 2 * numpy.pi / frequencies
    longest = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    shortest = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    ratio = rope["original_max_position_embeddings"] / wave_lengths
    smooth = (ratio - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    between = 1 / ((1 - smooth) / rope["factor"] + smooth)
    factors = numpy.where(wave_lengths > longest, rope["factor"], numpy.where(wave_lengths < shortest, 1.0, between))
    return factors.astype(numpy.float32)


def add_tensors(writer: gguf.GGUFWriter, model: transformers.LlamaForCausalLM, kind: QuantType) -> None:
    """Every weight once: matrices in `kind` (the embedding table in Q8_0 when `kind` has 4 bits), norms in f32."""
    for name, values in gguf_layout.Layout(model.config).store(model.state_dict()):
        tensor_kind = QuantType.F32 if values.ndim == 1 else kind
        if name in ("token_embd.weight", "output.weight") and kind in (QuantType.Q4_0, QuantType.Q4_1):
            tensor_kind = QuantType.Q8_0
        writer.add_tensor(name, gguf.quantize(values, tensor_kind), raw_dtype=tensor_kind)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: tokenizing.Tokenizers) -> None:
    """Tokens with their types, and merges (byte-level BPE) or scores (SentencePiece)."""
    control = set(tokenizer.specials)
    types = [gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in tokenizer.vocabulary]
    writer.add_token_list(tokenizer.vocabulary)
    if tokenizer.pre_tokenizer is not None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(tokenizer.pre_tokenizer)
        writer.add_token_merges(tokenizer.merges)
    else:
        num_unscored = len(tokenizer.specials) + 256
        types[0] = gguf.TokenType.UNKNOWN
        types[len(tokenizer.specials) : num_unscored] = [gguf.TokenType.BYTE] * 256
        scores = [0.0] * num_unscored + [-float(rank) for rank in range(len(types) - num_unscored)]
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(scores)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(True)
    writer.add_token_types(types)


def add_shape(writer: gguf.GGUFWriter, config: transformers.PreTrainedConfig) -> None:
    """The counts that every architecture has."""
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)


def finish(writer: gguf.GGUFWriter) -> None:
    """Writes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(
    path: pathlib.Path, model: transformers.LlamaForCausalLM, tokenizer: tokenizing.Tokenizers, kind: QuantType
) -> None:
    """One GGUF file with weights, tokenizer and chat template."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_file_type(FILE_TYPES[kind])
    add_shape(writer, config)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    add_vocabulary(writer, tokenizer)
    writer.add_bos_token_id(tokenizer.plain.ids[tokenizer.bos])
    writer.add_eos_token_id(tokenizer.plain.ids[tokenizer.eos])
    writer.add_add_bos_token(tokenizer.adds_bos)
    writer.add_chat_template(tokenizer.chat_template)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    add_tensors(writer, model, kind)
    finish(writer)
