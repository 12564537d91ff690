//! Tiny models from file to logits: what Quarrel's reference computes against what Hugging Face
//! transformers computed (`tests/tiny/README.md`).

use quarrel_tests::tiny::{Tiny, check_reference};

macro_rules! check_each {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check_reference(&Tiny::open(stringify!($name)));
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
