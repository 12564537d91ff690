//! Options that several commands share.

use clap::{Args, ValueEnum};
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{self, PlanOptions};
use std::path::PathBuf;

/// Positions that a session holds where neither the user nor the model asks for fewer.
const DEFAULT_CONTEXT: u64 = 4096;
/// Most prompt tokens of a step where the user does not say.
const DEFAULT_CHUNK: u32 = 512;

/// How a model is bound to a device.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Compilation")]
pub(crate) struct PlanArgs {
    /// Add an architecture file; one of the same name replaces a built-in one (repeatable)
    #[arg(long = "arch", value_name = "FILE")]
    pub(crate) arch: Vec<PathBuf>,
    /// Add a mapping file for a class of Hugging Face folders; it comes before a built-in one
    /// (repeatable)
    #[arg(long = "mapping", value_name = "FILE")]
    pub(crate) mapping: Vec<PathBuf>,
    /// The device: a number or part of a name as `quarrel devices` lists them, or `reference` for
    /// the slow, exact interpreter on the CPU
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Compile the graph op by op
    #[arg(long)]
    pub(crate) no_fuse: bool,
    /// Precision of products, and of keys and values where --kv does not say [default: auto]
    #[arg(long, value_enum)]
    pub(crate) precision: Option<Precision>,
    /// How keys and values are kept: F32, F16 or Q8_0 (blocks of 32 elements in 8 bits with a scale,
    /// about half of F16) [default: F16, or F32 with --precision f32]
    #[arg(long, value_name = "FORMAT", visible_aliases = ["kv-cache", "cache-type"],
          value_parser = cache_format)]
    pub(crate) kv: Option<StateFormat>,
    /// Positions that a sequence may have [default: the model's own, at most 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// Prompt tokens that are processed together; 1 is token by token [default: 512]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub(crate) chunk: Option<u32>,
    /// Expand the file's weights to F32, F16 or BF16 as they are loaded
    #[arg(long, value_name = "FORMAT", value_parser = float_format)]
    pub(crate) weights: Option<Format>,
    /// Leave variants of kernels that `quarrel tune` measured to be faster on this device
    #[arg(long)]
    pub(crate) no_tuned: bool,
}

/// Precision of arithmetic, and of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// Keys and values in F16; prompts, and steps of several sequences, multiplied in F16 with
    /// sums in F32 where the device has cooperative matrices; single steps on GPUs with Vulkan
    /// multiply long rows of 4- to 8-bit weights with x in integers of 16 bits
    Auto,
    /// F32 throughout
    F32,
}

impl Precision {
    pub(crate) fn planned(self) -> plan::Precision {
        match self {
            Precision::Auto => plan::Precision::Auto,
            Precision::F32 => plan::Precision::F32,
        }
    }
}

/// A plan that was saved.
#[derive(Args, Clone, Debug)]
pub(crate) struct SavedArgs {
    /// Run a plan that `quarrel plan --save` wrote, without compiling anything. A plan is a program for
    /// the device: take it from nobody whose programs you would not run
    #[arg(
        long = "plan",
        value_name = "FILE",
        help_heading = "Compilation",
        conflicts_with = "arch"
    )]
    pub(crate) saved: Option<PathBuf>,
}

impl PlanArgs {
    /// Whether the CPU interpreter was asked for.
    pub(crate) fn is_reference(&self) -> bool {
        self.device.as_deref().is_some_and(|device| device.eq_ignore_ascii_case("reference"))
    }

    /// Positions that a session holds, for a model that was trained for `model` of them.
    pub(crate) fn context(&self, model: Option<u64>) -> u32 {
        let usual = model.unwrap_or(DEFAULT_CONTEXT).clamp(1, DEFAULT_CONTEXT);
        // At most 4096.
        self.ctx.unwrap_or(usual as u32)
    }

    /// How keys and values are stored, where it is not as the graph says.
    pub(crate) fn state_format(&self) -> Option<StateFormat> {
        self.kv.or(match self.precision {
            Some(Precision::Auto) | None => None,
            Some(Precision::F32) => Some(StateFormat::F32),
        })
    }

    /// Options of a plan for `context` positions that yields logits of up to `out_rows` rows.
    pub(crate) fn plan_options(&self, context: u32, out_rows: u32) -> PlanOptions {
        let chunk = self.chunk.unwrap_or(DEFAULT_CHUNK).min(context).max(1);
        PlanOptions {
            context,
            chunk,
            slots: 1,
            out_rows: out_rows.clamp(1, chunk),
            fuse: !self.no_fuse,
            weights: self.weights,
            state: self.state_format(),
            precision: self.precision.map_or(plan::Precision::Auto, Precision::planned),
            ..PlanOptions::default()
        }
    }
}

/// A format that keys and values can be kept in.
fn cache_format(text: &str) -> Result<StateFormat, String> {
    let named = StateFormat::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(text));
    named.ok_or_else(|| "keys and values can be kept in f32, f16 or q8_0".into())
}

/// A format that weights can be expanded to.
fn float_format(text: &str) -> Result<Format, String> {
    match Format::from_name(text) {
        Some(format) if format.is_float() => Ok(format),
        _ => Err("weights can be expanded to F32, F16 or BF16".into()),
    }
}

/// What to process: text or token ids.
#[derive(Args, Clone, Debug)]
pub(crate) struct PromptArgs {
    /// The prompt; `-` reads it from the standard input
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    /// Token ids in place of a text, such as 1,17,93
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with = "prompt")]
    pub(crate) prompt_tokens: Option<Vec<u32>>,
}

/// How tokens are drawn.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 takes the likeliest token, so that output repeats itself
    #[arg(long, value_name = "T", allow_negative_numbers = true, default_value_t = 0.0)]
    pub(crate) temp: f32,
    /// Draw from the K likeliest tokens; 0 from all. Applies where the temperature is above 0, as
    /// do the next two
    #[arg(long, value_name = "K", allow_negative_numbers = true, default_value_t = 40)]
    pub(crate) top_k: u32,
    /// Draw from the likeliest tokens whose probability together reaches P; 1 from all
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = 0.95)]
    pub(crate) top_p: f32,
    /// Draw from tokens with at least this share of the likeliest one's probability; 0 from all
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = 0.05)]
    pub(crate) min_p: f32,
    /// Make tokens that occur in the last 64 less likely; 1 does not
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value_t = 1.0)]
    pub(crate) repeat_penalty: f32,
    /// Seed of the random numbers: the same seed gives the same text on the same device
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) seed: u64,
}
