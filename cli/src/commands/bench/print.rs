//! Results for people.

use super::Output;
use super::measure::Test;
use crate::output::Table;
use quarrel_runtime::StepSplit;

/// All results, as text.
pub(super) fn text(output: &Output) -> String {
    let Output { model, device, backend, copy_gb_per_s: copy, .. } = output;
    let copies = copy.map_or(String::new(), |copy| format!(", copies {copy:.1} GB/s"));
    let mut text = format!("{model} on {device} ({backend}{copies})\n\n");
    text += &tests(output).render();
    if let Some(splits) = splits(&output.tests) {
        text += &format!("\nwhere the time of a step goes, µs\n\n{}", splits.render());
    }
    for kernels in &output.kernels {
        text += &format!("\n{}\n\n{}", kernels.heading(), kernels.table().render());
    }
    if let Some(versus) = &output.vs {
        text += &format!("\n{}\n\n{}", versus.heading(), versus.table(&output.tests).render());
    }
    text
}

/// Speed, and its share of the device's bandwidth.
pub(super) fn tests(output: &Output) -> Table {
    let mut table = Table::new([
        "test",
        "tokens",
        "depth",
        "batch",
        "tokens/s",
        "mean",
        "min",
        "max",
        "a sequence",
        "seconds",
        "MB/token",
        "GB/s",
        "of copy",
        "dispatches",
    ]);
    for test in &output.tests {
        let copy = output.copy_gb_per_s.filter(|copy| *copy > 0.0);
        let share = copy.map(|copy| format!("{:.0} %", 1e2 * test.gb_per_s / copy));
        table.row([
            test.name.into(),
            test.n.to_string(),
            test.depth.to_string(),
            test.batch.to_string(),
            format!("{:.1}", test.tokens_per_s.median),
            format!("{:.1}", test.tokens_per_s.mean),
            format!("{:.1}", test.tokens_per_s.min),
            format!("{:.1}", test.tokens_per_s.max),
            format!("{:.1}", test.tokens_per_s_per_sequence),
            format!("{:.3}", test.seconds),
            format!("{:.2}", test.bytes_per_token / 1e6),
            format!("{:.2}", test.gb_per_s),
            share.unwrap_or_default(),
            format!("{:.1}", test.dispatches_per_token),
        ]);
    }
    table
}

/// Where the time of decode steps goes; `None` where none was taken apart.
pub(super) fn splits(tests: &[Test]) -> Option<Table> {
    let mut table = Table::new([
        "test",
        "depth",
        "batch",
        "steps at once",
        "step",
        "device busy",
        "of it sampling",
        "gap",
        "gap share",
        "host recording",
    ]);
    let split = tests.iter().filter_map(|test| Some((test, test.split?)));
    let mut any = false;
    for (test, split) in split {
        any = true;
        let StepSplit { steps_per_submission, step_us, record_us, busy_us, gap_us, sampling_us } =
            split;
        let known = |us: Option<f64>| us.map_or("not known".into(), |us| format!("{us:.1}"));
        let share = gap_us.filter(|_| step_us > 0.0).map(|gap| 1e2 * gap / step_us);
        table.row([
            test.name.into(),
            test.depth.to_string(),
            test.batch.to_string(),
            format!("{steps_per_submission:.1}"),
            format!("{step_us:.1}"),
            known(busy_us),
            known(sampling_us),
            known(gap_us),
            share.map_or("not known".into(), |share| format!("{share:.1} %")),
            format!("{record_us:.1}"),
        ]);
    }
    any.then_some(table)
}
