//! Files that mean harm: they end in an error, soon, whatever they say.

use super::{build, small, with_body};
use crate::arch::{ArchFile, ErrorKind};
use proptest::prelude::*;

fn refused(body: &str) {
    let error = build(&with_body(body), &small()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
}

#[test]
fn nesting_is_bounded() {
    let many = 100_000;
    refused(&format!("  h = {}h{}", "(".repeat(many), ")".repeat(many)));
    refused(&format!("  h = {}h", "-".repeat(many)));
    refused(&format!("  h = h{}", " + h".repeat(many)));
    refused(&format!("  h = h{}", " ^ 2".repeat(many)));
    refused(&format!("  h = {}h{}", "silu(".repeat(many), ")".repeat(many)));
    refused(&format!("  h = h{}", "[0]".repeat(many)));
    refused(&format!("  h = {}h", "if true then h else ".repeat(many)));
    refused(&format!("{}h = h{}", "if true {".repeat(many), "}".repeat(many)));
    refused(&format!("if true {{ h = h }} {}", "else if true { h = h }".repeat(many / 2)));
}

#[test]
fn evaluation_is_bounded() {
    let mut doubling = String::from("  f0(x) = x + 1\n");
    for n in 1..40 {
        doubling += &format!("  f{n}(x) = f{p}(x) + f{p}(x)\n", p = n - 1);
    }
    refused(&format!("{doubling}  h = h * f39(1)"));
    refused(&format!("{doubling}  h = f39(h)"));
    let mut deep = String::from("  g0(x) = -x\n");
    for n in 1..200 {
        deep += &format!("  g{n}(x) = -g{p}(x)\n", p = n - 1);
    }
    refused(&format!("{deep}  h = h * g199(1)"));
    let many: String = (0..300).map(|n| format!("  f{n}() = 1\n")).collect();
    refused(&many);
    refused("  layers i in 0..1e9 { h = h }");
    refused(
        "  layers i in 0..4096 { t = \"\" }\n  layers i in 0..4096 { h = -----------------------------------------------------------------h }",
    );
}

#[test]
fn texts_and_alternatives_are_bounded() {
    refused("  t = \"ab\"\n  layers i in 0..40 { t = \"{t}{t}\" }\n  h = linear(h, t)");
    refused("  t = \"ab\"\n  layers i in 0..40 { t = t or t }\n  h = linear(h, t)");
    let long = format!("# {}", "x".repeat(2 << 20));
    assert_eq!(ArchFile::parse("a", &long).unwrap_err().kind(), ErrorKind::Limit);
}

proptest! {
    /// Any sequence of the language's own tokens is parsed, checked and built without a panic.
    #[test]
    fn token_soup_never_panics(soup in proptest::collection::vec(0usize..40, 0..60)) {
        const WORDS: [&str; 40] = [
            "h", "x", "i", "=", "(", ")", "{", "}", "[", "]", ",", "+", "-", "*", "/", "//", "%",
            "^", "==", "<", "\n", "\n", "layers", "in", "0..2", "if", "then", "else", "not", "or",
            "optional", "require", "none", "3", "\"up\"", "\"blk.{i}.q\"", "silu(", "linear(",
            "meta(\"kv\")", "tokens",
        ];
        let body: Vec<&str> = soup.iter().map(|word| WORDS[*word]).collect();
        let text = with_body(&body.join(" "));
        let _ = build(&text, &small());
        if let Ok(file) = ArchFile::parse("a", &text) {
            let _ = file.check(Some(&small()));
        }
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,80}") {
        let _ = build(&text, &small());
        let _ = build(&with_body(&text), &small());
    }
}
