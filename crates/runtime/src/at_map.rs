//! Hooks that are at a map: programs that its sockets run, and functions of a kernel interface, which it holds. A target names it by
//! its symbol where it is the service's own, `OBJECT/SYMBOL` where several objects have one.

use std::collections::BTreeMap;

use skep_kernel::KernelError;
use skep_spec::site::Over;
use skep_spec::{ServiceName, Site, Target};

use crate::choose::{ChooseError, Chosen, Objects};
use crate::error::RuntimeError;
use crate::hooks::Placed;
use crate::load::MapPlace;
use crate::plan::MapChange;
use crate::runtime::Runtime;
use crate::state::{Generation, MapRecord};

/// The service's own map that a target names, by its symbol or as `OBJECT/SYMBOL`.
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

/// Refuses a target that names a map which several objects have.
pub(crate) fn names_one(chosen: &Chosen, objects: &Objects) -> Result<(), ChooseError> {
    let plain = own_map(&chosen.target).filter(|place| !place.contains('/'));
    let Some(symbol) = plain.filter(|_| interface(&chosen.target).is_none()) else { return Ok(()) };
    let having = objects.iter().filter(|(_, facts)| facts.map(symbol).is_some());
    let having: Vec<&String> = having.map(|(object, _)| object).collect();
    if having.len() < 2 {
        return Ok(());
    }
    let section = chosen.target.to_string();
    let section = section.strip_suffix(symbol).unwrap_or(&section);
    let named = having.iter().map(|object| format!("'{section}{object}/{symbol}'"));
    Err(ChooseError::SeveralMaps {
        program: chosen.name.clone(),
        target: chosen.target.to_string(),
        symbol: symbol.to_owned(),
        objects: having.iter().map(|object| object.as_str()).collect::<Vec<_>>().join(", "),
        targets: named.collect::<Vec<_>>().join(" or "),
    })
}

/// The name and the record of the map that a target of `hook` names, in a generation that is loaded.
pub(crate) fn map_at<'a>(
    generation: &'a Generation,
    hook: &str,
    target: &Target,
) -> Option<(&'a str, &'a MapRecord)> {
    let place = own_map(target)?;
    let (object, symbol) = place.split_once('/').map_or((None, place), |(o, s)| (Some(o), s));
    // The functions of an interface are in the object of its variable.
    let own = interface(target).and_then(|_| generation.program_on(hook));
    let object = object.or(own.map(|(_, program)| program.object.as_str()));
    let maps = || generation.incarnation.iter().flat_map(|i| &i.maps);
    let is_it =
        |map: &MapRecord| map.symbol == symbol && object.is_none_or(|object| map.object == object);
    let by_name = maps().find(|(name, map)| *name == symbol && is_it(map));
    let found = by_name.or_else(|| maps().find(|(_, map)| is_it(map)));
    found.map(|(name, map)| (name.as_str(), map))
}

impl Runtime {
    /// The id of the service's own map that a hook's target names; none where it names none.
    pub(crate) fn map_of(
        &self,
        service: &ServiceName,
        hook: &str,
        target: &Target,
    ) -> Result<Option<u32>, KernelError> {
        let Some(symbol) = own_map(target) else { return Ok(None) };
        let coming = self.state.begun(service).and_then(|begun| begun.to.as_ref());
        let runs = self.state.services.get(service).and_then(|service| service.active());
        let mut loaded = coming.into_iter().chain(runs);
        let found = loaded.find_map(|one| map_at(one, hook, target));
        found.map(|(_, map)| Some(map.id)).ok_or_else(|| {
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
        names: &BTreeMap<String, MapPlace>,
    ) -> Result<(), RuntimeError> {
        for one in placed.iter().filter(|one| one.there) {
            let target = &one.chosen.target;
            let symbol = own_map(target).filter(|_| interface(target).is_none());
            let Some(symbol) = symbol else { continue };
            let is_it = |place: &MapPlace| match symbol.split_once('/') {
                Some((object, symbol)) => (object, symbol) == (&place.object, &place.symbol),
                None => place.symbol == symbol,
            };
            let mut made = names.iter().filter(|(name, place)| {
                is_it(place) && changes.get(*name).is_some_and(|c| *c != MapChange::Keep)
            });
            if made.next().is_none() {
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
