//! Choice among variants: for each product and each attention a list of the shapes that the device can
//! run, what a model predicts for each, and which is taken.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | takes one of a list, and says why |
//! | `product.rs` | the list for a product |
//! | `attention.rs` | the list for attention |
//! | `model.rs` | what a variant is predicted to take |
//!
//! The rules of `shapes.rs` come first in each list, and are followed: they were tuned by measurements,
//! which the model was not. It counts workgroups, loads under way and what caches deliver again, and
//! says which other variants are worth measuring. What the user asks for, and what was measured on the
//! user's device, is taken instead.

mod attention;
mod model;
mod product;

pub use attention::attention;
pub use product::product;

use crate::error::CompileError;
use quarrel_ir::plan::{Alternative, Choice, ChosenBy, PlanOptions};

/// A variant that could be taken.
#[derive(Clone, Debug)]
pub struct Candidate<S> {
    /// Unique in its list; names all sizes by which it differs from others.
    pub name: String,
    pub shape: S,
    /// Microseconds by the model.
    pub us: f64,
    /// Whether other kernels differ with it.
    pub changes_others: bool,
}

/// Takes one of `candidates`, of which the first is the rule's, for what `key` names.
///
/// # Errors
/// If the user asks for a variant that is not in the list.
pub fn choose<S: Clone>(
    options: &PlanOptions,
    key: String,
    mut candidates: Vec<Candidate<S>>,
) -> Result<(S, Choice), CompileError> {
    let mut names = std::collections::BTreeSet::new();
    candidates.retain(|candidate| names.insert(candidate.name.clone()));
    let find = |name: &String| candidates.iter().position(|candidate| candidate.name == *name);
    let cheapest = (0..candidates.len())
        .min_by(|a, b| candidates[*a].us.total_cmp(&candidates[*b].us))
        .unwrap_or(0);
    let tuned = options.tuned.get(&key).and_then(find);
    let (at, by, reason) = match (options.choices.get(&key), tuned) {
        (Some(name), _) => match find(name) {
            Some(at) => (at, ChosenBy::User, "it was asked for".to_string()),
            None => return Err(unknown_name(&key, name, &candidates)),
        },
        (None, Some(at)) => {
            let reason = "it was the fastest when measured on this device";
            (at, ChosenBy::Tuning, reason.to_string())
        }
        (None, None) => (0, ChosenBy::Rule, rule_reason(&candidates, cheapest)),
    };
    let alternatives = candidates.iter().map(|candidate| Alternative {
        name: candidate.name.clone(),
        predicted_us: (candidate.us * 1e3).round() / 1e3,
        changes_others: candidate.changes_others,
    });
    let choice = Choice {
        key,
        chosen: candidates[at].name.clone(),
        by,
        reason,
        alternatives: alternatives.collect(),
    };
    Ok((candidates[at].shape.clone(), choice))
}

fn rule_reason<S>(candidates: &[Candidate<S>], cheapest: usize) -> String {
    match candidates {
        [_] => "there is no other".into(),
        _ if cheapest == 0 => "the rules prefer it, and so does the model".into(),
        _ => format!(
            "the rules prefer it; the model, which was not measured, gives {} {:.0} % of its time",
            candidates[cheapest].name,
            100.0 * candidates[cheapest].us / candidates[0].us
        ),
    }
}

fn unknown_name<S>(key: &str, name: &str, candidates: &[Candidate<S>]) -> CompileError {
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
    CompileError::Options(format!(
        "{key} has no variant {name:?} on this device; it has {}",
        names.join(", ")
    ))
}

/// Checks that what the user asks for is there: `choices` of keys that no kernel of the plan has are
/// errors.
///
/// # Errors
/// Names the keys that there are.
pub fn check_keys<'a>(
    options: &PlanOptions,
    made: impl Iterator<Item = &'a Choice> + Clone,
) -> Result<(), CompileError> {
    for key in options.choices.keys() {
        if !made.clone().any(|choice| choice.key == *key) {
            let known: std::collections::BTreeSet<_> = made.map(|c| c.key.as_str()).collect();
            let known: Vec<_> = known.into_iter().collect();
            return Err(CompileError::Options(format!(
                "no kernel of this plan has variants under {key:?}; there are {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(us: [f64; 3]) -> Vec<Candidate<usize>> {
        let names = ["first", "second", "third"];
        let each = names.iter().zip(us).enumerate();
        each.map(|(shape, (name, us))| Candidate {
            name: name.to_string(),
            shape,
            us,
            changes_others: false,
        })
        .collect()
    }

    fn taken(options: &PlanOptions, us: [f64; 3]) -> (usize, ChosenBy) {
        let (shape, choice) = choose(options, "key".into(), list(us)).unwrap();
        assert_eq!(choice.alternatives.len(), 3);
        assert_eq!(choice.alternatives[shape].name, choice.chosen);
        (shape, choice.by)
    }

    #[test]
    fn the_rule_holds_whatever_the_model_says() {
        let options = PlanOptions::default();
        assert_eq!(taken(&options, [3.0, 2.5, 4.0]), (0, ChosenBy::Rule));
        assert_eq!(taken(&options, [6.0, 2.5, 4.0]), (0, ChosenBy::Rule));
    }

    #[test]
    fn tuning_comes_before_rules_and_the_user_before_tuning() {
        let mut options = PlanOptions::default();
        options.tuned.insert("key".into(), "third".into());
        assert_eq!(taken(&options, [3.0, 2.5, 9.0]), (2, ChosenBy::Tuning));
        options.choices.insert("key".into(), "second".into());
        assert_eq!(taken(&options, [3.0, 2.5, 9.0]), (1, ChosenBy::User));
        // What was measured with a variant that is gone counts for nothing.
        options.choices.clear();
        options.tuned.insert("key".into(), "fourth".into());
        assert_eq!(taken(&options, [3.0, 2.5, 9.0]), (0, ChosenBy::Rule));
    }

    #[test]
    fn unknown_names_and_keys_are_errors_that_list_what_there_is() {
        let mut options = PlanOptions::default();
        options.choices.insert("key".into(), "fourth".into());
        let error = choose(&options, "key".into(), list([1.0; 3])).unwrap_err().to_string();
        assert!(error.contains("first, second, third"), "{error}");
        options.choices = [("kex".to_string(), "first".to_string())].into();
        let (_, choice) = choose(&options, "key".into(), list([1.0; 3])).unwrap();
        let error = check_keys(&options, [&choice].into_iter()).unwrap_err().to_string();
        assert!(error.contains("\"kex\"; there are key"), "{error}");
    }
}
