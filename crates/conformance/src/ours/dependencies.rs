//! Part 8: dependencies.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_object::Facts;
use skep_object::share::{self, Defined};
use skep_spec::dependency::{self, Needs, Other, ResolveError, Root, Versions};
use skep_spec::{PackageName, Version};

use super::{Answered, Bytes, Failure, question, refused, unreadable};

#[derive(Deserialize)]
struct Asked {
    root: Package,
    packages: Registry,
    #[serde(default)]
    runs: BTreeMap<PackageName, Version>,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Package {
    name: PackageName,
    version: Version,
    needs: Needs,
}

#[derive(Deserialize)]
struct Service {
    service: String,
    package: PackageName,
    needs: Needs,
}

#[derive(Deserialize)]
struct Registry(BTreeMap<PackageName, BTreeMap<Version, Needs>>);

impl Versions for Registry {
    type Error = Infallible;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, Infallible> {
        Ok(self.0.get(package).into_iter().flat_map(BTreeMap::keys).cloned().collect())
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, Infallible> {
        Ok(self.0.get(package).and_then(|all| all.get(version)).cloned().unwrap_or_default())
    }
}

pub(super) fn resolve(input: &Value) -> Answered {
    let Asked { root, mut packages, runs, services } = question(input)?;
    let other = |Service { service, package, needs }| Other { service, package, needs };
    let others: Vec<Other> = services.into_iter().map(other).collect();
    let root = Root { name: &root.name, version: &root.version, needs: &root.needs };
    let set = match dependency::resolve(root, &runs, &others, &mut packages) {
        Ok(set) => set,
        Err(ResolveError::Unresolved(error)) => return Err(refused(error.code(), &error)),
        Err(ResolveError::Versions(never)) => match never {},
    };
    let set: Vec<_> = set.into_iter().map(|one| (one.name, one.version)).collect();
    Ok(json!({"set": set}))
}

pub(super) fn shared(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Side {
        data: Bytes,
        map: String,
    }
    #[derive(Deserialize)]
    struct Asked {
        exporter: Side,
        user: Side,
    }
    let Asked { exporter, user } = question(input)?;
    let (theirs, ours) = (Facts::parse(&exporter.data.0)?, Facts::parse(&user.data.0)?);
    let defined =
        |facts: &'_ Facts, name: &str| facts.map(name).cloned().ok_or_else(|| unreadable(name));
    let (there, here) = (defined(&theirs, &exporter.map)?, defined(&ours, &user.map)?);
    let there = Defined { facts: &theirs, map: &there };
    let here = Defined { facts: &ours, map: &here };
    share::shared(there, here).map_err(|error| -> Failure { refused(error.code(), &error) })?;
    Ok(json!({}))
}
