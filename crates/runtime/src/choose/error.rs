//! Why no set of programs can be chosen.

use skep_object::suit::{Unattachable, Unsuited};
use skep_spec::param::ParamError;
use skep_spec::target::TargetError;

/// Why no set of programs can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The manifest names a function that no object has.
    #[error(
        "program '{program}' names the function '{function}', which no object has; there are: {there}"
    )]
    NoFunction {
        /// The program.
        program: String,
        /// The function.
        function: String,
        /// The functions that there are.
        there: String,
    },
    /// Several objects have it.
    #[error(
        "program '{program}': several objects have a function '{function}'; say which with object = \"…\""
    )]
    Ambiguous {
        /// The program.
        program: String,
        /// The function.
        function: String,
    },
    /// An attach target is not one.
    #[error("program '{program}' has a bad target")]
    Target {
        /// The program.
        program: String,
        /// Why.
        source: TargetError,
    },
    /// A target refers to a parameter without a value.
    #[error("the target of program '{program}' can't be known")]
    Substitute {
        /// The program.
        program: String,
        /// Why.
        source: ParamError,
    },
    /// The target needs a parameter that is empty.
    #[error(
        "parameter '{param}' is empty, and program '{program}' attaches at '{target}': give it a value: --set {param}=VALUE"
    )]
    Empty {
        /// The program.
        program: String,
        /// The parameter.
        param: String,
        /// The target as the manifest has it.
        target: String,
    },
    /// The target needs something that nobody named.
    #[error(
        "program '{program}' attaches at '{target}', which names no {lacks}: add target = \"{example}\" to [program.{program}]"
    )]
    Incomplete {
        /// The program.
        program: String,
        /// The target.
        target: String,
        /// What is missing.
        lacks: &'static str,
        /// A whole target.
        example: String,
    },
    /// The target names a map that several objects have.
    #[error(
        "program '{program}' attaches at '{target}', and several objects have a map '{symbol}' ({objects}): say which, as {targets}"
    )]
    SeveralMaps {
        /// The program.
        program: String,
        /// The target.
        target: String,
        /// The map's symbol.
        symbol: String,
        /// The objects that have one.
        objects: String,
        /// Targets that name one.
        targets: String,
    },
    /// The target is of another kind than the program.
    #[error("[program.{program}] has a target that it cannot have")]
    Unsuited {
        /// The program.
        program: String,
        /// Why.
        source: Unsuited,
    },
    /// A process that the program cannot be told.
    #[error("program '{program}' can't be for the process '{pid}' alone: {why}")]
    Process {
        /// The program.
        program: String,
        /// As the manifest and the parameters have it.
        pid: String,
        /// Why.
        why: String,
    },
    /// No service can have a program of this kind.
    #[error("program '{program}' can't run in a service")]
    Unattachable {
        /// The program.
        program: String,
        /// Why.
        source: Unattachable,
    },
    /// Alternatives name a program that is not in the manifest.
    #[error("[alternatives.{group}] names the program '{program}', which is not in [program]")]
    NoMember {
        /// The group.
        group: String,
        /// The program.
        program: String,
    },
    /// No alternative works.
    #[error("no alternative of '{group}' works on this kernel: {why}")]
    NoAlternative {
        /// The group.
        group: String,
        /// Each member and what was wrong with it.
        why: String,
    },
    /// A program that must run was refused; the reason is the error before.
    #[error("program '{program}' was refused: {why}")]
    Refused {
        /// The program.
        program: String,
        /// Why.
        why: String,
    },
    /// Every program was skipped.
    #[error("no program could be attached:\n{why}")]
    NothingAttached {
        /// Each program and what was wrong with it.
        why: String,
    },
    /// Every program waits for a parameter.
    #[error(
        "each of its programs runs only if its parameter is given: give one with --set NAME=VALUE, of {params}"
    )]
    Unasked {
        /// The parameters.
        params: String,
    },
    /// A package without programs.
    #[error(
        "there is no program to run: the objects have none but what is not loaded unasked (SEC(\"?…\")) or only called by others"
    )]
    Nothing,
}

impl ChooseError {
    /// A stable word for programs: whose the mistake is.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoFunction { .. }
            | Self::Ambiguous { .. }
            | Self::Target { .. }
            | Self::Incomplete { .. }
            | Self::SeveralMaps { .. }
            | Self::Unsuited { .. }
            | Self::Unattachable { .. }
            | Self::NoMember { .. }
            | Self::Nothing => "manifest",
            Self::Substitute { .. }
            | Self::Empty { .. }
            | Self::Process { .. }
            | Self::Unasked { .. } => "parameter",
            Self::NoAlternative { .. } => "no-alternative",
            Self::Refused { .. } | Self::NothingAttached { .. } => "kernel-refused",
        }
    }
}
