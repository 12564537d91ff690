//! Tiny models with random weights, and the binary run on them.
#![allow(dead_code, reason = "each test file uses part of it")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test helper")]

use quarrel_ir::format::Format;
use quarrel_models::gguf::write::GgufWriter;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub const WIDTH: u64 = 64;
pub const HEADS: u64 = 4;
pub const KV_HEADS: u64 = 2;
pub const FFN: u64 = 96;
pub const LAYERS: u64 = 2;
/// 256 bytes and four special tokens.
pub const VOCABULARY: u64 = 260;
pub const CONTEXT: u32 = 256;

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A model to write; changed fields make it wrong.
pub struct Tiny {
    pub tokenizer: bool,
    /// The chat template; empty: none.
    pub template: &'static str,
    pub layers: u32,
    pub heads: u32,
    pub vocabulary: u64,
    /// A tensor that is left out.
    pub without: &'static str,
}

impl Default for Tiny {
    fn default() -> Tiny {
        Tiny {
            tokenizer: true,
            template: TEMPLATE,
            layers: LAYERS as u32,
            heads: HEADS as u32,
            vocabulary: VOCABULARY,
            without: "",
        }
    }
}

impl Tiny {
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = GgufWriter::new()
            .metadata("general.architecture", "llama")
            .metadata("general.name", "tiny")
            .metadata("llama.block_count", self.layers)
            .metadata("llama.context_length", CONTEXT)
            .metadata("llama.embedding_length", WIDTH as u32)
            .metadata("llama.feed_forward_length", FFN as u32)
            .metadata("llama.attention.head_count", self.heads)
            .metadata("llama.attention.head_count_kv", KV_HEADS as u32)
            .metadata("llama.attention.layer_norm_rms_epsilon", 1e-5f32)
            .metadata("llama.rope.freq_base", 10_000f32)
            .metadata("llama.rope.dimension_count", (WIDTH / HEADS) as u32);
        if self.tokenizer {
            writer = self.with_tokenizer(writer);
        }
        let mut random = Random(7);
        for (name, shape) in self.tensors() {
            if name != self.without {
                let bytes = random.tensor(&shape);
                writer = writer.tensor(&name, Format::F32, &shape, &bytes);
            }
        }
        writer.finish()
    }

    fn with_tokenizer(&self, writer: GgufWriter) -> GgufWriter {
        let mut tokens: Vec<String> = (0..=255).map(char_of_byte).map(String::from).collect();
        let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|spare|>"];
        tokens.extend(special.map(String::from));
        let mut types = vec![1i32; 256];
        types.extend([3; 4]);
        let writer = writer
            .metadata("tokenizer.ggml.model", "gpt2")
            .metadata("tokenizer.ggml.pre", "gpt-2")
            .metadata(
                "tokenizer.ggml.tokens",
                tokens.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .metadata("tokenizer.ggml.token_type", types)
            .metadata("tokenizer.ggml.merges", Vec::<&str>::new())
            .metadata("tokenizer.ggml.bos_token_id", 256u32)
            .metadata("tokenizer.ggml.eos_token_id", 258u32)
            .metadata("tokenizer.ggml.add_bos_token", false);
        match self.template {
            text if !text.is_empty() => writer.metadata("tokenizer.chat_template", text),
            _ => writer,
        }
    }

    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let head = WIDTH / HEADS;
        let mut tensors = vec![
            ("token_embd.weight".into(), vec![self.vocabulary, WIDTH]),
            ("output_norm.weight".into(), vec![WIDTH]),
        ];
        // A model that claims to be absurdly deep has no more.
        for layer in 0..self.layers.min(64) {
            let parts: [(&str, Vec<u64>); 9] = [
                ("attn_norm", vec![WIDTH]),
                ("attn_q", vec![WIDTH, WIDTH]),
                ("attn_k", vec![KV_HEADS * head, WIDTH]),
                ("attn_v", vec![KV_HEADS * head, WIDTH]),
                ("attn_output", vec![WIDTH, WIDTH]),
                ("ffn_norm", vec![WIDTH]),
                ("ffn_gate", vec![FFN, WIDTH]),
                ("ffn_up", vec![FFN, WIDTH]),
                ("ffn_down", vec![WIDTH, FFN]),
            ];
            tensors
                .extend(parts.map(|(part, shape)| (format!("blk.{layer}.{part}.weight"), shape)));
        }
        tensors
    }
}

/// GPT-2's character for a byte.
fn char_of_byte(byte: u32) -> char {
    let prints = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = if prints(byte) {
        byte
    } else {
        0x100 + (0..byte).filter(|&before| !prints(before)).count() as u32
    };
    char::from_u32(code).unwrap()
}

struct Random(u64);

impl Random {
    fn tensor(&mut self, shape: &[u64]) -> Vec<u8> {
        let vector = shape.len() == 1;
        let scale = if vector { 0.1 } else { 1.7 / (*shape.last().unwrap() as f32).sqrt() };
        let centre = if vector { 1.0 } else { 0.0 };
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let elements = shape.iter().product::<u64>();
        (0..elements).flat_map(|_| (centre + scale * next()).to_le_bytes()).collect()
    }
}

/// A folder with models, and a user who has nothing else.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: TempDir::new().unwrap() }
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// Writes a model and gives its path.
    pub fn model(&self, tiny: &Tiny) -> String {
        self.file("tiny.gguf", &tiny.bytes())
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, "")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let nothing: PathBuf = self.folder.path().join("nothing");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quarrel"));
        command
            .args(arguments)
            .env("QUARREL_CACHE", &nothing)
            .env("OLLAMA_MODELS", &nothing)
            .env("XDG_CONFIG_HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run_with(&self, arguments: &[&str], input: &str) -> Finished {
        let mut child = self.command(arguments).spawn().unwrap();
        // A command that does not read its input may have closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Finished::of(child.wait_with_output().unwrap(), arguments)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
    arguments: Vec<String>,
}

impl Finished {
    fn of(output: Output, arguments: &[&str]) -> Finished {
        Finished {
            code: output.status.code().expect("the command ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            arguments: arguments.iter().map(|text| text.to_string()).collect(),
        }
    }

    /// Asserts success without noise and gives the output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.err, "", "{:?} made noise", self.arguments);
        self.out
    }

    /// Asserts success and parses the output as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Asserts an error of the user's, in one paragraph that has each of `words`.
    #[track_caller]
    pub fn refused(self, words: &[&str]) {
        assert_eq!(self.code, 2, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "not one paragraph: {}", self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert!(self.err.len() < 1500, "too long: {}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
        for debris in ["panicked", "Err(", "Some(", "RUST_BACKTRACE"] {
            assert!(!self.err.contains(debris), "{debris:?} is in: {}", self.err);
        }
    }
}

/// Asserts that a JSON object has these fields.
#[track_caller]
pub fn has(value: &serde_json::Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "{field:?} is missing: {value}");
    }
}
