//! What can be wrong with an architecture file, or between it and a model, pointed at in its text.

use super::syntax::ast::Span;
use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use std::fmt;
use std::sync::Arc;

/// The class of an [`ArchError`], and so who can put it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is not in the language. The author's to fix.
    Syntax,
    /// An unknown, repeated or unused name. The author's to fix.
    Name,
    /// Wrong arguments: their number, their names or their kinds. The author's to fix.
    Argument,
    /// Shapes do not go together: the file does not describe this model. The author's to fix.
    Shape,
    /// The model lacks a tensor that the file names, or has one that it does not.
    Weight,
    /// The model lacks metadata that the file asks for, or has it in another form.
    Metadata,
    /// The file says, in a `require`, that it cannot serve this model.
    Unsupported,
    /// A bound that keeps hostile files harmless was reached.
    Limit,
    /// No architecture, or more than one, serves the model.
    Selection,
    /// A fault of Quarrel's own.
    Internal,
}

impl ErrorKind {
    const fn code(self) -> &'static str {
        match self {
            ErrorKind::Syntax => "arch::syntax",
            ErrorKind::Name => "arch::name",
            ErrorKind::Argument => "arch::argument",
            ErrorKind::Shape => "arch::shape",
            ErrorKind::Weight => "arch::weight",
            ErrorKind::Metadata => "arch::metadata",
            ErrorKind::Unsupported => "arch::unsupported",
            ErrorKind::Limit => "arch::limit",
            ErrorKind::Selection => "arch::selection",
            ErrorKind::Internal => "arch::internal",
        }
    }
}

/// The file that labels point into.
pub(super) type Source = Arc<NamedSource<String>>;

/// An error or warning about an architecture file. As a [`Diagnostic`] it shows the file's text
/// with the place underlined.
#[derive(Clone)]
pub struct ArchError(Box<Body>);

#[derive(Clone)]
struct Body {
    kind: ErrorKind,
    severity: Severity,
    message: String,
    layer: Option<u32>,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    source: Option<Source>,
}

impl ArchError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> ArchError {
        ArchError(Box::new(Body {
            kind,
            severity: Severity::Error,
            message: message.into(),
            layer: None,
            labels: vec![],
            help: None,
            source: None,
        }))
    }

    /// Turns it into a warning.
    pub(super) fn warning(mut self) -> ArchError {
        self.0.severity = Severity::Warning;
        self
    }

    /// Underlines a place; the first is the main one. Places that hold others come last, so that
    /// the lines drawn do not cross.
    pub(super) fn label(mut self, span: Span, text: impl Into<String>) -> ArchError {
        self.0.labels.push((span, text.into()));
        self
    }

    /// Adds a line of help.
    pub(super) fn help(mut self, text: impl Into<String>) -> ArchError {
        let before = self.0.help.take().map(|before| before + "\n").unwrap_or_default();
        self.0.help = Some(before + &text.into());
        self
    }

    /// Adds the help where there is any.
    pub(super) fn maybe_help(self, text: Option<String>) -> ArchError {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// Says in which layer it happened, unless that is known already.
    pub(super) fn in_layer(mut self, layer: u32) -> ArchError {
        self.0.layer.get_or_insert(layer);
        self
    }

    /// Says which file the labels point into, unless that is known already.
    pub(super) fn within(mut self, source: &Source) -> ArchError {
        self.0.source.get_or_insert_with(|| source.clone());
        self
    }

    /// The error's class.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether it only warns: the file can be used as it is.
    pub fn is_warning(&self) -> bool {
        self.0.severity == Severity::Warning
    }

    /// The layer it happened in, where it was inside `layers`.
    pub fn layer(&self) -> Option<u32> {
        self.0.layer
    }

    /// The file's name, and the line and column of the main place, each counted from 1; `None`
    /// where the error points at no place.
    pub fn location(&self) -> Option<(&str, usize, usize)> {
        let source = self.0.source.as_ref()?;
        let (span, _) = self.0.labels.first()?;
        let before = source.inner().get(..span.start as usize)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((source.name(), line, column))
    }
}

impl fmt::Display for ArchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.layer {
            Some(layer) => write!(f, " (in layer {layer})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ArchError {
    /// File, line and column before the message, for tests and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line, column)) = self.location() {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        write!(f, "{self}")?;
        for (_, label) in &self.0.labels {
            write!(f, "; {label}")?;
        }
        self.0.help.iter().try_for_each(|help| write!(f, "; help: {help}"))
    }
}

impl std::error::Error for ArchError {}

impl Diagnostic for ArchError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.kind.code()))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.0.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.0.labels.is_empty() {
            return None;
        }
        let labels = self.0.labels.iter().enumerate().map(|(index, (span, text))| {
            let text = (!text.is_empty()).then(|| text.clone());
            match index {
                0 => LabeledSpan::new_primary_with_span(text, *span),
                _ => LabeledSpan::new_with_span(text, *span),
            }
        });
        Some(Box::new(labels))
    }
}
