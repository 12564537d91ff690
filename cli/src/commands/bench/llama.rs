//! `--vs`: llama.cpp's own benchmark on the same file, for the same tests, in the same run.

use super::Args;
use super::measure::{Spread, Test};
use crate::error::{CliError, Result};
use crate::interrupt;
use crate::model::Source;
use crate::output::{self, Table};
use quarrel_ir::format::Format;
use quarrel_ir::weight::TensorInfo;
use quarrel_models::gguf::Value;
use quarrel_models::gguf::write::write_model;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempPath;

/// What llama-bench measured.
#[derive(Debug, Serialize)]
pub(super) struct Versus {
    /// The program.
    program: String,
    /// The command that was run.
    command: String,
    /// Its commit and build number, where it says.
    build: String,
    /// What it ran on.
    backend: String,
    tests: Vec<Beside>,
}

/// One of its tests.
#[derive(Debug, Serialize)]
struct Beside {
    name: &'static str,
    n: u32,
    depth: u32,
    tokens_per_s: Spread,
    /// Quarrel's median over this one.
    ratio: Option<f64>,
}

/// A row of llama-bench's JSON; it has many more fields.
#[derive(Debug, Deserialize)]
struct Row {
    n_prompt: u32,
    n_gen: u32,
    #[serde(default)]
    n_depth: u32,
    avg_ts: f64,
    #[serde(default)]
    samples_ts: Vec<f64>,
    #[serde(default)]
    build_commit: String,
    #[serde(default)]
    build_number: u64,
    #[serde(default)]
    backends: String,
    #[serde(default)]
    gpu_info: String,
}

/// The file that both run: the user's own, or one that was written for this run.
pub(super) enum Shared {
    Own(PathBuf),
    Written(TempPath),
}

impl Shared {
    pub(super) fn path(&self) -> &Path {
        match self {
            Shared::Own(path) => path,
            Shared::Written(path) => path,
        }
    }
}

/// Refuses a program that is not there, before anything is written for it.
pub(super) fn check(program: &Path) -> Result<()> {
    // A bare name is looked for in PATH.
    let bare = program.components().count() == 1;
    if !bare && !program.is_file() {
        let what = if program.exists() { "is no file" } else { "does not exist" };
        return Err(CliError::User(format!(
            "--vs: {} {what}: give the path of llama-bench",
            program.display()
        )));
    }
    Ok(())
}

/// The model as a file: a shape and expanded weights are written to the folder of temporary files.
pub(super) fn file(args: &Args, source: &Source) -> Result<Shared> {
    match (source, args.plan.weights) {
        (Source::File(_), None) => Ok(Shared::Own(args.model.path()?)),
        (Source::File(file), Some(format)) => {
            let entry = |(key, value): (&str, &Value)| (key.to_string(), value.clone());
            // One part, in the writer's own alignment.
            let layout = |key: &str| key == "general.alignment" || key.starts_with("split.");
            let entries = file.metadata().iter().filter(|(key, _)| !layout(key));
            let metadata = entries.map(entry).collect();
            written(source, metadata, Some(format))
        }
        (Source::Synthetic(model), format) => written(source, model.metadata(), format),
        (Source::Folder(_), _) => Err(CliError::user(
            "--vs runs llama.cpp on the same file: it needs a GGUF file, not a folder",
        )),
    }
}

/// Writes the model with matrices expanded to `format`.
fn written(
    source: &Source,
    metadata: Vec<(String, Value)>,
    format: Option<Format>,
) -> Result<Shared> {
    let weights = source.weights();
    let expanded = |info: &&TensorInfo| match format {
        Some(format) if info.shape.len() > 1 => TensorInfo { format, ..(*info).clone() },
        _ => (*info).clone(),
    };
    let bytes = |info: &TensorInfo| {
        let bytes = weights.bytes(&info.name)?;
        let own = weights.info(&info.name).map_or(info.format, |own| own.format);
        if own == info.format {
            return Ok(bytes);
        }
        let mut values = vec![0.0; info.elements() as usize];
        own.dequantize(&bytes, &mut values);
        let mut floats = vec![0; values.len() * info.format.block_bytes()];
        info.format.store(&values, &mut floats);
        Ok(floats.into())
    };
    let folder = std::env::temp_dir();
    let failed = |why: &dyn std::fmt::Display| {
        CliError::Failure(format!(
            "--vs: the model cannot be written to {} for llama.cpp ({} are needed): {why}. TMPDIR \
             names another folder",
            folder.display(),
            output::bytes(source.size())
        ))
    };
    let file = tempfile::Builder::new().prefix("quarrel-").suffix(".gguf").tempfile_in(&folder);
    let mut file = file.map_err(|why| failed(&why))?;
    interrupt::remove_at_end(file.path());
    let tensors: Vec<TensorInfo> = source.tensors().iter().map(expanded).collect();
    write_model(&mut file, &metadata, &tensors, &bytes).map_err(|why| failed(&why))?;
    Ok(Shared::Written(file.into_temp_path()))
}

/// Runs llama-bench on `file` for the tests of `args`.
pub(super) fn run(args: &Args, program: &Path, file: &Path) -> Result<Versus> {
    let list = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new(program);
    command.arg("-m").arg(file);
    let tests = [args.prompt_len.to_string(), args.gen_len.to_string(), list(&args.depth)];
    for (flag, value) in ["-p", "-n", "-d"].into_iter().zip(tests) {
        command.arg(flag).arg(value);
    }
    command.args(["-r", &args.reps.to_string(), "-fa", "1", "-ngl", "99", "-o", "json"]);
    let text = answer(&mut command)?;
    let name = program.display();
    let rows: Vec<Row> = serde_json::from_str(&text).map_err(|why| {
        CliError::Failure(format!(
            "--vs: what {name} printed is not llama-bench's JSON: {why}. Is it llama-bench?"
        ))
    })?;
    let Some(first) = rows.first() else {
        return Err(CliError::Failure(format!("--vs: {name} measured nothing")));
    };
    Ok(Versus {
        program: name.to_string(),
        command: format!("{command:?}"),
        build: match (first.build_commit.as_str(), first.build_number) {
            ("", 0) => "unknown".into(),
            (commit, number) => format!("{commit} ({number})"),
        },
        backend: format!("{} {}", first.backends, first.gpu_info).trim().into(),
        tests: rows.into_iter().filter_map(beside).collect(),
    })
}

/// A prompt or a generation; anything else llama-bench may measure has no test beside it.
fn beside(row: Row) -> Option<Beside> {
    let (name, n) = match (row.n_prompt, row.n_gen) {
        (n, 0) => ("prefill", n),
        (0, n) => ("decode", n),
        _ => return None,
    };
    let samples = if row.samples_ts.is_empty() { vec![row.avg_ts] } else { row.samples_ts };
    Some(Beside { name, n, depth: row.n_depth, tokens_per_s: Spread::of(samples), ratio: None })
}

/// The standard output of a command that succeeds.
fn answer(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| CliError::User(format!("{name} cannot be run: {why}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last: String = last.unwrap_or("it said nothing").chars().take(300).collect();
    Err(CliError::Failure(format!("{name} failed ({}): {last}", output.status)))
}

/// The text that llama.cpp writes after `prompt`, greedily, by a program beside `bench`.
pub(super) fn text(bench: &Path, file: &Path, prompt: &str, tokens: usize) -> Result<String> {
    let beside = |name: &str| {
        let path = bench.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        path.is_file().then_some(path)
    };
    let Some(program) = beside("llama-completion").or_else(|| beside("llama-cli")) else {
        return Err(CliError::user(format!(
            "neither llama-completion nor llama-cli is beside {}",
            bench.display()
        )));
    };
    let mut command = Command::new(program);
    command.arg("-m").arg(file).args(["-p", prompt, "-n", &tokens.to_string()]);
    command.args(["--temp", "0", "-ngl", "99", "-no-cnv", "--no-display-prompt"]);
    answer(&mut command)
}

impl Versus {
    /// Compares with Quarrel's tests of one sequence.
    pub(super) fn compare(&mut self, tests: &[Test]) {
        for beside in &mut self.tests {
            let same = |test: &&Test| {
                test.batch == 1
                    && (test.name, test.n, test.depth) == (beside.name, beside.n, beside.depth)
            };
            let theirs = beside.tokens_per_s.median;
            beside.ratio = tests
                .iter()
                .find(same)
                .filter(|_| theirs > 0.0)
                .map(|test| test.tokens_per_s.median / theirs);
        }
    }

    /// What the table shows.
    pub(super) fn heading(&self) -> String {
        format!("beside llama.cpp {} on {}", self.build, self.backend)
    }

    /// The command that was run.
    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// Both, and the ratio.
    pub(super) fn table(&self, tests: &[Test]) -> Table {
        let mut table =
            Table::new(["test", "tokens", "depth", "Quarrel", "llama.cpp", "min", "max", "ratio"]);
        for beside in &self.tests {
            let Beside { name, n, depth, tokens_per_s, ratio } = beside;
            let ours = tests.iter().find(|test| {
                test.batch == 1 && (test.name, test.n, test.depth) == (*name, *n, *depth)
            });
            let ours = ours.map(|test| format!("{:.1}", test.tokens_per_s.median));
            table.row([
                (*name).into(),
                n.to_string(),
                depth.to_string(),
                ours.unwrap_or_else(|| "not measured".into()),
                format!("{:.1}", tokens_per_s.median),
                format!("{:.1}", tokens_per_s.min),
                format!("{:.1}", tokens_per_s.max),
                ratio.map_or("not known".into(), |ratio| format!("{ratio:.2}")),
            ]);
        }
        table
    }
}
