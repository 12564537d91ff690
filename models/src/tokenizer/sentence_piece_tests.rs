//! Tests of SentencePiece's merging on a small vocabulary.

use proptest::prelude::*;

use super::super::{ControlText, Tokenizer};
use super::*;

/// Texts and scores. Then follow 256 byte tokens.
const TOKENS: &[(&str, f32)] = &[
    ("<unk>", 0.0),
    ("<s>", 0.0),
    ("</s>", 0.0),
    ("▁", -1.0),
    ("a", -2.0),
    ("b", -3.0),
    ("c", -4.0),
    ("ab", -10.0),
    ("bc", -9.0),
    ("aa", -8.0),
    ("aaa", -8.0),
    ("▁a", -20.0),
    ("▁▁", -5.0),
    ("é", -6.0),
    ("abc", -1.5),
    ("<tool>", 0.0),
];

fn small_spec() -> TokenizerSpec {
    let bytes = (0..=255).map(|byte| (byte_token(byte), 0.0));
    let tokens = TOKENS.iter().map(|(text, score)| ((*text).to_owned(), *score)).chain(bytes);
    let (tokens, scores): (Vec<String>, Vec<f32>) = tokens.unzip();
    let mut token_types = vec![6; tokens.len()];
    token_types[..TOKENS.len()].fill(1);
    (token_types[0], token_types[1], token_types[2]) = (2, 3, 3);
    token_types[TOKENS.len() - 1] = 4;
    TokenizerSpec { model: "llama".into(), tokens, token_types, scores, ..Default::default() }
}

fn tokenizer(change: impl FnOnce(&mut TokenizerSpec)) -> Tokenizer {
    let mut spec = small_spec();
    change(&mut spec);
    Tokenizer::from_spec(spec).unwrap()
}

fn without_prefix() -> Tokenizer {
    tokenizer(|spec| spec.add_space_prefix = Some(false))
}

/// Texts of the ids of `text`, spelled as in the vocabulary.
fn check(tokenizer: &Tokenizer, text: &str, expect: &[&str]) {
    let ids = tokenizer.encode(text, true).unwrap();
    let spec = small_spec();
    let texts: Vec<_> = ids.iter().map(|&id| spec.tokens[id as usize].as_str()).collect();
    assert_eq!(texts, expect, "{text:?}");
}

#[test]
fn the_highest_score_first_then_the_leftmost() {
    let tokenizer = without_prefix();
    check(&tokenizer, "ab", &["ab"]);
    check(&tokenizer, "bab", &["b", "ab"]);
    check(&tokenizer, "abc", &["abc"]);
    check(&tokenizer, "aabc", &["aa", "bc"]); // not `a`, `abc`: `aa` comes before `bc`, both before `ab`
    check(&tokenizer, "aaaa", &["aaa", "a"]); // `aa` at 0, then `aaa` at 0 before `aa` at 2
    check(&tokenizer, "", &[]);
}

#[test]
fn a_space_goes_before_what_begins_or_follows_a_special_token() {
    let with_prefix = tokenizer(|_| {});
    check(&with_prefix, "a", &["▁a"]);
    check(&with_prefix, " a", &["▁▁", "a"]);
    check(&with_prefix, "a<s>a", &["▁a", "<s>", "▁a"]);
    check(&with_prefix, "<tool>b a", &["<tool>", "▁", "b", "▁a"]);
    check(&with_prefix, "", &[]);
    check(&without_prefix(), "a<s>a", &["a", "<s>", "a"]);
}

#[test]
fn characters_without_a_token_are_bytes() {
    let tokenizer = without_prefix();
    check(&tokenizer, "é\n日a", &["é", "<0x0A>", "<0xE6>", "<0x97>", "<0xA5>", "a"]);
    assert_eq!(tokenizer.first_unencodable("日 é"), None);
}

#[test]
fn characters_without_bytes_are_the_unknown_token() {
    let tokenizer = tokenizer(|spec| {
        spec.add_space_prefix = Some(false);
        spec.tokens[TOKENS.len() + 0x97] = "spare".to_owned();
    });
    check(&tokenizer, "a日本b", &["a", "<unk>", "<0xE6>", "<0x9C>", "<0xAC>", "b"]);
    assert_eq!(tokenizer.first_unencodable("a本日"), Some('日'));
}

#[test]
fn an_ascii_byte_may_be_a_token_as_it_stands() {
    let tokenizer = tokenizer(|spec| spec.tokens[TOKENS.len() + 0x0A] = "\n".to_owned());
    assert_eq!(tokenizer.encode("\n", true).unwrap(), [3, TOKENS.len() as u32 + 10]);
}

#[test]
fn bos_goes_before_prompts_unless_the_file_says_otherwise() {
    assert_eq!(tokenizer(|_| {}).encode_prompt("a").unwrap(), [1, 11]);
    assert_eq!(tokenizer(|spec| spec.add_bos = Some(false)).encode_prompt("a").unwrap(), [11]);
    assert_eq!(tokenizer(|_| {}).eos(), Some(2));
    assert_eq!(tokenizer(|spec| spec.eos = Some(1)).eos(), Some(1));
}

#[test]
fn byte_tokens_make_up_a_character_in_a_stream() {
    let tokenizer = without_prefix();
    let ids = tokenizer.encode("a 日", true).unwrap();
    let mut stream = tokenizer.stream(ControlText::Omit);
    let texts: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(texts, ["a", " ", "", "", "日"]);
    assert_eq!(tokenizer.token_piece(TOKENS.len() as u32 + 0x41).unwrap(), "A");
    assert_eq!(tokenizer.decode(&[1, 3, 0, 4], ControlText::Omit).unwrap(), " a");
    assert_eq!(tokenizer.decode(&[1, 3, 0], ControlText::Literal).unwrap(), "<s> <unk>");
}

#[test]
fn ids_are_llama_cpps() {
    let golden = include_str!("../../../tests/golden/sentence_piece.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let vocabulary = &golden["vocabulary"];
    let tokens: Vec<String> = serde_json::from_value(vocabulary["tokens"].clone()).unwrap();
    let id = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
    for (name, special, space) in
        [("special", true, false), ("plain", false, false), ("prefixed", true, true)]
    {
        let tokenizer = Tokenizer::from_spec(TokenizerSpec {
            model: "llama".into(),
            scores: serde_json::from_value(vocabulary["scores"].clone()).unwrap(),
            token_types: serde_json::from_value(vocabulary["token_types"].clone()).unwrap(),
            bos: id("<bos>"),
            eos: id("<eos>"),
            unk: id("<unk>"),
            add_space_prefix: Some(space),
            tokens: tokens.clone(),
            ..TokenizerSpec::default()
        })
        .unwrap();
        let texts = golden["texts"].as_array().unwrap();
        let expect: Vec<Vec<u32>> = serde_json::from_value(golden[name].clone()).unwrap();
        assert_eq!(texts.len(), expect.len());
        for (text, expect) in texts.iter().zip(expect) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, special).unwrap(), expect, "{name} {text:?}");
        }
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let error_of = |change: fn(&mut TokenizerSpec)| {
        let mut spec = small_spec();
        change(&mut spec);
        Tokenizer::from_spec(spec).unwrap_err().to_string()
    };
    assert!(error_of(|spec| spec.scores.truncate(9)).contains("272 tokens but 9 scores"));
    assert!(error_of(|spec| spec.scores[7] = f32::NAN).contains("score of token 7"));
    assert!(error_of(|spec| spec.tokens[8] = "ab".into()).contains("tokens 7 and 8"));
}

#[test]
fn a_long_text_without_spaces_takes_no_time() {
    let tokenizer = without_prefix();
    let started = std::time::Instant::now();
    let text = "abcaab".repeat(100_000);
    assert_eq!(
        tokenizer.decode(&tokenizer.encode(&text, true).unwrap(), ControlText::Omit).unwrap(),
        text
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// Merging as its definition says it: look at all pairs, take the best, begin again.
fn merged_plainly(model: &SentencePiece, text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let score = |at: usize| model.token(&pieces[at..at + 2].concat()).map(|(_, score)| score);
        let scored = (0..pieces.len().saturating_sub(1)).filter_map(|at| Some((score(at)?, at)));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((_, at)) = best else { return pieces };
        let right = pieces.remove(at + 1);
        pieces[at].push_str(&right);
    }
}

proptest! {
    #[test]
    fn merging_is_what_its_definition_says(text in "[abcé▁x]{0,30}") {
        let model = SentencePiece::new(&mut small_spec()).unwrap();
        let mut merging = Merging::new(&model, &text);
        merging.run();
        prop_assert_eq!(merging.pieces().collect::<Vec<_>>(), merged_plainly(&model, &text));
    }

    #[test]
    fn streaming_gives_the_text_back(text in any::<String>()) {
        let tokenizer = without_prefix();
        let ids = tokenizer.encode(&text, false).unwrap();
        let mut stream = tokenizer.stream(ControlText::Omit);
        let mut streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        streamed.push_str(&stream.finish());
        // A `▁` in the text is a space to the tokenizer.
        prop_assert_eq!(streamed, text.replace(SPACE, " "));
    }
}
