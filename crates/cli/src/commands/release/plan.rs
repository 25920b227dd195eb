//! What a release consists of, and how far it is.

use serde::Serialize;
use skep_spec::{Digest, PackageRef};

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Done now.
    Done,
    /// To be done.
    Next,
    /// Done by a release before, which broke off or was whole.
    There,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    step: &'static str,
    state: State,
    what: String,
}

/// All of them, in their order.
#[derive(Debug, Serialize)]
pub struct Plan {
    package: String,
    digest: Digest,
    steps: Vec<Step>,
}

impl Step {
    pub fn new(step: &'static str, state: State, what: String) -> Self {
        Self { step, state, what }
    }
}

impl Plan {
    pub fn new(package: &PackageRef, digest: Digest, steps: Vec<Step>) -> Self {
        Self { package: package.to_string(), digest, steps }
    }

    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether a step is still to be done.
    pub fn is_next(&self, step: &str) -> bool {
        self.steps.iter().any(|one| one.step == step && one.state == State::Next)
    }

    /// A step was done.
    pub fn done(&mut self, step: &str, what: String) {
        let found = self.steps.iter_mut().find(|one| one.step == step);
        if let Some(found) = found {
            (found.state, found.what) = (State::Done, what);
        }
    }

    /// A line for each step.
    pub fn text(&self) -> String {
        let line = |one: &Step| {
            let state = match one.state {
                State::Done => "done",
                State::Next => "next",
                State::There => "there",
            };
            format!("  {state:<5}  {:<9}  {}", one.step, one.what)
        };
        self.steps.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
