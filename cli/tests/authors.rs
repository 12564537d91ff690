//! The commands of `docs/write-an-architecture.md`, run on a model that no file serves.

mod support;

use support::Bench;

const TUTORIAL: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/write-an-architecture.md"));
const LLAMA: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tiny/llama.f16.gguf"));

/// A model named `macaw`: a Llama under a name of the same length.
fn macaw() -> Vec<u8> {
    let mut bytes = LLAMA.to_vec();
    while let Some(at) = bytes.windows(5).position(|window| window == b"llama") {
        bytes[at..at + 5].copy_from_slice(b"macaw");
    }
    bytes
}

#[test]
fn the_tutorial_leads_to_tokens() {
    let bench = Bench::new();
    bench.file("macaw.gguf", &macaw());
    let blocks = TUTORIAL.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 7);
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(words[0], "quarrel");
        assert!(!bench.run(&words[1..]).ok().is_empty(), "{command}");
    }
}

#[test]
fn one_token_hides_the_style_and_two_show_it() {
    let bench = Bench::new();
    bench.file("macaw.gguf", &macaw());
    let draft = bench.run(&["arch", "new", "--from", "macaw.gguf"]).ok();
    bench.file("half.arch", draft.as_bytes());
    let right = draft.replace("style = half", "style = interleaved");
    assert_ne!(right, draft);
    bench.file("right.arch", right.as_bytes());
    let logits = |arch: &str, tokens: &str| {
        let fixed = ["logits", "macaw.gguf", "--device", "reference", "--json"];
        let given = ["--arch", arch, "--prompt-tokens", tokens];
        bench.run(&[fixed.as_slice(), &given].concat()).json()["logits"].clone()
    };
    assert_eq!(logits("half.arch", "1"), logits("right.arch", "1"));
    assert_ne!(logits("half.arch", "1,17"), logits("right.arch", "1,17"));
    bench
        .run(&["arch", "new", "--from", "macaw.gguf", "-o", "half.arch"])
        .refused(&["half.arch", "exists"]);
}
