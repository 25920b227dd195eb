//! Installing a package as a service.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::{ServiceName, life};
use skep_trust::{Package, Verified};

use crate::bring_up::BringUp;
use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Generation, Op};
use crate::status::Detail;
use crate::upgrade::Direction;

/// What the operator says at install and upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service's name.
    pub service: ServiceName,
    /// Values of parameters, as text. An upgrade keeps those of the running generation that are not given anew.
    pub params: BTreeMap<String, String>,
    /// Parameters whose value an upgrade forgets.
    pub unset: BTreeSet<String>,
}

impl Runtime {
    /// Loads and attaches a package. Where that fails half-way, everything is undone.
    ///
    /// # Errors
    /// There is such a service; the manifest asks for what is not there; the kernel refuses.
    pub fn install(
        &mut self,
        package: &Verified<Package>,
        install: &Request,
    ) -> Result<Detail, RuntimeError> {
        self.end_what_began()?;
        self.install_one(package, install)
    }

    /// The same within a set.
    pub(crate) fn install_one(
        &mut self,
        package: &Verified<Package>,
        install: &Request,
    ) -> Result<Detail, RuntimeError> {
        let service = &install.service;
        self.take_up(service)?;
        if self.state.services.contains_key(service) {
            return Err(RuntimeError::Exists { service: service.clone() });
        }
        let needs = self.needs_of(service, &package.manifest, None, Direction::Forward)?;
        let generation = generation(package, 1, install.params.clone());
        let generation = Generation { needs, ..generation };
        self.what_it_needs_runs(service, &generation)?;
        self.bring_up(&BringUp {
            op: Op::Install,
            service: service.clone(),
            package,
            generation,
            from: None,
            changes: BTreeMap::new(),
            then: None,
            settings: None,
        })?;
        self.service(service)
    }
}

/// A generation that is not in the kernel yet, and of which is not said yet what it needs.
pub(crate) fn generation(
    package: &Package,
    number: u64,
    params: BTreeMap<String, String>,
) -> Generation {
    let fixed = life::Generation {
        number,
        package: package.manifest.package.name.clone(),
        version: package.manifest.package.version.clone(),
        index: package.index,
        platform: package.platform,
        params,
    };
    Generation { fixed, incarnation: None, needs: BTreeMap::new() }
}
