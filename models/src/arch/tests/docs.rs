//! The reference of the language: its examples build, and its table is the one in the code.

use crate::arch::{ArchFile, FactsTable, reference};

const DOCS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture-language.md"));

#[test]
fn examples_in_the_reference_build() {
    let mut examples = 0;
    for fence in DOCS.split("```arch\n").skip(1) {
        let text = fence.split("```").next().unwrap();
        examples += 1;
        let (whole, facts) = match text.starts_with("arch ") {
            true => (text.to_string(), FactsTable::smollm2_135m()),
            false => (super::with_body(text), super::small()),
        };
        let file = ArchFile::parse("example", &whole).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        file.build(&facts).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    }
    assert!(examples >= 4);
}

#[test]
fn the_reference_lists_every_function() {
    let listed = DOCS.split("<!-- functions -->\n").nth(1).unwrap();
    assert_eq!(listed.trim(), reference().trim(), "paste this:\n{}", reference());
}
