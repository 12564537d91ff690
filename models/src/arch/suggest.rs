//! "Did you mean …?": known names that are near an unknown one.

/// Names longer than this are not compared: the comparison takes quadratic time.
const MAX_NAME: usize = 64;

/// Known names that are compared at most.
const MAX_KNOWN: usize = 5_000;

/// The known names nearest to `name`, nearest first, at most `count`. A name is near where few
/// letters differ (Damerau 1964).
pub(super) fn near<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    if name.len() > MAX_NAME {
        return vec![];
    }
    let allowed = (name.len() / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .take(MAX_KNOWN)
        .filter(|other| other.len().abs_diff(name.len()) <= allowed && *other != name)
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(count).map(|(_, other)| other).collect()
}

/// "did you mean `x`?", where a known name is near.
pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    near(name, known, 1).first().map(|other| format!("did you mean `{other}`?"))
}
