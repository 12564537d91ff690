//! Chat templates: a conversation as the text that the model was trained on.
//!
//! A template is a Jinja program in the model's file. It runs here as Hugging Face transformers
//! runs it (same globals, same whitespace rules), except that it is not trusted: the work and the
//! memory of a rendering are bounded, by fuel and by what [`guard`] adds.
//!
//! What is known to differ: `none` can be gone through, as a list without items; `|safe` marks
//! nothing; `~`, lists and maps write numbers below 1e-4 or from 1e16 on with other exponents;
//! times are UTC. The operator `%` on text and rare filters are errors that name them.

mod clock;
mod conversation;
mod error;
mod filters;
mod guard;
mod json;
mod methods;
mod python;
mod strings;

pub use conversation::{Message, Tools};
pub use error::ChatError;

use error::Raised;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

/// Work that any template may do: about as many instructions, or 64 times as many bytes.
const BASE_FUEL: u64 = 400_000;

/// Work that each message adds to that.
const FUEL_A_MESSAGE: u64 = 10_000;

/// Work that each byte of the tools' JSON adds: some templates walk through all that it says.
const FUEL_A_TOOL_BYTE: u64 = 16;

/// The name that the engine knows the template by.
const NAME: &str = "chat_template";

/// A model's chat template, ready to run.
#[derive(Clone)]
pub struct ChatTemplate {
    engine: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Reads a template. `bos_text` and `eos_text` are the spellings of the model's BOS and EOS
    /// tokens (empty where it has none), which templates may write out.
    ///
    /// # Errors
    ///
    /// [`ChatError::Syntax`] with the line at which the template is not well formed, or
    /// [`ChatError::TooLong`].
    pub fn new(source: &str, bos_text: &str, eos_text: &str) -> Result<ChatTemplate, ChatError> {
        let (bytes, limit) = (source.len(), guard::MAX_SOURCE);
        if bytes > limit {
            return Err(ChatError::TooLong { bytes, limit });
        }
        // As Jinja reads a source: whatever ends its lines, its text has line feeds.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let source = without_generation_marks(&source);
        let engine = guard::run(move || read(source).map_err(|error| ChatError::syntax(&error)))?;
        Ok(ChatTemplate { engine, bos: bos_text.to_owned(), eos: eos_text.to_owned() })
    }

    /// The text of a conversation with a model that may call `tools`. `add_generation_prompt`
    /// appends what begins an answer.
    ///
    /// # Errors
    ///
    /// [`ChatError::Refused`] where the template itself objects (many refuse a system message, or
    /// two turns by the same side); otherwise what went wrong and at which line.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &Tools,
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        let bytes: u64 = messages.iter().map(|message| message.bytes).sum();
        let mut engine = self.engine.clone();
        let fuel = BASE_FUEL + FUEL_A_MESSAGE * messages.len() as u64 + bytes;
        engine.set_fuel(Some(fuel + FUEL_A_TOOL_BYTE * tools.bytes));
        let messages: Vec<Value> = messages.iter().map(|message| message.fields.clone()).collect();
        // Without any, none rather than undefined: templates ask for `tools is not none`.
        let tools = (!tools.is_empty()).then(|| tools.each.clone());
        let context = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => tools,
            documents => (),
        };
        guard::run(move || {
            let rendered = engine.get_template(NAME).and_then(|template| template.render(context));
            rendered.map_err(|error| ChatError::render(&error))
        })
    }

    /// Whether this template says nothing of `tools`: the text of the conversation is the same
    /// without them.
    ///
    /// # Errors
    ///
    /// Those of [`ChatTemplate::render`] with the tools.
    pub fn ignores(&self, tools: &Tools, messages: &[Message]) -> Result<bool, ChatError> {
        let with = self.render(messages, tools, true)?;
        // A template that fails without tools does look at them.
        Ok(self.render(messages, &Tools::default(), true).is_ok_and(|without| without == with))
    }
}

/// An engine that has read a template.
fn read(source: String) -> Result<Environment<'static>, minijinja::Error> {
    let mut engine = Environment::new();
    engine.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    engine.set_unknown_method_callback(methods::call);
    engine.add_function("raise_exception", raise_exception);
    engine.add_function("strftime_now", |format: &str| clock::format_now(format));
    filters::install(&mut engine);
    python::install(&mut engine);
    engine.add_template_owned(NAME, source)?;
    Ok(engine)
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

/// What a template calls to refuse a conversation.
fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

/// Some templates mark what the assistant said with `{% generation %}` … `{% endgeneration %}`,
/// for training. The marks change nothing in the text; here they become a block that does not
/// either, so that their whitespace control is kept.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        // The mark that opens a tag is no part of the one that closes it: `{%}` closes nothing.
        let Some(close) = tag[2..].find("%}").map(|at| at + 2) else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(close + 2);
        let word = tag[2..close].trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        match word {
            "generation" => out.push_str(&tag.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen(word, "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
