//! The real Gemma 3 file (Q5_0, Q4_K, Q6_K and Q8_0 weights, SentencePiece), compiled and run on the
//! test device, against llama.cpp's results.
//!
//! The model is found through `QUARREL_TEST_GEMMA`; without it these tests fail.

use quarrel_ir::weight::WeightSource;
use quarrel_models::arch::Facts;
use quarrel_models::gguf::GgufFile;
use quarrel_models::synthetic::Synthetic;
use quarrel_tests::golden::{Golden, check_greedy, ids};

/// How far the perplexity may be from llama.cpp's, as a share of it.
const PERPLEXITY_WITHIN: f64 = 0.005;
/// Tokens of each continuation; its products with 262,144 rows take software devices long.
const TOKENS: usize = 16;

fn golden() -> Golden {
    Golden::open("QUARREL_TEST_GEMMA", "gemma3.json")
}

#[test]
fn texts_have_the_golden_tokens() {
    let golden = golden();
    let tokenizer = golden.tokenizer();
    for case in golden.cases() {
        let prompt = case["prompt"].as_str().unwrap_or_default();
        assert_eq!(tokenizer.encode_prompt(prompt).ok(), Some(ids(&case["tokens"])), "{prompt:?}");
    }
    let whole = tokenizer.encode_prompt(include_str!("../golden/perplexity.txt"));
    assert_eq!(whole.ok(), Some(ids(&golden.expected["perplexity"]["tokens"])));
}

#[test]
fn greedy_tokens_and_perplexity_of_the_fused_plan() {
    let golden = golden();
    let (tokenizer, mut session) = (golden.tokenizer(), golden.session(true));
    for case in golden.cases() {
        check_greedy(&mut session, &tokenizer, case, TOKENS);
    }
    let (found, wanted) = golden.perplexity(&mut session);
    let error = (found / wanted - 1.0).abs();
    println!("perplexity {found:.5}, not {wanted}: {error:.1e}");
    assert!(error < PERPLEXITY_WITHIN, "{found}, not {wanted}");
}

#[test]
fn greedy_tokens_of_the_unfused_plan() {
    let golden = golden();
    let (tokenizer, mut session) = (golden.tokenizer(), golden.session(false));
    check_greedy(&mut session, &tokenizer, &golden.cases()[1], TOKENS);
}

/// The shape of that name is this file's: the same tensors in the same formats.
#[test]
fn the_synthetic_shape_is_that_of_the_file() {
    let path = std::env::var("QUARREL_TEST_GEMMA").expect("QUARREL_TEST_GEMMA names the file");
    let file = GgufFile::open(path.as_ref()).unwrap();
    let shape = Synthetic::parse("gemma3-270m:Q4_K_M", None).unwrap();
    assert_eq!(file.tensors().count(), shape.tensor_names().len());
    for info in file.tensors() {
        assert_eq!(shape.info(&info.name), Some(info));
    }
}
