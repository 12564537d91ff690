//! Tests of the pre-tokenizers: which words a text is cut into.

use super::*;

fn check(name: &str, text: &str, expect: &[&str]) {
    let mut words = Vec::new();
    let pre = PreTokenizer::named(name).unwrap();
    let done: Result<(), ()> = pre.split(text, &mut |word| {
        words.push(word.to_owned());
        Ok(())
    });
    done.unwrap();
    assert_eq!(words, expect, "{name} on {text:?}");
}

#[test]
fn every_name_compiles_and_is_listed() {
    let listed = supported_names();
    for name in FAMILIES.iter().flat_map(|family| family.names) {
        PreTokenizer::named(name).unwrap();
        assert!(listed.contains(name));
    }
}

#[test]
fn smollm_cuts_each_digit_off() {
    check("smollm", "a 12,3", &["a", " ", "1", "2", ",", "3"]);
    check("smollm", "x  7", &["x", "  ", "7"]);
    check("smollm", "½٣", &["½", "٣"]);
    check("gpt-2", "a 12,3", &["a", " 12", ",", "3"]);
}

#[test]
fn a_run_of_spaces_leaves_its_last_to_the_word() {
    check("gpt-2", "a   b", &["a", "  ", " b"]);
    check("gpt-2", "a\n\n\nb", &["a", "\n\n", "\n", "b"]);
    check("gpt-2", "a\u{3000}\u{a0}b", &["a", "\u{3000}", "\u{a0}", "b"]);
    check("gpt-2", "a   ", &["a", "   "]);
    check("gpt-2", " \t x", &[" \t", " x"]);
    check("qwen2", "a\n  \n  b", &["a", "\n  \n", " ", " b"]);
    check("qwen2", "a \r\n\r\n", &["a", " \r\n\r\n"]);
}

#[test]
fn contractions() {
    check("gpt-2", "I'll we'RE", &["I", "'ll", " we", "'", "RE"]);
    check("llama-bpe", "I'LL we'Re", &["I", "'LL", " we", "'Re"]);
    check("gpt-2", "''s 's", &["''", "s", " '", "s"]);
}

#[test]
fn digits_by_threes_or_one() {
    check("llama-bpe", "12345 6", &["123", "45", " ", "6"]);
    check("qwen2", "123", &["1", "2", "3"]);
}

#[test]
fn letters_take_one_sign_before_them() {
    check("llama-bpe", "(ab) -c\td", &["(ab", ")", " -", "c", "\td"]);
    check("tekken", "fooBar/\n", &["foo", "Bar", "/\n"]);
    check("gpt-4o", "Isn'tIt", &["Isn't", "It"]);
}
