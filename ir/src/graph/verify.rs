//! What must hold of a whole graph; types already hold node by node.

use super::{DType, Graph, Op, RunDim, Type, ValueId};
use std::collections::HashSet;

/// A whole-graph rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No output was set.
    #[error("the graph {0:?} has no output")]
    NoOutput(String),
    /// The output is no logits.
    #[error("the output should be f32[R, vocabulary], but it is {0}")]
    Output(String),
    /// Two declarations share a name.
    #[error("two {kind}s are named {name:?}")]
    Duplicate {
        /// `state` or `weight`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A state's rows are not whole blocks of its format.
    #[error("the state {name:?} of rows {row:?} cannot be stored in {format}")]
    StateFormat {
        /// The state.
        name: String,
        /// Extents of its rows.
        row: Vec<u64>,
        /// Its format.
        format: &'static str,
    },
    /// A state is started, or a version of it changed, more than once.
    #[error("the state {name:?} is used twice: each version may be changed once, by one op")]
    StateForked {
        /// The state.
        name: String,
    },
    /// A version of a state is read although a later version exists that may overwrite it.
    #[error("%{value}: reads an outdated version of the state {name:?}")]
    StaleState {
        /// The reader.
        value: u32,
        /// The state.
        name: String,
    },
}

impl Graph {
    /// Checks the rules that span nodes: unique names, one output of the right type, and each state
    /// a single chain of versions of which only the last is read.
    pub fn verify(&self) -> Result<(), VerifyError> {
        let output = self.output().ok_or_else(|| VerifyError::NoOutput(self.name.clone()))?;
        match &self.node(output).ty {
            Type::Tensor(t)
                if t.dtype == DType::F32
                    && t.rows == Some(RunDim::OutRows)
                    && t.dims.len() == 1 => {}
            Type::Tensor(t) => return Err(VerifyError::Output(t.to_string())),
            Type::State(_) => return Err(VerifyError::Output("a state".into())),
        }
        self.unique("state", self.states.iter().map(|s| s.name.as_str()))?;
        self.unique("weight", self.weights.iter().map(|w| w.name.as_str()))?;
        self.verify_states()
    }

    fn unique<'a>(
        &self,
        kind: &'static str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), VerifyError> {
        let mut seen = HashSet::new();
        for name in names {
            if !seen.insert(name) {
                return Err(VerifyError::Duplicate { kind, name: name.to_string() });
            }
        }
        Ok(())
    }

    fn verify_states(&self) -> Result<(), VerifyError> {
        if let Some(state) = self.states.iter().find(|state| !state.format.takes(&state.row)) {
            let (name, row) = (state.name.clone(), state.row.clone());
            return Err(VerifyError::StateFormat { name, row, format: state.format.name() });
        }
        let mut started = HashSet::new();
        for value in self.values() {
            let Type::State(id) = self.node(value).ty else { continue };
            let name = || self.states[id.0 as usize].name.clone();
            if matches!(self.op(value), Op::State(_)) && !started.insert(id) {
                return Err(VerifyError::StateForked { name: name() });
            }
            let users = self.users(value);
            let writers = users.iter().filter(|&&user| self.writes(user, value)).count();
            if writers > 1 {
                return Err(VerifyError::StateForked { name: name() });
            }
            let reader = users.iter().find(|&&user| !self.writes(user, value));
            if let (1, Some(reader)) = (writers, reader) {
                return Err(VerifyError::StaleState { value: reader.0, name: name() });
            }
        }
        Ok(())
    }

    /// Whether `user` changes the state whose version is `state`.
    fn writes(&self, user: ValueId, state: ValueId) -> bool {
        match self.op(user) {
            Op::Append | Op::Scan => self.operands(user).first() == Some(&state),
            _ => false,
        }
    }
}
