//! `quarrel arch`: architecture files.

use crate::error::{CliError, Result, rendered};
use crate::model::{self, Source};
use crate::output::{self, Table};
use quarrel_models::arch::{self, ArchError, ArchFile};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// List, show, draft and check architecture files
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel arch list\n  quarrel arch show llama > mine.arch\n  \
quarrel arch new --from model.gguf -o mine.arch\n  \
quarrel arch check mine.arch --model model.gguf\n  quarrel run model.gguf --arch mine.arch \"Hello\"")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// List the architectures that are known
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
        /// Add an architecture file (repeatable)
        #[arg(long = "arch", value_name = "FILE")]
        arch: Vec<PathBuf>,
    },
    /// Print an architecture's file
    Show {
        /// The architecture's name
        name: String,
    },
    /// Write a first draft of an architecture file, from a model's tensors and metadata
    ///
    /// What they do not say is assumed, and listed at the draft's top with where to look.
    New {
        /// A GGUF file, a Hugging Face folder or a model's name; no file needs to serve it
        #[arg(long, value_name = "MODEL")]
        from: String,
        /// Write it to this file, which must not exist, in place of the standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Add a mapping file for Hugging Face folders (repeatable)
        #[arg(long, value_name = "FILE")]
        mapping: Vec<PathBuf>,
    },
    /// Say what is wrong with an architecture file
    Check {
        /// The file
        file: PathBuf,
        /// Check it against a model too: shapes, and tensors that it leaves unused
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
}

/// One architecture of what `list --json` prints.
#[derive(Serialize)]
struct Listed {
    name: String,
    serves: Vec<String>,
    /// The condition under which it does.
    when: Option<String>,
    file: String,
    builtin: bool,
}

/// What `check --json` prints.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    findings: Vec<Finding>,
}

/// One finding.
#[derive(Serialize)]
struct Finding {
    severity: &'static str,
    message: String,
    line: Option<usize>,
    column: Option<usize>,
    help: Option<String>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    match &args.action {
        Action::List { json, arch } => list(*json, arch),
        Action::Show { name } => show(name),
        Action::New { from, output, mapping } => new(from, output.as_deref(), mapping),
        Action::Check { file, model, json } => check(file, model.as_deref(), *json),
    }
}

fn list(json: bool, given: &[PathBuf]) -> Result<()> {
    let own = model::user_architectures(given)?;
    let replaced = |file: &ArchFile| own.iter().any(|other| other.name() == file.name());
    let entry = |file: &ArchFile, builtin| Listed {
        name: file.name().into(),
        serves: file.architectures().to_vec(),
        when: file.condition().map(Into::into),
        file: file.file_name().into(),
        builtin,
    };
    let builtin = arch::builtin().iter().filter(|file| !replaced(file));
    let all: Vec<Listed> = builtin
        .map(|file| entry(file, true))
        .chain(own.iter().map(|file| entry(file, false)))
        .collect();
    if json {
        return output::json(&all);
    }
    let mut table = Table::new(["name", "serves", "when", "file"]);
    for Listed { name, serves, when, file, builtin } in all {
        let file = if builtin { format!("{file} (built in)") } else { file };
        table.row([name, serves.join(", "), when.unwrap_or_default(), file]);
    }
    output::text(&table.render())?;
    match model::user_folder() {
        Some(folder) => {
            output::text(&format!("\nMore are read from {} and --arch.\n", folder.display()))
        }
        None => Ok(()),
    }
}

fn show(name: &str) -> Result<()> {
    let own = model::user_architectures(&[])?;
    let mut all = own.iter().chain(arch::builtin());
    let file = all.find(|file| file.name() == name).ok_or_else(|| {
        let known: Vec<&str> = own.iter().chain(arch::builtin()).map(|file| file.name()).collect();
        CliError::User(format!("there is no architecture {name:?}; known: {}", known.join(", ")))
    })?;
    output::text(file.text())
}

fn new(from: &str, path: Option<&Path>, mappings: &[PathBuf]) -> Result<()> {
    let source = Source::open(from, mappings)?;
    let draft = arch::draft(source.facts());
    let Some(path) = path else { return output::text(&draft.text) };
    let refused = |why| {
        let path = path.display();
        CliError::User(format!("the architecture file {path} cannot be written: {why}"))
    };
    let mut file = std::fs::File::create_new(path).map_err(refused)?;
    file.write_all(draft.text.as_bytes()).map_err(refused)?;
    let path = path.display();
    let assumed = match draft.assumptions.len() {
        0 => "nothing had to be assumed".to_string(),
        1 => "one assumption to check is at its top".into(),
        count => format!("{count} assumptions to check are at its top"),
    };
    let problem =
        draft.problem.map_or(String::new(), |why| format!("It does not fit yet: {why}\n"));
    let next = format!("Next: quarrel arch check {path} --model {from}");
    output::text(&format!("Wrote {path}: {assumed}.\n{problem}{next}\n"))
}

fn check(path: &Path, model: Option<&str>, json: bool) -> Result<()> {
    let source = model.map(|model| Source::open(model, &[])).transpose()?;
    let findings = match model::read(path) {
        Ok(file) => file.check(source.as_ref().map(Source::facts)).findings,
        Err(CliError::Arch(error)) => vec![error],
        Err(other) => return Err(other),
    };
    let ok = findings.iter().all(ArchError::is_warning);
    if json {
        output::json(&Checked { ok, findings: findings.iter().map(finding).collect() })?;
    } else {
        for found in &findings {
            output::remark(&rendered(found));
        }
        if ok {
            let against = model.map_or(String::new(), |model| format!(" and describes {model}"));
            output::text(&format!("{} is in order{against}\n", path.display()))?;
        }
    }
    if ok { Ok(()) } else { Err(CliError::Reported) }
}

fn finding(error: &ArchError) -> Finding {
    let place = error.location();
    Finding {
        severity: if error.is_warning() { "warning" } else { "error" },
        message: error.to_string(),
        line: place.map(|(_, line, _)| line),
        column: place.map(|(_, _, column)| column),
        help: miette::Diagnostic::help(error).map(|help| help.to_string()),
    }
}
