//! Where the packages of a set are looked for.

use std::collections::BTreeMap;

use super::{Needs, Resolved, Versions};
use crate::{PackageName, Version};

/// A registry, an archive or a layout.
pub trait Place {
    /// What is had of a package: its manifest, or more.
    type Package;
    /// Why it cannot be asked.
    type Error;

    /// The versions that it has of a package; none where it has no such package.
    ///
    /// # Errors
    /// It cannot be asked.
    fn versions(&self, package: &PackageName) -> Result<Vec<Version>, Self::Error>;

    /// A version that it has, and what that needs.
    ///
    /// # Errors
    /// It does not give it, or it is refused.
    fn package(
        &self,
        package: &PackageName,
        version: &Version,
    ) -> Result<(Needs, Self::Package), Self::Error>;
}

/// Finds packages: the first place that has any version of a package is its place (LIF-055).
pub struct Finder<P: Place> {
    places: Vec<P>,
    found: BTreeMap<PackageName, usize>,
    /// Of each package the version that was chosen last: no round goes back to one before.
    had: BTreeMap<PackageName, (Version, P::Package)>,
}

impl<P: Place> Finder<P> {
    /// One that looks in these places, in this order.
    #[must_use]
    pub const fn new(places: Vec<P>) -> Self {
        Self { places, found: BTreeMap::new(), had: BTreeMap::new() }
    }

    /// What was had of a package of the set.
    pub fn take(&mut self, one: &Resolved) -> Option<P::Package> {
        let (version, package) = self.had.remove(&one.name)?;
        (version == one.version).then_some(package)
    }
}

impl<P: Place> Versions for Finder<P> {
    type Error = P::Error;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, P::Error> {
        for (at, place) in self.places.iter().enumerate() {
            let versions = place.versions(package)?;
            if !versions.is_empty() {
                self.found.insert(package.clone(), at);
                return Ok(versions);
            }
        }
        Ok(Vec::new())
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, P::Error> {
        let place = self.found.get(package).and_then(|at| self.places.get(*at));
        let Some(place) = place else { return Ok(Needs::new()) };
        let (needs, had) = place.package(package, version)?;
        self.had.insert(package.clone(), (version.clone(), had));
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use super::*;
    use crate::dependency::{Root, resolve};

    /// Names and ranges.
    type Wants = &'static [(&'static str, &'static str)];

    /// By name and version, what it needs; and what was asked of it.
    #[derive(Default)]
    struct Listed {
        has: Vec<(&'static str, &'static str, Wants)>,
        asked: RefCell<Vec<String>>,
    }

    impl Place for &Listed {
        type Package = String;
        type Error = Infallible;

        fn versions(&self, package: &PackageName) -> Result<Vec<Version>, Infallible> {
            let of_name = self.has.iter().filter(|(name, ..)| *name == package.as_str());
            Ok(of_name.map(|(_, version, _)| version.parse().unwrap()).collect())
        }

        fn package(
            &self,
            package: &PackageName,
            version: &Version,
        ) -> Result<(Needs, String), Infallible> {
            let is_it = |name: &str, v: &str| name == package.as_str() && v == version.to_string();
            let (.., needs) = self.has.iter().find(|(name, v, _)| is_it(name, v)).unwrap();
            self.asked.borrow_mut().push(format!("{package} {version}"));
            Ok((ranges(needs), format!("{package} {version}")))
        }
    }

    fn ranges(needs: &[(&str, &str)]) -> Needs {
        needs.iter().map(|(name, range)| (name.parse().unwrap(), range.parse().unwrap())).collect()
    }

    #[test]
    fn the_first_place_that_has_any_version_is_the_place_and_what_was_given_up_is_gone() {
        let first = Listed {
            has: vec![
                ("a/x", "1.0.0", &[("a/z", "^1"), ("a/y", "^1")]),
                ("a/y", "1.0.0", &[("a/z", "=1.0")]),
            ],
            ..Listed::default()
        };
        let second = Listed {
            has: vec![("a/x", "2.0.0", &[]), ("a/z", "1.1.0", &[]), ("a/z", "1.0.0", &[])],
            ..Listed::default()
        };
        let mut finder = Finder::new(vec![&first, &second]);
        let needs = ranges(&[("a/x", "*")]);
        let (name, version) = ("a/root".parse().unwrap(), "1.0.0".parse().unwrap());
        let root = Root { name: &name, version: &version, needs: &needs };
        let Ok(set) = resolve(root, &BTreeMap::new(), &[], &mut finder) else {
            panic!("there is a set")
        };
        let had: Vec<String> = set.iter().filter_map(|one| finder.take(one)).collect();
        assert_eq!(had, ["a/z 1.0.0", "a/y 1.0.0", "a/x 1.0.0"]);
        assert!(second.asked.borrow().contains(&"a/z 1.1.0".to_owned()), "it was tried first");
        assert!(finder.had.is_empty(), "nothing is left of what a round gave up");
    }
}
