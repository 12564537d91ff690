//! `--check`: whether what is timed computes the right thing. A shape cut to a few layers is run on
//! the device and on the reference interpreter, and the logits are compared.

use super::Args;
use crate::backend::{Backend, Device, GpuModel, ReferenceBackend};
use crate::error::{CliError, Result};
use crate::model::Model;
use crate::output::{self, Table};
use crate::tuned;
use quarrel_ir::plan::Phase;
use serde::Serialize;

/// Largest relative distance (L2) between the logits of device and reference.
const WITHIN: f64 = 5e-3;
/// Layers of the shape, where the user does not say.
const LAYERS: u64 = 2;
/// Tokens of the prompt: more than one tile of any kernel's smaller side.
const PROMPT: u32 = 24;

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    model: String,
    device: String,
    within: f64,
    passed: bool,
    checks: Vec<Check>,
}

/// A comparison of the last row of logits.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    tokens: usize,
    /// Relative L2; `null` where the device's logits are not finite.
    distance: f64,
}

impl Output {
    fn of(model: String, device: String, checks: Vec<Check>) -> Output {
        let passed = checks.iter().all(|check| check.distance <= WITHIN);
        Output { model, device, within: WITHIN, passed, checks }
    }
}

/// Compares a prompt's and a decode step's logits.
pub(super) fn execute(args: &Args) -> Result<()> {
    if !args.model.is_synthetic() {
        return Err(CliError::user(
            "--check compares a shape with the reference: it needs --synthetic in place of a model",
        ));
    }
    let device = Device::start(&args.plan);
    let named = args.model.with_layers(LAYERS);
    let model = Model::bind(named.name()?, named.source(&args.plan.mapping)?, &args.plan)?;
    let gpu = device.wait()?.gpu("quarrel bench")?;
    let device = gpu.facts().name;
    let context = (PROMPT + 1).next_multiple_of(64);
    let options = args.plan.plan_options(context, 1);
    let options = tuned::with(&options, &gpu.facts(), &args.plan);
    let compiled = GpuModel::compile(&model.graph, gpu, &options)?;
    let mut session = compiled.load(model.source.weights(), &[Phase::Prefill, Phase::Decode])?;
    let weights = model.source.weights();
    let mut reference = ReferenceBackend::new(&model.graph, weights, context, options.chunk)?;
    let vocabulary = compiled.plan.model.vocabulary;
    // Knuth's multiplicative hash.
    let token = |index: u32| index.wrapping_mul(2_654_435_761) % vocabulary.max(1);
    let prompt: Vec<u32> = (1..=PROMPT + 1).map(token).collect();
    let mut compare = |name, count: usize| -> Result<Check> {
        let tokens = prompt.get(..count).unwrap_or(&prompt);
        let found = Backend::logits(&mut session, tokens)?;
        let distance = distance(&found, &reference.logits(tokens)?);
        Ok(Check { name, tokens: count, distance })
    };
    let whole = PROMPT as usize;
    // Of the second text only the last token is new: a decode step.
    let checks = vec![compare("prefill", whole)?, compare("decode", whole + 1)?];
    report(args, &Output::of(model.source.title(&model.name), device, checks))
}

fn report(args: &Args, output: &Output) -> Result<()> {
    let Output { model, device, checks, .. } = output;
    if args.json {
        output::json(output)?;
    } else {
        let mut table = Table::new(["logits", "after tokens", "distance", "verdict"]);
        for Check { name, tokens, distance } in checks {
            let verdict = if *distance <= WITHIN { "within" } else { "beyond" };
            table.row([
                (*name).into(),
                tokens.to_string(),
                format!("{distance:.1e}"),
                format!("{verdict} {WITHIN:.0e}"),
            ]);
        }
        output::text(&format!("{model} on {device} beside the reference\n\n{}", table.render()))?;
    }
    verdict(output)
}

/// An error where a distance is too large.
fn verdict(Output { model, device, passed, checks, .. }: &Output) -> Result<()> {
    if *passed {
        return Ok(());
    }
    let worst = checks.iter().map(|check| check.distance).fold(0.0, f64::max);
    Err(CliError::Failure(format!(
        "the logits of {model} on {device} are {worst:.1e} from the reference's, more than \
         {WITHIN:.0e}"
    )))
}

/// `|found - wanted| / |wanted|` by L2; infinite where something is no number.
fn distance(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let pairs = found.iter().zip(wanted).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let error = square(&mut { pairs });
    let size = square(&mut wanted.iter().map(|&x| f64::from(x)));
    let distance = (error / size).sqrt();
    if found.len() == wanted.len() && distance.is_finite() { distance } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative() {
        assert_eq!(distance(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((distance(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-9);
        assert_eq!(distance(&[f32::NAN, 4.0], &[3.0, 4.0]), f64::INFINITY);
        assert_eq!(distance(&[3.0], &[3.0, 4.0]), f64::INFINITY);
    }

    #[test]
    fn what_is_beyond_is_a_failure() {
        let output = |distances: [f64; 2]| {
            let check = |distance| Check { name: "decode", tokens: 25, distance };
            Output::of("shape".into(), "device".into(), distances.map(check).into())
        };
        assert!(verdict(&output([4.9e-3, 1e-5])).is_ok());
        for worst in [5.1e-3, f64::INFINITY] {
            let error = verdict(&output([1e-5, worst])).unwrap_err();
            assert!(matches!(error, CliError::Failure(_)), "{error}");
            assert!(error.to_string().contains(&format!("{worst:.1e}")), "{error}");
        }
    }
}
