//! Maps of services and of this kernel: listed, opened, and written while no operation on a service comes between.

use serde_json::Value;
use skep_api::{MapRef, Maps};
use skep_kernel::maps::Update;
use skep_runtime::maps::{EntryError, MapLine, NewValue, OpenMap};
use skep_runtime::{Runtime, RuntimeError};

use super::Node;
use crate::error::NodeError;

impl Node {
    /// Maps of services, or all of this kernel.
    ///
    /// # Errors
    /// There is no such service, or the kernel does not list them.
    pub fn maps(&self, asked: &Maps) -> Result<Vec<MapLine>, NodeError> {
        let owned = {
            let runtime = self.runtime();
            asked.service.as_ref().map(|service| runtime.service(service)).transpose()?;
            runtime.owned_maps()
        };
        let mut lines = owned.lines(asked.all)?;
        lines.retain(|line| {
            let owner = line.owner.as_ref().map(|(service, _)| service);
            asked.service.is_none() || owner == asked.service.as_ref()
        });
        Ok(lines)
    }

    /// A map, to be read.
    ///
    /// # Errors
    /// There is no such service or map.
    pub fn map(&self, map: &MapRef) -> Result<OpenMap, NodeError> {
        Ok(opened(&self.runtime(), map)?)
    }

    /// Sets an entry of a map; no operation on a service comes between.
    ///
    /// # Errors
    /// There is no such map, it is skepd's own, the entry is none of it, or the kernel refuses.
    pub fn map_update(
        &self,
        map: &MapRef,
        key: &Value,
        value: &NewValue,
        how: Update,
    ) -> Result<(), NodeError> {
        self.write(map, key, "set", |open| open.update(key, value, how))
    }

    /// Removes an entry of a map.
    ///
    /// # Errors
    /// As [`Self::map_update`].
    pub fn map_delete(&self, map: &MapRef, key: &Value) -> Result<(), NodeError> {
        self.write(map, key, "removed", |open| open.delete(key))
    }

    fn write(
        &self,
        map: &MapRef,
        key: &Value,
        done: &'static str,
        write: impl FnOnce(&OpenMap) -> Result<(), EntryError>,
    ) -> Result<(), NodeError> {
        let runtime = self.runtime();
        let open = opened(&runtime, map)?;
        runtime.is_free(&open)?;
        write(&open)?;
        let service = match map {
            MapRef::Of(service, _) => service.as_str(),
            MapRef::Id(_) => "",
        };
        tracing::info!(service, map = open.name(), id = open.id(), %key, "root {done} an entry");
        Ok(())
    }
}

fn opened(runtime: &Runtime, map: &MapRef) -> Result<OpenMap, RuntimeError> {
    match map {
        MapRef::Of(service, map) => runtime.service_map(service, map),
        MapRef::Id(id) => runtime.map_by_id(*id),
    }
}
