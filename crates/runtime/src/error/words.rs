//! What messages say of several services, and what became of each where a set failed.

use skep_spec::{PackageName, ServiceName, Version};

use super::RuntimeError;
use crate::together::Left;

impl RuntimeError {
    /// What became of other services where a set failed: of each why it is not what it was to be; nothing where it is.
    #[must_use]
    pub fn others(&self) -> Vec<(ServiceName, Option<String>)> {
        match self {
            Self::Together { service, undone, left, .. } => {
                let back = |one: &ServiceName| {
                    (one.clone(), Some(format!("{service} failed, and this was undone")))
                };
                let left = left.iter().flatten().map(|(one, why)| {
                    let why = format!("{service} failed, and this could not be undone: {why}");
                    (one.clone(), Some(why))
                });
                undone.iter().map(back).chain(left).collect()
            }
            Self::HalfBack { done, .. } => done.iter().map(|one| (one.clone(), None)).collect(),
            _ => Vec::new(),
        }
    }
}

pub(super) fn version_there(package: &PackageName, there: Option<&Version>) -> String {
    there.map_or_else(
        || format!("nothing here runs {package}"),
        |version| format!("{version} runs here"),
    )
}

pub(super) fn what_of_the_others(undone: &[ServiceName], left: &Result<Left, String>) -> String {
    let left = match left {
        Ok(left) => left,
        Err(why) => {
            return format!(
                "and what was done before it could not be undone ({why}): the next operation and each start try again"
            );
        }
    };
    let one = |(service, why): &(ServiceName, String)| format!("{service} ({why})");
    let not = || left.iter().map(one).collect::<Vec<_>>().join(", ");
    match (undone.is_empty(), left.is_empty()) {
        (true, true) => "and nothing was done".to_owned(),
        (false, true) => format!("and what was done before it was undone: {}", names(undone)),
        (true, false) => format!("and what was done before it could not be undone: {}", not()),
        (false, false) => {
            format!("and what was done before it was undone: {}, but for {}", names(undone), not())
        }
    }
}

pub(super) fn names(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn known(there: &[ServiceName]) -> String {
    match there {
        [] => ": none is installed".to_owned(),
        names => {
            let names: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
            format!("; there are: {}", names.join(", "))
        }
    }
}
