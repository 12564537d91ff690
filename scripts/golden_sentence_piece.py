#!/usr/bin/env python3
"""Makes tests/golden/sentence_piece.json: a small part of Gemma 3's vocabulary, and the ids that
llama.cpp gives for some texts with that part alone.

    pip install gguf xllamacpp
    scripts/golden_sentence_piece.py gemma-3-270m-q4_k_m.gguf tests/golden/sentence_piece.json

xllamacpp holds llama.cpp as a shared library, which is called directly.
"""

import ctypes
import glob
import json
import os
import random
import sys
import tempfile

import xllamacpp
from gguf import GGUFReader, GGUFWriter

# `</s>` is left out: a user-defined token to the file, which llama.cpp makes a control token because
# of its spelling.
PARTS = [
    "The", " quick", " brown", "fox", " ", "  ", "     ", "\n", "\n\n\n", "\t", "\r\n", "été", "日本語", "😀", "👩‍💻",
    "don't", "HTTPServer", "12345", "3.14", "<bos>", "<start_of_turn>", "<end_of_turn>", "<unk>", "<0x0A>",
    "▁", "▁a", "\u0000", "\u00a0", "\u200d", "return x + 1", "Zürich", "Привет", "ﬁ", "_", "==", "aaaaaaa", "<h1>",
]


def texts():
    chance = random.Random(1)
    return ["".join(chance.choices(PARTS, k=chance.randrange(1, 9))) for _ in range(150)]


def cut(vocabulary, texts):
    """Ids of the tokens that occur in the texts, of specials and of bytes: a token more, a token
    less than all would merge alike, but the file is small."""
    tokens, kinds = vocabulary["tokens"], vocabulary["token_types"]
    whole = "\0".join(texts).replace(" ", "▁")
    special = {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"}
    kept = lambda text, kind: kind == 6 or text in special or (kind in (1, 4) and text in whole)
    return [id for id, (text, kind) in enumerate(zip(tokens, kinds)) if kept(text, kind)]


def write(path, vocabulary, space_prefix):
    writer = GGUFWriter(path, "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_scores(vocabulary["scores"])
    writer.add_token_types(vocabulary["token_types"])
    writer.add_bos_token_id(vocabulary["tokens"].index("<bos>"))
    writer.add_eos_token_id(vocabulary["tokens"].index("<eos>"))
    writer.add_unk_token_id(vocabulary["tokens"].index("<unk>"))
    writer.add_add_space_prefix(space_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Parameters(ctypes.Structure):
    """llama_model_params, 80 bytes; `vocab_only` is the byte at 72."""

    _fields_ = [("bytes", ctypes.c_uint8 * 80)]


def llama():
    folder = os.path.dirname(xllamacpp.__file__)
    library = ctypes.CDLL(glob.glob(os.path.join(folder, "*.so"))[0])
    pointer = ctypes.c_void_p
    library.llama_model_default_params.restype = Parameters
    library.llama_model_load_from_file.restype = pointer
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Parameters]
    library.llama_model_get_vocab.restype = pointer
    library.llama_model_get_vocab.argtypes = [pointer]
    number, flag = ctypes.c_int32, ctypes.c_bool
    library.llama_tokenize.argtypes = [pointer, ctypes.c_char_p, number, ctypes.POINTER(number), number, flag, flag]
    return library


def encode(library, path, texts, special):
    parameters = library.llama_model_default_params()
    parameters.bytes[72] = 1
    model = library.llama_model_load_from_file(path.encode(), parameters)
    vocabulary = library.llama_model_get_vocab(model)
    out = []
    for text in texts:
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = library.llama_tokenize(vocabulary, data, len(data), ids, len(ids), False, special)
        out.append(ids[:count])
    return out


def main():
    fields = GGUFReader(sys.argv[1]).fields
    field = lambda name: fields[f"tokenizer.ggml.{name}"].contents()
    whole = {"tokens": field("tokens"), "scores": field("scores"), "token_types": field("token_type")}
    given = texts()
    kept = cut(whole, given)
    vocabulary = {name: [values[id] for id in kept] for name, values in whole.items()}
    library = llama()
    out = {
        "how": "llama.cpp (xllamacpp) over a part of Gemma 3's vocabulary: see "
        "scripts/golden_sentence_piece.py. No BOS; special: parse_special on; plain: off; prefixed: on, "
        "and add_space_prefix is true.",
        "vocabulary": vocabulary,
        "texts": given,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vocabulary.gguf")
        write(path, vocabulary, False)
        out["special"] = encode(library, path, given, True)
        out["plain"] = encode(library, path, given, False)
        write(path, vocabulary, True)
        out["prefixed"] = encode(library, path, given, True)
    with open(sys.argv[2], "w") as file:
        json.dump(out, file, separators=(",", ":"))


main()
