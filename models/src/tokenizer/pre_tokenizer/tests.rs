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

#[test]
fn digits_by_threes_from_the_end() {
    check("superbpe", "a 12345 678", &["a ", "12", "345", " ", "678"]);
    check("afmoe", "1234567", &["1", "234", "567"]);
    check("tiny_aya", "1234 1234x", &["1", "234", " ", "123", "4", "x"]);
    check("tiny_aya", "a  12", &["a", " ", " ", "12"]);
    check("falcon", "12345", &["123", "45"]);
}

#[test]
fn spaces_by_powers_of_two() {
    let spaces = |count: usize| " ".repeat(count);
    check("jais-2", &format!("a{}b", spaces(8)), &["a", &spaces(4), &spaces(2), " ", " b"]);
    check("jais-2", &spaces(1025), &[&spaces(512), &spaces(512), " "]);
    check("jais-2", " \u{3000}1", &[" ", "\u{3000}", "1"]);
}

#[test]
fn stages_cut_what_is_left() {
    check("default", "Hi, 1234!", &["Hi", ",", " ", "123", "4", "!"]);
    check("deepseek-llm", "ab ü 日本 \n", &["ab", " ü", " ", "日本", " ", "\n"]);
    check("deepseek-v3", "a.b 日本x", &["a", ".b", " ", "日本", "x"]);
    check("chameleon", "IMGIMGAZ    x7", &["IMGIMGAZ", "    ", "x", "7"]);
    check("bloom", "a, b。c", &["a", ",", " b", "。", "c"]);
    check("kimi-k2", "日本go's", &["日本", "go's"]);
}

#[test]
fn long_runs_take_no_time() {
    let started = std::time::Instant::now();
    for run in [" ", "7", "a", "\n", "日", "é!", " x"] {
        let text = run.repeat(300_000);
        for family in FAMILIES {
            let mut count = 0;
            let pre = PreTokenizer::named(family.names[0]).unwrap();
            let done: Result<(), ()> = pre.split(&text, &mut |word| {
                count += word.len();
                Ok(())
            });
            done.unwrap();
            assert_eq!(count, text.len());
        }
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
