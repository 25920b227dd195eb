//! What a person can do about it.

use super::RuntimeError;
use crate::params::ParamsError;

impl RuntimeError {
    /// What a person can do, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::Attach { source, .. } | Self::NoHook { source, .. } => source.hint(),
            Self::Load { source, .. } => source.hint.as_deref(),
            Self::Together { left: Ok(left), .. } if !left.is_empty() => Some(
                "each start of skepd tries that again, and so does skep rollback of a service that ran before, and skep remove of one that did not; what is changed by then stays as it is",
            ),
            Self::Unfinished { source, .. } | Self::Together { source, .. } => source.hint(),
            Self::Changed { .. } => Some("look at it with skep show, and ask again"),
            Self::HalfBack { .. } => Some(
                "skep rollback of it, and each start of skepd, try again; skep upgrade leads forward again, and what is changed by then stays",
            ),
            Self::Alone { .. } => Some("skep install installs it with what it needs"),
            Self::Needed { .. } => Some("remove those first"),
            Self::InUse { .. } => Some(
                "a type that others use stays as it is: export another map beside it; or remove who uses it first",
            ),
            Self::Params(ParamsError::Gone { .. }) => Some(
                "--unset NAME lets go of a value; where the new version has another name for it, --set that one too",
            ),
            Self::Timers { .. } => Some(
                "skep remove ends them, and skep install brings the new version; the state of its maps goes",
            ),
            Self::Busy { .. } => {
                Some("stop the other one, or give this one its own --state-dir and --bpffs-dir")
            }
            Self::NotOurs { .. } => Some(
                "give the --state-dir that they belong to, or another --bpffs-dir, or remove the folder: that detaches what it holds",
            ),
            Self::Package { .. } => Some(
                "let the package that runs in again: skep upgrade with its own version or digest",
            ),
            Self::NotUndone { source, .. } | Self::Stuck { source, .. }
                if matches!(**source, Self::Journal(_)) =>
            {
                source.hint()
            }
            Self::NotUndone { .. } | Self::Stuck { .. } => Some(
                "other services go on; once the cause is mended, the next operation on this one and each start of skepd try again, and skep remove gives it up",
            ),
            Self::NotRunning { .. } => Some(
                "restart skepd once the cause is gone: each start tries again; skep remove gives the service up, and skep install then makes it anew",
            ),
            Self::Partly { .. } => Some(
                "restart skepd once the cause is gone: each start tries again; skep remove gives the service up",
            ),
            Self::Holder { .. } => Some(
                "try again: skepd starts the holder where none runs; if it fails again, restart skepd, whose log then says why",
            ),
            other => other.about_running(),
        }
    }

    /// Of what is refused since a service is stopped or held, or since another needs it.
    const fn about_running(&self) -> Option<&'static str> {
        Some(match self {
            Self::RunsOn { .. } => {
                "--with-users stops those first; --force stops this one alone, and they run on without it"
            }
            Self::Held { .. } => "skep unhold lets go of it",
            Self::Stopped { .. } => "skep start attaches it again",
            Self::NeedsStopped { .. } => {
                "skep start that one first, or this one with --with-needed"
            }
            Self::GivenBack(_) => {
                "skep remove who uses it first, or skep upgrade it to a version that defines the map as this one does"
            }
            Self::NeverBack { .. } => {
                "skep remove detaches it and forgets its state; skep install brings it back"
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::ServiceName;

    use super::*;

    #[test]
    fn each_start_tries_again_what_does_not_run() {
        let (service, why): (ServiceName, _) = ("x".parse().unwrap(), "no package".to_owned());
        let errors = [
            RuntimeError::NotRunning { service: service.clone(), why: why.clone() },
            RuntimeError::Partly { service, why },
        ];
        for error in errors {
            let hint = error.hint().unwrap_or_default();
            assert!(hint.starts_with("restart skepd once the cause is gone"), "{error}: {hint}");
            assert!(hint.contains("skep remove gives the service up"), "{error}: {hint}");
            assert!(!error.to_string().contains("install"), "{error}");
        }
    }
}
