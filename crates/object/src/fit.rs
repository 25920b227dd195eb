//! Whether a package may run here: this version can do what its manifest asks for, and its code does no more than its
//! manifest says.

use std::collections::BTreeMap;

use skep_spec::Manifest;

use crate::bound::{self, Misbound};
use crate::event::{self, WhenError};
use crate::named::{self, Absent, TwoMaps};
use crate::{Facts, ObjectError, declared};

/// What to do about a package that was not packed by `skep pack`.
const NOT_PACKED: &str =
    "nothing was loaded. skep pack lets no such package out: ask its publisher";

/// Why a package may not run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its manifest asks for what this version cannot do.
    #[error("{package} asks for what this version of skep cannot do: {}", keys.join(", "))]
    Unsupported {
        /// Its name and version.
        package: String,
        /// The manifest's keys.
        keys: Vec<String>,
    },
    /// An object cannot be read.
    #[error("object '{object}' cannot be read")]
    Object {
        /// The object.
        object: String,
        /// Why.
        source: ObjectError,
    },
    /// Its manifest names what no object has.
    #[error("the manifest of {package} {absent}")]
    Absent {
        /// Its name and version.
        package: String,
        /// What.
        absent: Absent,
    },
    /// Nobody could tell which map an output shows.
    #[error("the manifest of {package} does not fit: {two}")]
    TwoMaps {
        /// Its name and version.
        package: String,
        /// Which.
        two: TwoMaps,
    },
    /// An output's `when` says nothing of its records.
    #[error("the manifest of {package} does not fit: {when}")]
    When {
        /// Its name and version.
        package: String,
        /// Which.
        when: WhenError,
    },
    /// A parameter cannot set its variable.
    #[error("the manifest of {package} does not fit: {}", skep_spec::chain(bound))]
    Bound {
        /// Its name and version.
        package: String,
        /// Which.
        bound: Misbound,
    },
    /// Its code does what its `[permissions]` leave out.
    #[error("{package} does more than its [permissions] say")]
    Permissions {
        /// Its name and version.
        package: String,
        /// What they leave out, a sentence each.
        missing: Vec<String>,
    },
}

impl Unfit {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::Object { .. } => "object",
            Self::Absent { .. } | Self::When { .. } | Self::Bound { .. } => "absent",
            Self::TwoMaps { .. } => "two-maps",
            Self::Permissions { .. } => "not-permitted",
        }
    }

    /// Why, a sentence each, where the message does not say it all.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        match self {
            Self::Object { source, .. } => vec![source.to_string()],
            Self::Permissions { missing, .. } => missing.clone(),
            Self::Unsupported { .. }
            | Self::Absent { .. }
            | Self::TwoMaps { .. }
            | Self::When { .. }
            | Self::Bound { .. } => Vec::new(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } | Self::Object { .. } => None,
            Self::Absent { .. } | Self::TwoMaps { .. } | Self::When { .. } | Self::Bound { .. } => {
                Some(NOT_PACKED.to_owned())
            }
            Self::Permissions { .. } => Some(format!("{NOT_PACKED} what the code is for")),
        }
    }
}

/// Holds the objects of a package for one architecture against its manifest, with parameters as `given`.
///
/// # Errors
/// The first thing that does not fit.
pub fn fit(
    manifest: &Manifest,
    objects: &BTreeMap<String, Vec<u8>>,
    given: &BTreeMap<String, String>,
) -> Result<(), Unfit> {
    let package = || format!("{} {}", manifest.package.name, manifest.package.version);
    let keys = manifest.unsupported();
    if !keys.is_empty() {
        return Err(Unfit::Unsupported { package: package(), keys });
    }
    let read = |(object, elf): (&String, &Vec<u8>)| {
        Facts::parse(elf).map_err(|source| Unfit::Object { object: object.clone(), source })
    };
    let facts = objects.iter().map(read).collect::<Result<Vec<Facts>, _>>()?;
    let all: Vec<&Facts> = facts.iter().collect();
    if let Some(absent) = named::absent(manifest, &all).next() {
        return Err(Unfit::Absent { package: package(), absent: absent.with_near(&all) });
    }
    named::are_told_apart(manifest, objects.keys().map(String::as_str).zip(&facts))
        .map_err(|two| Unfit::TwoMaps { package: package(), two })?;
    bound::all_bound(manifest, facts.iter())
        .map_err(|bound| Unfit::Bound { package: package(), bound })?;
    if let Some(when) = event::unconditioned(manifest, &all).next() {
        return Err(Unfit::When { package: package(), when });
    }
    declared::hold(manifest, &facts, given)
        .map_err(|exceeded| Unfit::Permissions { package: package(), missing: exceeded.missing() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOUCH: &[u8] = include_bytes!("../../../spec/vectors/files/objects/touch.o");

    fn manifest(members: &str) -> Manifest {
        let text = format!(
            r#"{{"objects":{{}},{members}"package":{{"license":"MIT","name":"a/b","version":"1.0.0"}},"spec":"1.0"}}"#
        );
        Manifest::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn two_maps_of_one_name_are_no_counter() {
        let manifest = manifest(r#""output":{"n":{"kind":"counter","map":"events"}},"#);
        let of = |objects: [&str; 2]| {
            let objects = objects.map(|name| (name.to_owned(), TOUCH.to_vec()));
            fit(&manifest, &BTreeMap::from(objects), &BTreeMap::new()).unwrap_err()
        };
        let unfit = of(["a", "b"]);
        assert_eq!(
            unfit.to_string(),
            "the manifest of a/b 1.0.0 does not fit: [output.n] shows the map 'events', which the objects 'a' and 'b' both define"
        );
        assert_eq!((unfit.code(), unfit.hint()), ("two-maps", Some(NOT_PACKED.to_owned())));
        assert!(matches!(of(["a", "a"]), Unfit::Permissions { .. }), "one object is told apart");
    }

    /// What is said of `touch.o` under a manifest with these members.
    fn said(members: &str) -> String {
        let manifest = manifest(members);
        let objects = BTreeMap::from([("touch".to_owned(), TOUCH.to_vec())]);
        let unfit = fit(&manifest, &objects, &BTreeMap::new()).unwrap_err();
        let causes = unfit.causes().iter().map(|cause| format!("\n  {cause}")).collect::<String>();
        format!("{}: {unfit}{causes}\n{:?}", unfit.code(), unfit.hint())
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let manifests = [
            r#""map":{"events":{"persist":true}},"#,
            r#""map":{"event":{}},"#,
            r#""output":{"a":{"kind":"event","map":"events","when":{"field":"x","equals":1}}},"#,
            "",
        ];
        insta::assert_snapshot!(manifests.map(said).join("\n\n"));
    }
}
