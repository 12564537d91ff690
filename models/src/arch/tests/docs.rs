//! The reference of the language: its examples build, and its table is the one in the code.

use crate::arch::{ArchFile, FactsTable, reference};

const DOCS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture-language.md"));

const TUTORIAL: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/write-an-architecture.md"));

/// The small model with what the examples read besides.
fn rich() -> FactsTable {
    let mut facts = super::small().with_tensor("position_embd.weight", &[64, 8]);
    let parts: [(&str, &[u64]); 10] = [
        ("attn_qkv.weight", &[24, 8]),
        ("ffn_gate_inp.weight", &[4, 8]),
        ("ffn_gate_exps.weight", &[4, 12, 8]),
        ("ffn_up_exps.weight", &[4, 12, 8]),
        ("ffn_down_exps.weight", &[4, 8, 12]),
        ("ssm_in.weight", &[26, 8]),
        ("ssm_conv1d.weight", &[16, 4]),
        ("ssm_dt.bias", &[2]),
        ("ssm_a", &[2, 1]),
        ("ssm_d", &[2, 1]),
    ];
    for layer in 0..2 {
        for (part, shape) in parts {
            facts = facts.with_tensor(&format!("blk.{layer}.{part}"), shape);
        }
    }
    facts
}

#[test]
fn examples_in_the_reference_build() {
    let mut examples = 0;
    let fences = DOCS.split("```arch\n").skip(1).chain(TUTORIAL.split("```arch\n").skip(1));
    for fence in fences {
        let text = fence.split("```").next().unwrap();
        examples += 1;
        let (whole, facts) = match text.starts_with("arch ") {
            true => (text.to_string(), FactsTable::smollm2_135m()),
            false => (super::with_body(text), rich()),
        };
        let file = ArchFile::parse("example", &whole).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        file.build(&facts).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    }
    assert!(examples >= 15);
}

#[test]
fn the_reference_lists_every_function() {
    let listed = DOCS.split("<!-- functions -->\n").nth(1).unwrap();
    assert_eq!(listed.trim(), reference().trim(), "paste this:\n{}", reference());
}
