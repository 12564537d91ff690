//! Tests of tokenizers from JSON files against the Python package `tokenizers`.

use super::super::{ControlText, TokenKind};
use super::*;

/// Two small tokenizers, texts, and the ids that the Python package gives for them.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/tokenizer_json.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn tokenizer(name: &str, config: &str, generation: &str) -> Result<Tokenizer, TokenizerError> {
    let json = golden()[name]["tokenizer"].to_string();
    let optional = |text: &'static [u8]| Some(text).filter(|text| !text.is_empty());
    let leak = |text: &str| optional(text.as_bytes().to_vec().leak());
    Tokenizer::from_json(&JsonFiles {
        tokenizer: json.as_bytes(),
        config: leak(config),
        generation: leak(generation),
        chat_template: None,
    })
}

const CONFIG: &str =
    r#"{"bos_token": {"content": "<|bos|>", "lstrip": false}, "eos_token": "<|im_end|>"}"#;

#[test]
fn ids_are_the_librarys() {
    let golden = golden();
    for name in ["byte_level", "underlined"] {
        let tokenizer = tokenizer(name, "", "").unwrap();
        for (index, text) in golden["texts"].as_array().unwrap().iter().enumerate() {
            let text = text.as_str().unwrap();
            let expect = |kind: &str| ids(&golden[name][kind][index]);
            assert_eq!(tokenizer.encode(text, true).unwrap(), expect("special"), "{name} {text:?}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), expect("plain"), "{name} {text:?}");
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), expect("prompt"), "{name} {text:?}");
        }
    }
}

#[test]
fn streaming_gives_the_text_back() {
    let golden = golden();
    for (name, prefix) in [("byte_level", ""), ("underlined", " ")] {
        let tokenizer = tokenizer(name, "", "").unwrap();
        for text in golden["texts"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            let mut stream = tokenizer.stream(ControlText::Literal);
            let mut streamed = String::new();
            for id in tokenizer.encode(text, false).unwrap() {
                streamed.push_str(&stream.push(id).unwrap());
            }
            streamed.push_str(&stream.finish());
            let expect = if text.is_empty() { String::new() } else { format!("{prefix}{text}") };
            assert_eq!(streamed, expect, "{name}");
        }
    }
}

#[test]
fn kinds_bos_and_stops_are_the_folders() {
    let tokenizer = tokenizer("byte_level", CONFIG, r#"{"eos_token_id": [330, 5]}"#).unwrap();
    let [bos, end, tool] =
        ["<|bos|>", "<|im_end|>", "<tool>"].map(|text| tokenizer.encode(text, true).unwrap()[0]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(bos), Some(end)));
    assert!(tokenizer.adds_bos());
    assert_eq!(tokenizer.token_kind(end), Ok(TokenKind::Control));
    assert_eq!(tokenizer.token_kind(tool), Ok(TokenKind::UserDefined));
    let stops: Vec<_> = tokenizer.stop_tokens().iter().map(|s| (s.id, s.reason)).collect();
    let eos = |id| (id, StopReason::Eos);
    let mut expect = vec![eos(5), eos(330), eos(end)];
    expect.sort_by_key(|(id, _)| *id);
    expect.dedup();
    assert_eq!(stops, expect);
}

#[test]
fn whether_bos_is_added_is_the_configs_to_say() {
    let config = r#"{"bos_token": "<|bos|>", "add_bos_token": false}"#;
    assert!(!tokenizer("byte_level", config, "").unwrap().adds_bos());
    assert!(!tokenizer("byte_level", r#"{"bos_token": "<|im_end|>"}"#, "").unwrap().adds_bos());
    assert_eq!(tokenizer("underlined", "", "").unwrap().bos(), Some(1));
    assert!(tokenizer("underlined", "", "").unwrap().adds_bos());
}

#[test]
fn byte_tokens_are_bytes() {
    let tokenizer = tokenizer("underlined", "", "").unwrap();
    let ids = tokenizer.encode("😀", true).unwrap();
    assert_eq!(tokenizer.token_kind(ids[1]), Ok(TokenKind::Byte));
    assert_eq!(tokenizer.decode(&ids, ControlText::Omit).unwrap(), " 😀");
    assert_eq!(tokenizer.first_unencodable("日本 😀\n"), None);
}

#[test]
fn an_embedding_may_have_more_rows() {
    let tokenizer = tokenizer("byte_level", "", "").unwrap();
    let size = tokenizer.vocab_size();
    assert!(tokenizer.check_vocab(size).is_ok());
    assert!(tokenizer.check_vocab(size + 100).is_ok());
    assert!(tokenizer.check_vocab(size - 1).is_err());
    assert_eq!(tokenizer.token_piece(size as u32 + 5).unwrap(), "");
}

#[test]
fn errors_name_the_file() {
    let error =
        |config, generation| tokenizer("byte_level", config, generation).unwrap_err().to_string();
    assert!(error("{", "").starts_with("tokenizer_config.json: "));
    assert!(error("", r#"{"eos_token_id": "x"}"#).starts_with("generation_config.json: "));
    assert!(error("", r#"{"eos_token_id": 99999}"#).contains("99999"));
    for bytes in ["", "{}", r#"{"model": {"type": "BPE"}}"#, "[1]"] {
        let files = JsonFiles { tokenizer: bytes.as_bytes(), ..JsonFiles::default() };
        let error = Tokenizer::from_json(&files).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json"), "{error}");
    }
    let mut json = golden()["byte_level"]["tokenizer"].clone();
    json["decoder"] = serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let json = json.to_string();
    let files = JsonFiles { tokenizer: json.as_bytes(), ..JsonFiles::default() };
    assert_eq!(Tokenizer::from_json(&files).unwrap_err(), TokenizerError::UnsupportedDecoder);
}

#[test]
fn chat_templates_in_order_of_precedence() {
    let template = |config: &str, jinja| {
        let config = Some(config.as_bytes());
        JsonFiles { config, chat_template: jinja, ..JsonFiles::default() }.chat_template().unwrap()
    };
    assert_eq!(template(r#"{"chat_template": "a"}"#, None).as_deref(), Some("a"));
    assert_eq!(template(r#"{"chat_template": "a"}"#, Some("b")).as_deref(), Some("b"));
    let several = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(template(several, None).as_deref(), Some("d"));
    assert_eq!(template("{}", None), None);
}
