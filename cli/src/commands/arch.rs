//! `quarrel arch`: architecture files.

use crate::error::{CliError, Result, rendered};
use crate::model::{self, Source};
use crate::output::{self, Table};
use quarrel_models::arch::{self, ArchError, ArchFile};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// List, show and check architecture files
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel arch list\n  quarrel arch show llama > mine.arch\n  \
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
        Action::Check { file, model, json } => check(file, model.as_deref(), *json),
    }
}

fn list(json: bool, given: &[PathBuf]) -> Result<()> {
    let own = model::user_architectures(given)?;
    let replaced = |file: &ArchFile| own.iter().any(|other| other.name() == file.name());
    let entry = |file: &ArchFile, builtin| Listed {
        name: file.name().into(),
        serves: file.architectures().to_vec(),
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
    let mut table = Table::new(["name", "serves", "file"]);
    for Listed { name, serves, file, builtin } in all {
        let file = if builtin { format!("{file} (built in)") } else { file };
        table.row([name, serves.join(", "), file]);
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

fn check(path: &std::path::Path, model: Option<&str>, json: bool) -> Result<()> {
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
            // Without a standard error stream there is nobody to tell.
            let _ = std::io::stderr().lock().write_all(rendered(found).as_bytes());
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
