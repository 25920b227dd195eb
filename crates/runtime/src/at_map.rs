//! Hooks that are at a map: programs that its sockets run, and functions of a kernel interface, which it holds. A target names it by
//! its symbol where it is the service's own.

use std::collections::BTreeMap;

use skep_kernel::KernelError;
use skep_spec::site::Over;
use skep_spec::{ServiceName, Site, Target};

use crate::error::RuntimeError;
use crate::hooks::Placed;
use crate::plan::MapChange;
use crate::runtime::Runtime;
use crate::state::Incarnation;

/// The service's own map that a target names, by its symbol.
pub(crate) fn own_map(target: &Target) -> Option<&str> {
    match target {
        Target::At { place, .. }
            if matches!(
                target.site(),
                Some(Site::SockMap | Site::Interface | Site::Iterator(Over::Map))
            ) =>
        {
            Some(place.as_str()).filter(|place| !place.starts_with('/'))
        }
        _ => None,
    }
}

/// The map that holds an interface's functions, of a target of that kind.
pub(crate) fn interface(target: &Target) -> Option<&str> {
    own_map(target).filter(|_| target.site() == Some(Site::Interface))
}

impl Runtime {
    /// The id of the service's own map that a target names; none where it names none.
    pub(crate) fn map_of(
        &self,
        service: &ServiceName,
        target: &Target,
    ) -> Result<Option<u32>, KernelError> {
        let Some(symbol) = own_map(target) else { return Ok(None) };
        let coming = self.state.begun(service).and_then(|begun| begun.to.as_ref());
        let runs = self.state.services.get(service).and_then(|service| service.active());
        let loaded = coming.into_iter().chain(runs).filter_map(|one| one.incarnation.as_ref());
        let found = loaded.filter_map(|one| id_of(one, symbol)).next();
        found.map(Some).ok_or_else(|| {
            let thing = format!("the map '{symbol}' that {target} names");
            let error = KernelError::unsupported("find", thing, "no object of the service has it");
            error.with_hint("name a map of the package, or the path of a pinned one")
        })
    }

    /// Refuses an upgrade that leaves a hook at a map behind.
    pub(crate) fn maps_stay(
        service: &ServiceName,
        placed: &[Placed],
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        for one in placed.iter().filter(|one| one.there) {
            let target = &one.chosen.target;
            let symbol = own_map(target).filter(|_| interface(target).is_none());
            let Some(symbol) = symbol else { continue };
            if changes.get(symbol).is_none_or(|change| *change == MapChange::Keep) {
                continue;
            }
            let why = format!(
                "program '{}' is attached to the map '{symbol}', of which the new version makes another one; keep its type, its \
                 sizes and its policy, or remove the service and install it again",
                one.chosen.function
            );
            return Err(RuntimeError::Hooks { service: service.clone(), why });
        }
        Ok(())
    }
}

pub(crate) fn id_of(incarnation: &Incarnation, symbol: &str) -> Option<u32> {
    let by_name = incarnation.maps.get(symbol);
    let by_symbol = || incarnation.maps.values().find(|map| map.symbol == symbol);
    by_name.or_else(by_symbol).map(|map| map.id)
}
