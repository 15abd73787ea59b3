"""llama.cpp by its C interface, out of the shared library of the PyPI package `xllamacpp`.

Only what perplexity needs: tokens to logits, and quantising rows. Structures that the library takes by value are handed
over as they came from its own functions for defaults, with the first few fields changed.
"""

import ctypes
import pathlib
import sysconfig

import numpy

# More than any structure of parameters takes; a callee reads what it knows.
PARAMETER_BYTES = 512


class Parameters(ctypes.Structure):
    """`llama_model_params` or `llama_context_params`, whatever is in them."""

    _fields_ = [("bytes", ctypes.c_uint8 * PARAMETER_BYTES)]


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def library() -> ctypes.CDLL:
    """The package's shared library, with the types of its functions."""
    folder = pathlib.Path(sysconfig.get_paths()["platlib"]) / "xllamacpp"
    library = ctypes.CDLL(str(next(folder.glob("xllamacpp*.so"))))
    pointer = ctypes.c_void_p
    for name, result, arguments in [
        ("llama_model_default_params", Parameters, []),
        ("llama_context_default_params", Parameters, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Parameters]),
        ("llama_init_from_model", pointer, [pointer, Parameters]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", ctypes.c_int32, [pointer]),
        ("llama_vocab_get_add_bos", ctypes.c_bool, [pointer]),
        ("llama_vocab_bos", ctypes.c_int32, [pointer]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
        ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
        ("llama_decode", ctypes.c_int32, [pointer, Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, ctypes.c_int32]),
        (
            "llama_tokenize",
            ctypes.c_int32,
            [pointer, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32]
            + [ctypes.c_bool] * 2,
        ),
        (
            "ggml_quantize_chunk",
            ctypes.c_size_t,
            [ctypes.c_int32, pointer, pointer, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, pointer],
        ),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    return library


class Model:
    """A loaded model with a context of `size` tokens."""

    def __init__(self, path: pathlib.Path, size: int):
        self.library = library()
        self.model = self.library.llama_model_load_from_file(
            str(path).encode(), self.library.llama_model_default_params()
        )
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        parameters = self.library.llama_context_default_params()
        # n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, the same for a sequence, n_threads and
        # n_threads_batch: as they are in xllamacpp 2026.10.
        counts = numpy.array([size, size, size, 1, 0, size, size, 2, 2], dtype="<u4").tobytes()
        ctypes.memmove(parameters.bytes, counts, len(counts))
        self.context = self.library.llama_init_from_model(self.model, parameters)
        self.vocabulary = self.library.llama_model_get_vocab(self.model)
        self.num_tokens = self.library.llama_vocab_n_tokens(self.vocabulary)
        self.batch = self.library.llama_batch_init(size, 0, 1)

    def bos(self) -> int | None:
        """The token that prompts begin with, if they do."""
        if not self.library.llama_vocab_get_add_bos(self.vocabulary):
            return None
        return self.library.llama_vocab_bos(self.vocabulary)

    def tokenise(self, text: str) -> list[int]:
        """Tokens of a plain text, without any in front."""
        encoded = text.encode()
        ids = (ctypes.c_int32 * (len(encoded) + 8))()
        count = self.library.llama_tokenize(self.vocabulary, encoded, len(encoded), ids, len(ids), False, False)
        return list(ids[:count])

    def logits(self, ids: list[int]) -> numpy.ndarray:
        """Logits after each of the tokens of a fresh sequence: `[tokens, vocab]`."""
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        self.batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            self.batch.token[place] = token
            self.batch.pos[place] = place
            self.batch.n_seq_id[place] = 1
            self.batch.seq_id[place][0] = 0
            self.batch.logits[place] = 1
        if self.library.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama.cpp cannot compute the window")
        rows = [
            numpy.ctypeslib.as_array(self.library.llama_get_logits_ith(self.context, place), (self.num_tokens,))
            for place in range(len(ids))
        ]
        return numpy.stack(rows)


def quantise(values: numpy.ndarray, type_number: int, num_bytes: int) -> numpy.ndarray:
    """Rows in a quantised type: `[rows, row_bytes]`. `num_bytes` is what the whole takes."""
    values = numpy.ascontiguousarray(values, dtype=numpy.float32)
    out = numpy.empty(num_bytes, dtype=numpy.uint8)
    rows, columns = values.shape
    written = library().ggml_quantize_chunk(
        type_number, values.ctypes.data, out.ctypes.data, 0, rows, columns, None
    )
    if written != num_bytes:
        raise RuntimeError(f"type {type_number}: {written} bytes, expected {num_bytes}")
    return out.reshape(rows, -1)
