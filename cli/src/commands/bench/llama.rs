//! `--vs`: llama.cpp's own benchmark on the same file, for the same tests, in the same run.

use super::Args;
use super::measure::{Spread, Test};
use crate::error::{CliError, Result};
use crate::model::Source;
use crate::output::Table;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Refuses early what cannot be compared; the file that both run.
pub(super) fn file(args: &Args, program: &Path, source: &Source) -> Result<PathBuf> {
    let only = "--vs runs llama.cpp on the same file";
    let path = match source {
        Source::File(_) => args.model.path()?,
        Source::Folder(_) => {
            return Err(CliError::user(format!("{only}: it needs a GGUF file, not a folder")));
        }
        Source::Synthetic(_) => {
            return Err(CliError::user(format!(
                "{only}, and a synthetic shape has none: name a GGUF file"
            )));
        }
    };
    if args.plan.weights.is_some() {
        return Err(CliError::user(format!("{only} as it is: leave out --weights")));
    }
    // A bare name is looked for in PATH.
    let bare = program.components().count() == 1;
    if !bare && !program.is_file() {
        let what = if program.exists() { "is no file" } else { "does not exist" };
        return Err(CliError::User(format!(
            "--vs: {} {what}: give the path of llama-bench",
            program.display()
        )));
    }
    Ok(path)
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
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    let last: String = last.chars().take(300).collect();
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
