//! The mapping language.

use crate::hf::mapping::{Mapping, builtin};

#[test]
fn every_built_in_file_parses_and_serves_its_class() {
    let classes: Vec<&str> =
        builtin().iter().flat_map(|mapping| mapping.classes()).map(String::as_str).collect();
    for class in [
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Phi3ForCausalLM",
        "GraniteForCausalLM",
    ] {
        assert_eq!(classes.iter().filter(|known| **known == class).count(), 1, "{class}");
    }
}

#[test]
fn the_documentation_s_examples_parse() {
    let page = include_str!("../../../../docs/mapping-files.md");
    let mut examples = 0;
    for (index, example) in page.split("```map\n").skip(1).enumerate() {
        let text = example.split("```").next().unwrap();
        // Some show single lines.
        let whole = match text.contains("\nclass ") || text.starts_with("class ") {
            true => text.to_string(),
            false => format!("class C\narch llama\n{text}"),
        };
        Mapping::parse(&format!("example {index}"), &whole)
            .unwrap_or_else(|error| panic!("{error}"));
        examples += 1;
    }
    assert!(examples >= 2);
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, line, words) in [
        ("arch llama", 1, "names no class"),
        ("class A", 1, "no GGUF architecture"),
        ("class A\narch llama\nfoo x = 1", 3, "not `foo`"),
        ("class A\narch llama\nmeta x 1", 3, "`=` is expected here, not `1`"),
        ("class A\narch llama\nmeta x = (1 + ", 3, "a value is expected at the end"),
        ("class A\narch llama\nmeta x = 1 2", 3, "ends before `2`"),
        ("class A\narch llama\nmeta x =\n  a +\n  ?", 5, "`?` has no meaning"),
        ("class A\narch llama\nmeta x = 1\nmeta x = 2", 4, "defined already, in m.map, line 3"),
        ("class A\narch llama\ninclude llama\ntensor output.weight = x", 4, "before its `include`"),
        ("class A\narch llama\ninclude nothing", 3, "no built-in file \"nothing\""),
        ("class A\narch llama\ntensor a = rotate(b)", 3, "no transform `rotate`"),
        ("class A\narch llama\ntensor a = stack(b, 4)", 3, "needs the hole {e}"),
        ("class A\narch llama\ntensor a.{j} = b", 3, "a hole other than"),
        ("class A\narch llama\nmeta x = sqrt(1, 2)", 3, "takes 1 values, not 2"),
        ("class A\narch llama\nmeta x = cube(1)", 3, "no function `cube`"),
        ("class A\narch llama\nrequire x", 3, "`else` and a text"),
        ("class A\narch llama\nrequire x else \"y", 3, "no closing"),
        ("  class A", 1, "continues nothing"),
    ] {
        let error = Mapping::parse("m.map", text).expect_err(text);
        assert!(error.why.contains(words), "{error}");
        assert_eq!(error.line, line, "{error}");
    }
}

#[test]
fn absurd_files_are_refused() {
    let start = "class A\narch llama\nmeta x = ";
    for text in [
        format!("{start}{}1", "(".repeat(10_000)),
        format!("{start}{}1", "- ".repeat(10_000)),
        format!("{start}1{}", " + 1".repeat(10_000)),
        format!("{start}{}", "not ".repeat(300)),
        "#".repeat(1 << 20),
    ] {
        assert!(Mapping::parse("m.map", &text).is_err());
    }
}

mod random {
    use super::Mapping;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_never_panics(text in ".{0,200}") {
            let _ = Mapping::parse("m.map", &text);
            let _ = Mapping::parse("m.map", &format!("class A\narch a\nmeta x = {text}"));
        }

        #[test]
        fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte in 0x20..0x7fu8) {
            let mut text = include_str!("../../../hf/mixtral.map").as_bytes().to_vec();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = Mapping::parse("m.map", &String::from_utf8(text).unwrap());
        }
    }
}
