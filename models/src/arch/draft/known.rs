//! Conventions that only an architecture's name tells: which pairs its rotary embedding turns, and
//! its activation. A name that is not here is none the worse: the draft assumes, and says so.

/// Names whose GGUF files turn elements 2i and 2i + 1.
const INTERLEAVED: [&str; 16] = [
    "llama",
    "mistral",
    "deci",
    "baichuan",
    "internlm2",
    "minicpm",
    "xverse",
    "command-r",
    "cohere2",
    "olmo",
    "arctic",
    "deepseek",
    "granite",
    "granitemoe",
    "granitehybrid",
    "smollm3",
];

/// Names whose GGUF files turn elements i and i + dims / 2.
const HALF: [&str; 23] = [
    "falcon",
    "dbrx",
    "stablelm",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "olmo2",
    "olmoe",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "gemma",
    "gemma2",
    "gemma3",
    "starcoder2",
    "openelm",
    "gptneox",
    "orion",
    "nemotron",
    "exaone",
];

/// Names whose feed-forward has a gate through `silu`.
const GATED_SILU: [&str; 21] = [
    "llama",
    "mistral",
    "internlm2",
    "minicpm",
    "xverse",
    "command-r",
    "cohere2",
    "olmo",
    "olmo2",
    "olmoe",
    "stablelm",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "phi3",
    "granite",
    "granitemoe",
    "granitehybrid",
    "smollm3",
];

/// Names whose feed-forward has `gelu` in its tanh form, gated or not.
const GELU: [&str; 10] = [
    "gemma",
    "gemma2",
    "gemma3",
    "gpt2",
    "gptneox",
    "falcon",
    "starcoder",
    "starcoder2",
    "phi2",
    "mpt",
];

/// The style of `rope`.
pub(super) fn rope_style(architecture: &str) -> Option<&'static str> {
    let is = |names: &[&str]| names.contains(&architecture);
    if is(&INTERLEAVED) {
        return Some("interleaved");
    }
    is(&HALF).then_some("half")
}

/// The activation of the feed-forward.
pub(super) fn activation(architecture: &str) -> Option<&'static str> {
    let is = |names: &[&str]| names.contains(&architecture);
    if is(&GATED_SILU) {
        return Some("silu");
    }
    is(&GELU).then_some("gelu")
}
