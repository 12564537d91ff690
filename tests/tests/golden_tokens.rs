//! Token ids for the real SmolLM2 file against llama.cpp's, and its chat template.
//!
//! The model is found through `QUARREL_TEST_MODEL`; without it these tests fail.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use quarrel_models::chat::{ChatTemplate, Message, Tools};
use quarrel_models::gguf::GgufFile;
use quarrel_models::tokenizer::{ControlText, StopReason, Tokenizer, TokenizerSpec};
use serde_json::Value;

fn model() -> GgufFile {
    let path = std::env::var_os("QUARREL_TEST_MODEL").map(PathBuf::from).unwrap_or_else(|| {
        panic!("set QUARREL_TEST_MODEL to the path of SmolLM2-135M-Instruct.Q4_1.gguf")
    });
    GgufFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file's tokenizer, with another pre-tokenizer where `pre` is given.
fn tokenizer(pre: Option<&str>) -> Tokenizer {
    let mut spec = TokenizerSpec::from_metadata(model().metadata()).unwrap();
    if let Some(pre) = pre {
        spec.pre = pre.to_owned();
    }
    Tokenizer::from_spec(spec).unwrap()
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden_json(name: &str) -> Value {
    serde_json::from_str(&golden(name)).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    array(value).iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn prompts_have_the_golden_tokens() {
    let (tokenizer, golden) = (tokenizer(None), golden_json("smollm2.json"));
    for case in array(&golden["cases"]) {
        let prompt = text(&case["prompt"]);
        let expect = ids(&case["tokens"]);
        assert_eq!(tokenizer.encode_prompt(prompt).unwrap(), expect, "{prompt:?}");
        assert_eq!(tokenizer.decode(&expect, ControlText::Literal).unwrap(), prompt);
    }
}

#[test]
fn continuations_have_the_golden_text() {
    let (tokenizer, golden) = (tokenizer(None), golden_json("smollm2.json"));
    for case in array(&golden["cases"]) {
        let mut stream = tokenizer.stream(ControlText::Omit);
        let mut streamed = String::new();
        for id in ids(&case["greedy"]) {
            streamed.push_str(&stream.push(id).unwrap());
        }
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text(&case["text"]));
    }
}

#[test]
fn a_whole_text_has_the_golden_tokens() {
    let expect = ids(&golden_json("smollm2.json")["perplexity"]["tokens"]);
    let prose = golden("perplexity.txt");
    assert_eq!(tokenizer(None).encode(&prose, true).unwrap(), expect);
}

#[test]
fn random_texts_have_the_tokens_of_every_pre_tokenizer() {
    let golden = golden_json("smollm2_tokenizer.json");
    let texts = array(&golden["texts"]);
    for (pre, expect) in golden["special"].as_object().unwrap() {
        let tokenizer = tokenizer(Some(pre));
        for (given, expect) in texts.iter().zip(array(expect)) {
            let given = text(given);
            assert_eq!(tokenizer.encode(given, true).unwrap(), ids(expect), "{pre}: {given:?}");
        }
    }
    let tokenizer = tokenizer(None);
    for (given, expect) in texts.iter().zip(array(&golden["plain"])) {
        let given = text(given);
        assert_eq!(tokenizer.encode(given, false).unwrap(), ids(expect), "{given:?}");
    }
}

#[test]
fn the_stop_set_is_the_files_and_the_spelled() {
    let tokenizer = tokenizer(None);
    let stops: Vec<_> = tokenizer
        .stop_tokens()
        .iter()
        .map(|stop| (stop.id, stop.piece.as_str(), stop.reason))
        .collect();
    let expect = [(0, "<|endoftext|>", StopReason::Spelling), (2, "<|im_end|>", StopReason::Eos)];
    assert_eq!(stops, expect);
    assert!(tokenizer.check_vocab(49_152).is_ok());
    assert!(tokenizer.check_vocab(49_151).is_err());
}

#[test]
fn bytes_that_the_vocabulary_lacks_are_told() {
    let tokenizer = tokenizer(None);
    assert_eq!(tokenizer.first_unencodable("all of it, 日本語 and 😀"), None);
    assert_eq!(tokenizer.first_unencodable("a\u{4}b"), Some('\u{4}'));
}

#[test]
fn the_files_chat_template_renders() {
    let model = model();
    let source = model.metadata().string("tokenizer.chat_template").unwrap();
    let template = ChatTemplate::new(source, "<|im_start|>", "<|im_end|>").unwrap();
    let messages = [Message::new("system", "Be brief."), Message::new("user", "Hi")];
    assert_eq!(
        template.render(&messages, &Tools::default(), true).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}
