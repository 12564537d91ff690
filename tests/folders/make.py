#!/usr/bin/env python3
"""Makes the folders beside this file: a tiny random model of each class, as Hugging Face
transformers writes it, and the logits of every position that transformers computes in F32.

    pip install torch==2.15.0 transformers==5.23.0
    python tests/folders/make.py

Sizes are chosen to be no multiples of anything; tensors are BF16.
"""

import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
TOKENS = [(7 * i * i + 3 * i + 5) % 30 for i in range(24)]
SHAPE = {
    "vocab_size": 30, "hidden_size": 20, "intermediate_size": 26, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}
DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
FACTORS = {"short_factor": [1.0, 1.4], "long_factor": [1.5, 3.0]}
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 8.0, "beta_slow": 2.0,
    "original_max_position_embeddings": 64,
}
MODELS = {
    "llama": ("LlamaConfig", {"head_dim": 6, "attention_bias": True, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
    "mistral": ("MistralConfig", {"head_dim": 6, "sliding_window": 5, "rope_parameters": DEFAULT}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 3, "num_experts_per_tok": 2,
                                  "head_dim": 6, "rope_parameters": DEFAULT}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True, "num_attention_heads": 2,
                              "num_key_value_heads": 1,
                              "rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "qwen3moe": ("Qwen3MoeConfig", {"head_dim": 10, "num_experts": 4, "num_experts_per_tok": 2,
                                    "moe_intermediate_size": 14, "norm_topk_prob": True,
                                    "rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.3}}),
    "gemma2": ("Gemma2Config", {"head_dim": 6, "sliding_window": 5, "query_pre_attn_scalar": 9,
                                "attn_logit_softcapping": None, "final_logit_softcapping": 2.0,
                                "rope_parameters": DEFAULT}),
    "phi3": ("Phi3Config", {"num_attention_heads": 5, "num_key_value_heads": 5,
                            "original_max_position_embeddings": 64, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0,
        "original_max_position_embeddings": 64, **FACTORS}}),
    "granite": ("GraniteConfig", {"head_dim": 6, "attention_multiplier": 0.2, "embedding_multiplier": 6.0,
                                  "residual_multiplier": 0.4, "logits_scaling": 4.0,
                                  "rope_parameters": DEFAULT}),
}
# Written with the keys that transformers used before its version 5.
BEFORE = {"granite", "phi3", "qwen3moe"}
SHARDED = {"llama"}


def randomise(model, norms):
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() > 1:
                values.normal_(0, 0.3)
            elif "norm" in name:
                values.normal_(norms, 0.2)
            else:
                values.normal_(0, 0.3)
    model.tie_weights()


def rewrite(path):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config.pop("layer_types", None)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def main():
    torch.manual_seed(1)
    expected = {"tokens": TOKENS, "logits": {}}
    for name, (kind, own) in MODELS.items():
        config = getattr(transformers, kind)(**{**SHAPE, **own})
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        randomise(model, 0.0 if name == "gemma2" else 1.0)
        model = model.bfloat16().eval()
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        model.save_pretrained(folder, max_shard_size="8KB" if name in SHARDED else "1GB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in BEFORE:
            rewrite(folder / "config.json")
        with torch.no_grad():
            # Rotations keep F32: their buffers are made again.
            whole = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager",
                experts_implementation="eager").eval()
            logits = whole(torch.tensor([TOKENS])).logits[0]
        expected["logits"][name] = [[float(f"{x:.6g}") for x in row] for row in logits.tolist()[-4:]]
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


main()
