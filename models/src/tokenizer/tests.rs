//! Tests of the tokenizer on a small vocabulary: all bytes, a few merges, a few special tokens.

use proptest::prelude::*;

use super::*;

/// Merge rules of the small vocabulary.
const MERGES: &[&str] = &["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġ Ġ", "! !"];

/// 256 bytes, then what the merges make, then `<|end|>` (control), `<|end|>x` (control),
/// `<tool>` (user-defined) and `<unk>` (unknown).
pub(super) fn small_spec(pre: &str) -> TokenizerSpec {
    let mut tokens: Vec<String> =
        (0..=255).map(|b| byte_level::char_of_byte(b).to_string()).collect();
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    let mut token_types = vec![1; tokens.len()];
    for (text, kind) in [("<|end|>", 3), ("<|end|>x", 3), ("<tool>", 4), ("<unk>", 2)] {
        tokens.push(text.to_owned());
        token_types.push(kind);
    }
    TokenizerSpec {
        model: "gpt2".to_owned(),
        pre: pre.to_owned(),
        tokens,
        token_types,
        merges: MERGES.iter().map(|merge| (*merge).to_owned()).collect(),
        ..TokenizerSpec::default()
    }
}

fn small(pre: &str) -> Tokenizer {
    Tokenizer::from_spec(small_spec(pre)).unwrap()
}

fn pieces(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<String> {
    let ids = tokenizer.encode(text, special).unwrap();
    ids.iter().map(|&id| tokenizer.token_piece(id).unwrap()).collect()
}

fn error_of(change: impl FnOnce(&mut TokenizerSpec)) -> TokenizerError {
    let mut spec = small_spec("gpt-2");
    change(&mut spec);
    Tokenizer::from_spec(spec).unwrap_err()
}

#[test]
fn merges_by_rank_within_words() {
    let tokenizer = small("gpt-2");
    assert_eq!(pieces(&tokenizer, "hello world", false), ["hello", " wor", "l", "d"]);
    assert_eq!(pieces(&tokenizer, "", false), Vec::<String>::new());
}

#[test]
fn special_tokens_only_where_asked_for() {
    let tokenizer = small("gpt-2");
    assert_eq!(pieces(&tokenizer, "a<|end|>b", true), ["a", "<|end|>", "b"]);
    assert_eq!(pieces(&tokenizer, "a<|end|>x", true), ["a", "<|end|>x"]);
    assert_eq!(pieces(&tokenizer, "<|end|>", false).concat(), "<|end|>");
    assert_eq!(pieces(&tokenizer, "<|end|>", false).len(), 7);
    assert_eq!(pieces(&tokenizer, "a<tool>", false), ["a", "<tool>"]);
    assert_eq!(pieces(&tokenizer, "<unk>", true), ["<unk>"]);
}

#[test]
fn bos_only_before_prompts() {
    let mut spec = small_spec("gpt-2");
    spec.bos = Some(3);
    spec.add_bos = Some(true);
    let tokenizer = Tokenizer::from_spec(spec).unwrap();
    assert_eq!(tokenizer.encode_prompt("h").unwrap(), [3, u32::from(b'h')]);
    assert_eq!(tokenizer.encode("h", true).unwrap(), [u32::from(b'h')]);
}

#[test]
fn bos_by_the_pre_tokenizer_where_the_file_does_not_say() {
    let with_bos = |pre: &str, bos| {
        let spec = TokenizerSpec { bos, ..small_spec(pre) };
        Tokenizer::from_spec(spec).unwrap().adds_bos()
    };
    assert!(with_bos("llama-bpe", Some(3)));
    assert!(!with_bos("llama-bpe", None));
    assert!(!with_bos("smollm", Some(3)));
}

#[test]
fn whole_words_skip_merging_for_llama_bpe() {
    let with_whole = |pre: &str| {
        let mut spec = small_spec(pre);
        spec.tokens.push("held".to_owned());
        spec.token_types.push(1);
        pieces(&Tokenizer::from_spec(spec).unwrap(), "held", false)
    };
    assert_eq!(with_whole("llama-bpe"), ["held"]);
    assert_eq!(with_whole("gpt-2"), ["he", "l", "d"]);
}

#[test]
fn a_byte_without_a_token_gives_none_and_stops_merging() {
    let mut spec = small_spec("gpt-2");
    spec.tokens[7] = String::new();
    let tokenizer = Tokenizer::from_spec(spec).unwrap();
    assert_eq!(pieces(&tokenizer, "!\u{7}!", false), ["!", "!"]);
    assert_eq!(pieces(&tokenizer, "!!", false), ["!!"]);
    assert_eq!(tokenizer.first_unencodable("ab\u{7}c"), Some('\u{7}'));
    assert_eq!(tokenizer.first_unencodable("abc"), None);
}

#[test]
fn control_tokens_are_omitted_or_literal() {
    let tokenizer = small("gpt-2");
    let ids = tokenizer.encode("he<|end|><tool>", true).unwrap();
    assert_eq!(tokenizer.decode(&ids, ControlText::Omit).unwrap(), "he<tool>");
    assert_eq!(tokenizer.decode(&ids, ControlText::Literal).unwrap(), "he<|end|><tool>");
}

#[test]
fn stop_set_is_named_ids_and_spellings() {
    let mut spec = small_spec("gpt-2");
    spec.eos = Some(5);
    spec.eot = Some(6);
    let tokenizer = Tokenizer::from_spec(spec).unwrap();
    let stops: Vec<_> = tokenizer.stop_tokens().iter().map(|s| (s.id, s.reason)).collect();
    let end = 256 + MERGES.len() as u32;
    assert_eq!(stops, [(5, StopReason::Eos), (6, StopReason::Eot), (end, StopReason::Spelling)]);
}

#[test]
fn no_ids_no_stop() {
    let mut spec = small_spec("gpt-2");
    spec.tokens.truncate(256 + MERGES.len());
    spec.token_types.clear();
    assert_eq!(Tokenizer::from_spec(spec).unwrap().stop_tokens(), []);
}

#[test]
fn errors_name_what_is_wrong() {
    let text = |change: fn(&mut TokenizerSpec)| error_of(change).to_string();
    assert!(text(|s| s.pre = "nonesuch".into()).contains("`nonesuch` is not supported"));
    assert!(text(|s| s.pre = "nonesuch".into()).contains("smollm"));
    assert!(text(|s| s.model = "t5".into()).contains("`t5` is not supported"));
    assert!(text(|s| s.merges.push("he zz".into())).contains("\"zz\""));
    assert!(text(|s| s.merges.push("hello hello".into())).contains("\"hellohello\""));
    assert!(text(|s| s.merges.push("hello".into())).contains("merge 9 is not"));
    assert!(text(|s| s.merges.push("hello ".into())).contains("merge 9 is not"));
    assert!(text(|s| s.merges.push(" ".into())).contains("merge 9 is not"));
    assert!(text(|s| s.tokens.push("he".into())).contains("token types"));
    assert!(text(|s| s.tokens[9] = "he".into()).contains("tokens 9 and 256"));
    assert!(text(|s| s.token_types[3] = 9).contains("token 3 has the unknown type 9"));
    assert!(text(|s| s.eos = Some(5000)).contains("eos token id 5000"));
    assert!(text(|s| s.add_bos = Some(true)).contains("BOS"));
    assert!(text(|s| s.tokens.clear()).contains("empty"));
}

#[test]
fn ids_outside_the_vocabulary_are_errors() {
    let tokenizer = small("gpt-2");
    let size = tokenizer.vocab_size();
    assert!(tokenizer.token_piece(size as u32 - 1).is_ok());
    let error = TokenizerError::IdOutOfRange { id: u32::MAX, size };
    assert_eq!(tokenizer.token_piece(u32::MAX), Err(error));
    assert!(tokenizer.check_vocab(size).is_ok());
    assert_eq!(tokenizer.check_vocab(1), Err(TokenizerError::RowCount { size, rows: 1 }));
}

#[test]
fn a_broken_character_is_held_back_until_it_is_whole() {
    let tokenizer = small("gpt-2");
    let mut stream = tokenizer.stream(ControlText::Omit);
    let texts: Vec<_> = "é".bytes().map(|b| stream.push(u32::from(b)).unwrap()).collect();
    assert_eq!(texts, ["", "é"]);
    assert_eq!(stream.push(0xF0).unwrap(), "");
    assert_eq!(stream.push(u32::from(b'a')).unwrap(), "\u{FFFD}a");
    assert_eq!(stream.push(0xE2).unwrap(), "");
    assert_eq!(stream.finish(), "\u{FFFD}");
    assert_eq!(stream.finish(), "");
}

/// Text with what pre-tokenizers treat apart: spaces of all kinds, digits, contractions, marks.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "[ \t\r\n\u{a0}\u{3000}]{0,5}",
        "'(s|LL|re|d)?",
        "[a-z0-9٣½]{0,6}",
        "[日本é👩\u{200d}\u{301}]{0,4}",
        Just("hello world!!".to_owned()),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn streaming_gives_the_text_back(text in any_text(), family in 0usize..5) {
        let pre = ["smollm", "gpt-2", "llama-bpe", "qwen2", "tekken"][family];
        let tokenizer = small(pre);
        let ids = tokenizer.encode(&text, false).unwrap();
        let mut stream = tokenizer.stream(ControlText::Omit);
        let mut streamed = String::new();
        for &id in &ids {
            streamed.push_str(&stream.push(id).unwrap());
        }
        streamed.push_str(&stream.finish());
        prop_assert_eq!(&streamed, &text);
        prop_assert_eq!(tokenizer.decode(&ids, ControlText::Omit).unwrap(), text);
    }

    #[test]
    fn streaming_any_bytes_is_lossy_decoding(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..20),
    ) {
        let mut stream = Utf8Stream::default();
        let mut streamed: String = chunks.iter().map(|chunk| stream.push(chunk)).collect();
        streamed.push_str(&stream.finish());
        prop_assert_eq!(streamed, String::from_utf8_lossy(&chunks.concat()).into_owned());
    }

    #[test]
    fn streaming_never_breaks_a_character(text in any_text(), cut in 1usize..4) {
        let mut stream = Utf8Stream::default();
        let mut streamed = String::new();
        for chunk in text.as_bytes().chunks(cut) {
            streamed.push_str(&stream.push(chunk));
            prop_assert!(text.starts_with(&streamed));
        }
        prop_assert_eq!(streamed, text);
    }
}
