//! Probes of USDT: programs find the arguments by a map of their object, which their loader fills. All such maps of a service, of
//! each object and each generation, say the same under the same numbers: a hook stays attached when the program behind it changes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use skep_kernel::attach::usdt::{Described, PLACES, Probe, SPECS, carry_over};
use skep_kernel::{KernelError, MapHandle};
use skep_spec::{ServiceName, Target};

use crate::pins::Pins;
use crate::runtime::Runtime;
use crate::state::{Generation, Incarnation};

/// Whether a map is one that a loader fills for USDT.
pub(crate) fn is_loaders(symbol: &str) -> bool {
    matches!(symbol, SPECS | PLACES)
}

impl Runtime {
    /// The probe that a target names, described in all maps of the service; none where it names none.
    pub(crate) fn describe(
        &self,
        service: &ServiceName,
        target: &Target,
    ) -> Result<Option<Described>, KernelError> {
        let Some(probe) = Probe::find(target)? else { return Ok(None) };
        let known = self.state.services.get(service).into_iter();
        let known = known.flat_map(|service| service.generations.values());
        let coming = self.state.begun(service).and_then(|begun| begun.to.as_ref());
        let pins = self.pins(service);
        let places = known.chain(coming).filter_map(|generation| generation.incarnation.as_ref());
        let places: BTreeSet<PathBuf> = places.flat_map(|one| maps(&pins, one)).collect();
        let maps = places.iter().map(|path| MapHandle::open_pinned(path));
        probe.describe(&maps.collect::<Result<Vec<_>, _>>()?).map(Some)
    }

    /// Gives maps that only a new generation has what the running one's say.
    pub(crate) fn carry_probes(
        &self,
        service: &ServiceName,
        from: Option<&Generation>,
        to: &Incarnation,
    ) -> Result<(), KernelError> {
        let pins = self.pins(service);
        let old: BTreeSet<PathBuf> = from
            .and_then(|from| from.incarnation.as_ref())
            .map(|running| maps(&pins, running).collect())
            .unwrap_or_default();
        let Some(first) = old.first() else { return Ok(()) };
        let first = MapHandle::open_pinned(first)?;
        maps(&pins, to)
            .filter(|path| !old.contains(path))
            .try_for_each(|path| carry_over(&first, &MapHandle::open_pinned(&path)?))
    }
}

/// The pins of a generation's maps of this kind.
fn maps(pins: &Pins, incarnation: &Incarnation) -> impl Iterator<Item = PathBuf> {
    let records = incarnation.maps.iter().filter(|(_, record)| record.symbol == SPECS);
    records.map(|(name, record)| pins.map(name, record.made_by))
}
