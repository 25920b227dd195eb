//! Why a package has no version: who asks for what, and who asks for them.

use std::fmt;

use super::Range;
use crate::{PackageName, Version};

/// One step of a chain: who needs which range of what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// A package, or `the service NAME`.
    pub who: String,
    /// The range that it has for the one after it.
    pub range: Range,
}

/// A package of which no version is in every range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The package.
    pub package: PackageName,
    /// For each range the way to it, from the root, or from a service that runs.
    pub chains: Vec<Vec<Link>>,
    /// The versions that there are, the highest first.
    pub there: Vec<Version>,
}

/// Versions that are named; there may be thousands.
const NAMED: usize = 8;

/// `acme/app 1.0.0 → acme/flows ^1`: who asks, then each package with the range that it is asked for in.
pub(super) fn chain(links: &[Link], last: &str) -> String {
    let mut text = String::new();
    let mut range: Option<&Range> = None;
    for link in links {
        text += &link.who;
        text += &range.map(|range| format!(" {range}")).unwrap_or_default();
        text += " → ";
        range = Some(&link.range);
    }
    text + last + &range.map(|range| format!(" {range}")).unwrap_or_default()
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, chains, there } = self;
        let chains: Vec<String> =
            chains.iter().map(|links| chain(links, package.as_str())).collect();
        let asked = chains.join(", but ");
        match there.as_slice() {
            [] => write!(f, "there is no version of {package}: {asked}"),
            there => {
                let named: Vec<String> =
                    there.iter().take(NAMED).map(ToString::to_string).collect();
                let more = there.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let named = named.join(", ");
                write!(
                    f,
                    "no version of {package} is in every range: {asked}; there are {named}{more}"
                )
            }
        }
    }
}
