//! Results for people.

use super::Output;
use crate::output::Table;
use std::fmt::Write;

/// The table, and where winners are kept.
pub(super) fn text(output: &Output) -> String {
    let mut table = Table::new(["kernel", "variant", "predicted µs", "measured µs", "result"]);
    for contest in output.kernels.iter().filter(|contest| contest.len() > 0) {
        let mut key = contest.key.as_str();
        for variant in &contest.variants {
            let result = match (variant.name == contest.usual, variant.name == contest.winner) {
                (true, true) => "usual, stays".into(),
                (true, false) => "usual".into(),
                (false, true) => format!("wins, −{:.0} %", 1e2 * contest.gain),
                (false, false) => String::new(),
            };
            let measured = variant.measured_us.map_or("-".into(), |us| format!("{us:.2}"));
            table.row([
                std::mem::take(&mut key).into(),
                variant.name.clone(),
                format!("{:.2}", variant.predicted_us),
                measured,
                result,
            ]);
        }
    }
    let mut text = table.render();
    let won = output.kernels.iter().filter(|contest| contest.winner != contest.usual).count();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\n{won} of {} kernels are faster than before, in {:.0} s",
        output.kernels.len(),
        output.seconds
    );
    if let Some(kept) = &output.kept {
        let _ = writeln!(text, "kept in {kept}");
    }
    text
}
