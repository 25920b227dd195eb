//! Maps that a service has of another.

use std::collections::BTreeMap;

use skep_kernel::MapHandle;
use skep_object::share::{Defined, NotShared, shared};
use skep_object::{Facts, MapFacts};
use skep_spec::{Manifest, PackageName, ServiceName};

use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::hooks::Placed;
use crate::load::MapPlace;
use crate::runtime::{Runtime, facts_of};
use crate::state::{Generation, Incarnation, Need};

/// By where the user defines them.
pub(crate) type Shared = BTreeMap<MapPlace, MapHandle>;

/// Why a map of another service cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{user} cannot use a map of {package} {version}, which {runs} as {service}")]
pub struct Sharing {
    pub(crate) user: ServiceName,
    pub(crate) service: ServiceName,
    pub(crate) package: PackageName,
    pub(crate) version: String,
    /// "runs", "would run".
    pub(crate) runs: &'static str,
    pub(crate) source: NotShared,
}

/// Why a service that is loaded anew cannot have the map that a user of it has still.
#[derive(Debug, thiserror::Error)]
#[error("{service} cannot go on with the map that {user} has of it")]
pub struct GivenBack {
    pub(crate) service: ServiceName,
    pub(crate) user: ServiceName,
    pub(crate) source: NotShared,
}

impl Runtime {
    /// The maps that a service has of others, open, and held against what its objects make of them.
    pub(crate) fn shared_maps(
        &self,
        user: &ServiceName,
        needs: &BTreeMap<PackageName, Need>,
        objects: &Objects,
    ) -> Result<Shared, RuntimeError> {
        let mut maps = Shared::new();
        for need in needs.values().filter(|need| !need.maps.is_empty()) {
            let active = self.loaded(user, &need.service)?;
            let package = self.package(&active.index)?;
            let theirs = facts_of(&package)?;
            for symbol in &need.maps {
                let found = self.shared_map(need, (&active, &theirs), symbol, objects);
                for (place, map) in found.map_err(|refused| refused.of(user, need, &active))? {
                    let object = place.object.clone();
                    if maps.insert(place, map).is_some() {
                        let why = format!("'{object}' has it of two packages");
                        return Err(
                            Refused::Map(NotShared::new(symbol, why)).of(user, need, &active)
                        );
                    }
                }
            }
        }
        Ok(maps)
    }

    /// The generation of a service that the kernel has, for one that needs it.
    fn loaded(&self, user: &ServiceName, needed: &ServiceName) -> Result<Generation, RuntimeError> {
        let active = self.runs(needed).filter(|active| active.incarnation.is_some());
        active.cloned().ok_or_else(|| RuntimeError::NeedsLoaded {
            service: user.clone(),
            needed: needed.clone(),
            stopped: self.is_stopped(needed),
        })
    }

    /// The maps of a service that is loaded anew and that its users still have: it goes on with them, so that there is one of each
    /// in the kernel, with what it holds.
    pub(crate) fn maps_of_users(
        &self,
        service: &ServiceName,
        anew: Anew<'_>,
    ) -> Result<Shared, RuntimeError> {
        let mut maps = Shared::new();
        for (user, need) in self.users(service).filter(|(_, need)| !need.maps.is_empty()) {
            let Some(active) = self.runs(user).filter(|active| active.incarnation.is_some()) else {
                continue;
            };
            let package = self.package(&active.index)?;
            let theirs = facts_of(&package)?;
            for symbol in &need.maps {
                let kept = self.kept_map((user, active, &theirs), symbol, anew);
                let (place, map) = kept.map_err(|refused| refused.given_back(service, user))?;
                maps.entry(place).or_insert(map);
            }
        }
        Ok(maps)
    }

    fn kept_map(
        &self,
        (user, active, theirs): (&ServiceName, &Generation, &Objects),
        symbol: &str,
        anew: Anew<'_>,
    ) -> Result<(MapPlace, MapHandle), Refused> {
        let not = |why: &str| Refused::Map(NotShared::new(symbol, why));
        let records = active.incarnation.iter().flat_map(|i| &i.maps);
        let mut of_symbol = records.filter(|(_, record)| record.symbol == symbol);
        let (name, record) = of_symbol.next().ok_or_else(|| not("its user has none"))?;
        let facts = theirs.get(&record.object).and_then(|facts| Some((facts, facts.map(symbol)?)));
        let (facts, map) = facts.ok_or_else(|| not("no object of its user defines it"))?;
        let user_has = Defined { facts, map };
        let (object, facts, map) =
            anew.exported(symbol).ok_or_else(|| not("it is not exported any more"))?;
        shared(Defined { facts, map }, user_has).map_err(Refused::Map)?;
        let handle = self.open_map(user, active, name).map_err(Refused::Kernel)?;
        Ok((MapPlace { object: object.clone(), symbol: symbol.to_owned() }, handle))
    }

    fn shared_map(
        &self,
        need: &Need,
        (active, theirs): (&Generation, &Objects),
        symbol: &str,
        objects: &Objects,
    ) -> Result<Shared, Refused> {
        let not = |why: String| Refused::Map(NotShared::new(symbol, why));
        let exported =
            || active.incarnation.iter().flat_map(|i| &i.maps).filter(|(_, r)| r.export.is_some());
        let Some((name, record)) = exported().find(|(_, record)| record.symbol == symbol) else {
            let there: Vec<&str> = exported().map(|(_, record)| record.symbol.as_str()).collect();
            let there = if there.is_empty() { "no map".to_owned() } else { there.join(", ") };
            return Err(not(format!("it exports {there}")));
        };
        let facts = theirs.get(&record.object).and_then(|facts| Some((facts, facts.map(symbol)?)));
        let (facts, map) = facts.ok_or_else(|| not("its object has none".to_owned()))?;
        let exporter = Defined { facts, map };
        let mut maps = Shared::new();
        for (object, facts) in objects {
            let Some(map) = facts.map(symbol) else { continue };
            shared(exporter, Defined { facts, map }).map_err(Refused::Map)?;
            let handle = self.open_map(&need.service, active, name).map_err(Refused::Kernel)?;
            maps.insert(MapPlace { object: object.clone(), symbol: symbol.to_owned() }, handle);
        }
        if maps.is_empty() {
            return Err(not("no object of its user defines one of that name".to_owned()));
        }
        Ok(maps)
    }

    /// Whether a service still has the maps that it was loaded with: who gives them may have begun anew.
    pub(crate) fn has_its_maps(&self, generation: &Generation) -> bool {
        let Some(ours) = &generation.incarnation else { return true };
        generation.needs.values().all(|need| {
            let theirs = self.runs(&need.service).and_then(|active| active.incarnation.as_ref());
            let Some(theirs) = theirs else { return true };
            need.maps.iter().all(|symbol| {
                let id = |i: &Incarnation| {
                    i.maps.values().find(|record| record.symbol == *symbol).map(|record| record.id)
                };
                id(ours).is_none_or(|id_of_ours| id(theirs) == Some(id_of_ours))
            })
        })
    }
}

/// A generation that is about to be loaded.
#[derive(Clone, Copy)]
pub(crate) struct Anew<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) objects: &'a Objects,
    pub(crate) placed: &'a [Placed],
}

impl<'a> Anew<'a> {
    /// The object that a map will be exported of.
    fn exported(&self, symbol: &str) -> Option<(&'a String, &'a Facts, &'a MapFacts)> {
        self.manifest.map.get(symbol)?.export.as_ref()?;
        let is_loaded = |object: &String| self.placed.iter().any(|p| p.chosen.object == *object);
        let mut loaded = self.objects.iter().filter(|(object, _)| is_loaded(object));
        loaded.find_map(|(object, facts)| Some((object, facts, facts.map(symbol)?)))
    }
}

/// Why one map is not shared.
enum Refused {
    Map(NotShared),
    Kernel(RuntimeError),
}

impl Refused {
    fn given_back(self, service: &ServiceName, user: &ServiceName) -> RuntimeError {
        match self {
            Self::Kernel(error) => error,
            Self::Map(source) => {
                let (service, user) = (service.clone(), user.clone());
                RuntimeError::GivenBack(Box::new(GivenBack { service, user, source }))
            }
        }
    }

    fn of(self, user: &ServiceName, need: &Need, active: &Generation) -> RuntimeError {
        match self {
            Self::Kernel(error) => error,
            Self::Map(source) => RuntimeError::Sharing(Box::new(Sharing {
                user: user.clone(),
                service: need.service.clone(),
                package: active.package.clone(),
                version: active.version.to_string(),
                runs: "runs",
                source,
            })),
        }
    }
}
