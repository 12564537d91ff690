"""Makes the models of this folder: random weights rounded to F16, written to GGUF under the names
and in the layouts of llama.cpp's converter, and what Hugging Face transformers computes for them.

    pip install torch transformers gguf numpy
    python make.py FOLDER [NAME ...]
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

PROMPT = [1, 17, 93, 200, 45, 45, 7, 128, 254, 66, 31, 90, 12, 150, 3, 77, 201, 18, 99, 140]
GREEDY = 12
WIDTH, HEADS, KV, FFN, VOCAB = 64, 4, 2, 72, 256
HEAD = WIDTH // HEADS
BASE = dict(vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=2,
            num_attention_heads=HEADS, max_position_embeddings=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=0)
GROUPED = dict(BASE, num_key_value_heads=KV)
KEYS = {"context_length": 512, "embedding_length": WIDTH, "attention.head_count": HEADS,
        "feed_forward_length": FFN}
KEYS_KV = dict(KEYS, **{"attention.head_count_kv": KV})
# Half as wide, for models of four layers.
NARROW = dict(GROUPED, hidden_size=WIDTH // 2, num_hidden_layers=4)
KEYS_NARROW = dict(KEYS_KV, embedding_length=WIDTH // 2)
RMS = "attention.layer_norm_rms_epsilon"
LN = "attention.layer_norm_epsilon"


def by_kind(groups, w):
    """Rows of `groups` × (queries of the group, a key, a value) as all queries, all keys, all
    values; `groups` of None: three of each head."""
    groups = groups or HEADS
    w = w.reshape(groups, -1, HEAD, *w.shape[1:])
    parts = [w[:, :-2], w[:, -2:-1], w[:, -1:]]
    return np.concatenate([p.reshape(-1, *w.shape[3:]) for p in parts])


def interleaved(heads, w):
    """Rows of each head in pairs of halves as neighbours."""
    return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def qkv_by_kind(groups):
    return lambda name, w: [(name, by_kind(groups, w) if "attn_qkv" in name else w)]


def qk_interleaved(name, w):
    if ".attn_q." in name or ".attn_k." in name:
        w = interleaved(HEADS if ".attn_q." in name else KV, w)
    return [(name, w)]


def plus_one(name, w):
    return [(name, w + 1 if name.endswith("norm.weight") else w)]


def dbrx(name, w):
    kinds = {"ffn_gate_exps": False, "ffn_up_exps": False, "ffn_down_exps": True}
    for kind, turned in kinds.items():
        if kind in name:
            w = w.reshape(4, -1, WIDTH)
            return [(name if name.endswith(".weight") else name + ".weight",
                     np.ascontiguousarray(w.swapaxes(1, 2)) if turned else w)]
    return [(name, w)]


# name: (architecture, class, configuration, metadata, change of tensors)
MODELS = {
    "gptneox": ("gptneox", "GPTNeoXForCausalLM", dict(BASE, rotary_pct=0.25, use_parallel_residual=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
        dict(KEYS, **{"rope.dimension_count": 4, "use_parallel_residual": True, LN: 1e-5}), qkv_by_kind(None)),
    "gptneox_serial": ("gptneox", "GPTNeoXForCausalLM", dict(BASE, use_parallel_residual=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
        dict(KEYS, **{"rope.dimension_count": 4, "use_parallel_residual": False, LN: 1e-5}), qkv_by_kind(None)),
    "phi2": ("phi2", "PhiForCausalLM", dict(BASE, hidden_size=48, num_attention_heads=3, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        dict(KEYS, **{"embedding_length": 48, "attention.head_count": 3, "attention.head_count_kv": 3, "rope.dimension_count": 8, LN: 1e-5}), None),
    "stablelm": ("stablelm", "StableLmForCausalLM", dict(GROUPED, tie_word_embeddings=True, use_qkv_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
        dict(KEYS_KV, **{"rope.dimension_count": 4, "use_parallel_residual": False, LN: 1e-5}), None),
    "stablelm_norms": ("stablelm", "StableLmForCausalLM", dict(GROUPED, tie_word_embeddings=True, use_parallel_residual=True, qk_layernorm=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
        dict(KEYS_KV, **{"rope.dimension_count": 4, "use_parallel_residual": True, LN: 1e-5}), None),
    "olmo": ("olmo", "OlmoForCausalLM", dict(GROUPED, clip_qkv=1.5),
        dict(KEYS_KV, **{LN: 1e-5, "attention.clamp_kqv": 1.5}), qk_interleaved),
    "olmo2": ("olmo2", "Olmo2ForCausalLM", dict(GROUPED, tie_word_embeddings=True),
        dict(KEYS_KV, **{RMS: 1e-5, "rope.freq_base": 10000.0}), None),
    "command_r": ("command-r", "CohereForCausalLM", dict(GROUPED, logit_scale=0.0625, use_qk_norm=False),
        dict(KEYS_KV, **{LN: 1e-5, "logit_scale": 0.0625, "rope.freq_base": 500000.0}), None),
    "command_r_norms": ("command-r", "CohereForCausalLM", dict(GROUPED, logit_scale=0.0625, use_qk_norm=True),
        dict(KEYS_KV, **{LN: 1e-5, "logit_scale": 0.0625, "rope.freq_base": 500000.0}), None),
    "cohere2": ("cohere2", "Cohere2ForCausalLM", dict(NARROW, logit_scale=0.0625, sliding_window=8),
        dict(KEYS_NARROW, **{LN: 1e-5, "logit_scale": 0.0625, "rope.freq_base": 10000.0, "rope.dimension_count": HEAD // 2, "attention.sliding_window": 8}), None),
    "starcoder2": ("starcoder2", "Starcoder2ForCausalLM", dict(GROUPED, sliding_window=None),
        dict(KEYS_KV, **{LN: 1e-5, "rope.freq_base": 10000.0}), None),
    "starcoder": ("starcoder", "GPTBigCodeForCausalLM", dict(vocab_size=VOCAB, n_embd=WIDTH, n_inner=FFN, n_layer=2, n_head=HEADS, n_positions=512, multi_query=True, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        dict(KEYS, **{"attention.head_count_kv": 1, LN: 1e-5}), None),
    "falcon": ("falcon", "FalconForCausalLM", dict(BASE, ffn_hidden_size=FFN, new_decoder_architecture=False, multi_query=True, parallel_attn=True, bias=False, alibi=False),
        dict(KEYS, **{"attention.head_count_kv": 1, LN: 1e-5}), qkv_by_kind(1)),
    "falcon_new": ("falcon", "FalconForCausalLM", dict(BASE, ffn_hidden_size=FFN, num_kv_heads=KV, new_decoder_architecture=True, bias=False, alibi=False),
        dict(KEYS, **{"attention.head_count_kv": KV, LN: 1e-5}), qkv_by_kind(KV)),
    # As Falcon's own files have it: each group's queries, key and value one after the other.
    "falcon_groups": ("falcon_groups", "FalconForCausalLM", dict(BASE, ffn_hidden_size=FFN, num_kv_heads=KV, new_decoder_architecture=True, bias=True, alibi=False),
        dict(KEYS, **{"attention.head_count_kv": KV, LN: 1e-5}), None),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM", dict(NARROW),
        dict(KEYS_NARROW, **{RMS: 1e-6, "rope.freq_base": 2000000.0}), qk_interleaved),
    "nemotron": ("nemotron", "NemotronForCausalLM", dict(GROUPED, tie_word_embeddings=True, head_dim=HEAD, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        dict(KEYS_KV, **{LN: 1e-5, "rope.freq_base": 10000.0, "rope.dimension_count": 8}), plus_one),
    "bloom": ("bloom", "BloomForCausalLM", dict(vocab_size=VOCAB, hidden_size=WIDTH, n_layer=2, n_head=HEADS, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        dict(KEYS, **{"feed_forward_length": 4 * WIDTH, "attention.head_count_kv": HEADS, LN: 1e-5}), qkv_by_kind(None)),
    "mpt": ("mpt", "MptForCausalLM", dict(vocab_size=VOCAB, d_model=48, n_heads=6, n_layers=2, expansion_ratio=1, max_seq_len=64, bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_config={"clip_qkv": 1.5, "alibi_bias_max": 8}),
        dict(KEYS, **{"embedding_length": 48, "attention.head_count": 6, "feed_forward_length": 4 * 48, LN: 1e-5, "attention.clamp_kqv": 1.5, "attention.max_alibi_bias": 8.0}), None),
    "gptj": ("gptj", "GPTJForCausalLM", dict(vocab_size=VOCAB, n_embd=WIDTH, n_inner=FFN, n_layer=2, n_head=HEADS, rotary_dim=8, n_positions=512, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False),
        dict(KEYS, **{LN: 1e-5, "rope.dimension_count": 8}), None),
    "exaone4": ("exaone4", "Exaone4ForCausalLM", dict(NARROW, sliding_window=8, sliding_window_pattern=4, layer_types=["sliding_attention"] * 3 + ["full_attention"]),
        dict(KEYS_NARROW, **{RMS: 1e-5, "rope.freq_base": 10000.0, "attention.sliding_window": 8, "attention.sliding_window_pattern": [True, True, True, False]}), None),
    "glm4": ("glm4", "Glm4ForCausalLM", dict(GROUPED, tie_word_embeddings=True, head_dim=HEAD, attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        dict(KEYS_KV, **{RMS: 1.5625e-7, "rope.freq_base": 10000.0, "rope.dimension_count": 8}), None),
    "persimmon": ("persimmon", "PersimmonForCausalLM", dict(BASE, qk_layernorm=True, rope_parameters={"rope_type": "default", "rope_theta": 25000.0, "partial_rotary_factor": 0.5}),
        dict(KEYS, **{"attention.head_count_kv": HEADS, LN: 1e-5, "rope.freq_base": 25000.0, "rope.dimension_count": 8}), None),
    "dbrx": ("dbrx", "DbrxForCausalLM", dict(vocab_size=VOCAB, d_model=WIDTH, n_heads=HEADS, n_layers=2, max_seq_len=512, bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_config={"kv_n_heads": KV, "clip_qkv": 1.5, "rope_theta": 10000.0}, ffn_config={"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}),
        dict(KEYS_KV, **{"feed_forward_length": 48, LN: 1e-5, "rope.freq_base": 10000.0, "attention.clamp_kqv": 1.5, "expert_count": 4, "expert_used_count": 2}), dbrx),
}
# Names that the converter's table lacks.
NAMES = {"lm_head.bias": "output.bias", "word_embeddings_layernorm": "token_embd_norm",
         "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm"}
ARCHITECTURES = {text: number for number, text in gguf.MODEL_ARCH_NAMES.items()}


def randomise(model, seed, plus):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, w in model.named_parameters():
            if w.dim() == 1 or "norm" in name.split(".")[-2] or "layernorm" in name:
                bias = name.endswith("bias")
                w.copy_((0.0 if bias or plus else 1.0) + (0.2 if bias else 0.3) * torch.randn(w.shape))
            else:
                size = 0.7 if "emb" in name or "wte" in name or "wpe" in name else 1.3 * w.shape[-1] ** -0.5
                w.copy_((size * torch.randn(w.shape)).half().float())
    model.tie_weights()


def tensors(model, arch, layers):
    table = gguf.get_tensor_name_map(ARCHITECTURES.get(arch, gguf.MODEL_ARCH.FALCON), layers)
    tied = model.config.tie_word_embeddings
    stacks = {}
    for name, w in model.state_dict().items():
        w = w.float().numpy()
        if "inv_freq" in name or "rotary" in name or tied and name == "lm_head.weight":
            continue
        if "layernorm.norms." in name:  # StableLM: a norm of each head.
            stem, head = name.split("layernorm.norms.")
            stacks.setdefault(stem + "layernorm.weight", []).append(w)
            continue
        name = name.removeprefix("transformer.") if arch == "bloom" else name
        yield name, table.get_name(name, try_suffixes=(".weight", ".bias")), w
    for name, parts in stacks.items():
        yield name, table.get_name(name, try_suffixes=(".weight", ".bias")), np.stack(parts)


def missing(name):
    """The name in GGUF of a tensor that the converter's table lacks."""
    for known, new in NAMES.items():
        layer, found, rest = name.rpartition(known)
        if found:
            number = [part for part in layer.split(".") if part.isdigit()]
            return (f"blk.{number[0]}." if number else "") + new + rest
    raise SystemExit(f"no name for {name}")


def expected(model):
    ids, greedy, gaps = list(PROMPT), [], []
    with torch.no_grad():
        rows = model(torch.tensor([ids]), use_cache=False).logits[0].float()
        for _ in range(GREEDY):
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
            top = torch.topk(logits, 2)
            gaps.append(round((top.values[0] - top.values[1]).item(), 5))
            greedy.append(top.indices[0].item())
            ids.append(greedy[-1])
    return {"prompt": PROMPT, "logits_last": [round(x, 5) for x in rows[-1].tolist()],
            "logits_rows_sum": [round(x, 4) for x in rows.double().sum(-1).tolist()],
            "greedy": greedy, "top1_gap": gaps}


def make(folder, name):
    arch, hf_class, config, keys, change = MODELS[name]
    model_class = getattr(transformers, hf_class)
    config_object = model_class.config_class(**config)
    config_object._attn_implementation = "eager"
    model = model_class(config_object).float().eval()
    randomise(model, sum(name.encode()), change is plus_one)
    layers = config.get("num_hidden_layers", 2)
    writer = gguf.GGUFWriter(folder / f"{name}.f16.gguf", arch)
    writer.add_uint32(f"{arch}.block_count", layers)
    for key, value in keys.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
               list: writer.add_array}[type(value)]
        add(f"{arch}.{key}", value)
    for hf_name, new, w in tensors(model, arch, layers):
        new = new or missing(hf_name)
        for to, w in change(new, w) if change else [(new, w)]:
            print(f"  {to} {list(w.shape)}")
            vector = w.ndim == 1 or "norm" in to
            writer.add_tensor(to, np.ascontiguousarray(w, np.float32 if vector else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    how = f"transformers {transformers.__version__}, float32, eager attention; weights random, rounded to f16"
    facts = {"arch": arch, "hf_class": hf_class, "config": config, **expected(model), "how": how}
    (folder / f"{name}.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    for each in sys.argv[2:] or MODELS:
        print(each)
        make(Path(sys.argv[1]), each)
