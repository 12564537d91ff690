#!/usr/bin/env python3
"""Makes tests/golden/tokenizer_json.json: two small tokenizers as `tokenizer.json` describes them,
with the ids that the Python package `tokenizers` gives for some texts.

    pip install tokenizers==0.23.3
    scripts/golden_tokenizer_json.py tests/golden/tokenizer_json.json
"""

import json
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.decoders import ByteLevel

CORPUS = [
    "The quick brown fox jumps over the lazy dog",
    "hello world, hello there",
    "def f(x):\n    return x + 1",
    "été à Zürich 日本語",
    "I'll go, don't you?",
    "12345 and 678",
] * 3
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "",
    "hello world",
    "The quick  brown\n\n fox 12345!",
    "I'll say <tool>x<|im_end|> now <s>",
    "日本語 été 😀",
    "a\u0301 ñ\t\r\n",
    "<|bos|> hi </s>there",
    "   spaces   ",
]


def starting_with(tokenizer, token):
    tokens = [(token, tokenizer.token_to_id(token))]
    return processors.TemplateProcessing(single=f"{token} $A", special_tokens=tokens)


def byte_level():
    """In the manner of Llama 3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|bos|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    tokenizer.post_processor = starting_with(tokenizer, "<|bos|>")
    return tokenizer


def underlined():
    """In the manner of Llama 2."""
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(spaces)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, limit_alphabet=40, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    whole = json.loads(tokenizer.to_str())
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < 3]
    whole["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.post_processor = starting_with(tokenizer, "<s>")
    return tokenizer


def golden(tokenizer):
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    return {
        "tokenizer": json.loads(tokenizer.to_str()),
        "special": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS],
        "plain": [plain.encode(text, add_special_tokens=False).ids for text in TEXTS],
        "prompt": [tokenizer.encode(text).ids for text in TEXTS],
    }


def main():
    how = (
        "The Python package tokenizers 0.23.3, tokenizers trained on a few lines: see "
        "scripts/golden_tokenizer_json.py. special: special tokens recognised; plain: not; prompt: "
        "with what the post-processor adds."
    )
    out = {"how": how, "texts": TEXTS, "byte_level": golden(byte_level()), "underlined": golden(underlined())}
    with open(sys.argv[1], "w") as file:
        json.dump(out, file, separators=(",", ":"))


main()
