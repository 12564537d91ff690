//! Tiny models from file to logits: what the reference computes, and the test device, fused and
//! unfused, prompts whole, in parts and token by token, against what Hugging Face transformers
//! computed (`tests/tiny/README.md`).

use quarrel_tests::tiny::{Tiny, check_device, check_reference};

macro_rules! check_each {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let tiny = Tiny::open(stringify!($name));
            check_reference(&tiny);
            check_device(&tiny);
        })*
    };
}

check_each!(
    llama,
    mistral,
    mixtral,
    qwen2,
    qwen3,
    qwen3moe,
    gemma2,
    gemma3,
    phi3,
    granite,
    granitemoe,
    granitehybrid,
    olmoe,
    gpt2,
    mamba,
    mamba2
);
