//! Maps as the kernel has them: listed, read and written by their BTF, as JSON. Those of services by name, any other by id.
//!
//! Types are what the kernel was told of a map; where it was told nothing, what the service's object says. Contents are those
//! of this moment: what an upgrade has not moved yet is in the map of the generation before.

mod error;
mod memory;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use serde_json::Value;
use skep_kernel::maps::{Batch, MapInfo, Update, possible_cpus};
use skep_kernel::{KernelError, MapHandle, Program, loaded};
use skep_object::event::Decoder;
use skep_object::{Btf, Facts, MapKind, TypeId};
use skep_spec::ServiceName;

pub use self::error::EntryError;
pub(crate) use self::memory::Memories;
use crate::error::RuntimeError;
use crate::runtime::{Runtime, facts_of};
use crate::state::Service;

/// Batches that wait for the thread that makes text of them.
const BATCHES: usize = 2;
/// Bytes of text that are handed on at once; the last entry of a piece may be longer.
const PIECE: usize = 128 << 10;

/// A map of this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// What the kernel says.
    pub info: MapInfo,
    /// Its whole name: of a service's map its symbol.
    pub name: String,
    /// Bytes of kernel memory; 0 where the kernel does not say.
    pub memory: u64,
    /// The key's type as C writes it.
    pub key_type: Option<String>,
    /// The value's.
    pub value_type: Option<String>,
    /// Whose map it is: a service, and the generation that brought it.
    pub owner: Option<(ServiceName, u64)>,
}

/// One map, and how its bytes are read.
#[derive(Debug)]
pub struct OpenMap {
    handle: MapHandle,
    name: String,
    types: Types,
}

#[derive(Debug)]
struct Types {
    key: Decoder,
    value: Decoder,
    /// As C writes them.
    names: [Option<String>; 2],
}

/// A value to be written.
#[derive(Clone, Debug)]
pub enum NewValue {
    /// Of a map per CPU: for every CPU.
    Whole(Value),
    /// One for each possible CPU.
    PerCpu(Vec<Value>),
}

impl Runtime {
    /// A map of a service, by its name.
    ///
    /// # Errors
    /// There is no such service or map; of a name that is not there the nearest is said.
    pub fn service_map(&self, service: &ServiceName, map: &str) -> Result<OpenMap, RuntimeError> {
        let active = self.active(service)?;
        let handle = self.open_map(service, &active, map)?;
        let record = active.incarnation.as_ref().and_then(|i| i.maps.get(map));
        let types = Types::of_kernel(handle.info()).or_else(|| {
            let package = self.package(&active.index).ok()?;
            let (objects, record) = (facts_of(&package).ok()?, record?);
            Types::of_object(objects.get(&record.object)?, &record.symbol)
        });
        Ok(OpenMap::new(handle, map.to_owned(), types))
    }

    /// A map by the id that it has in this kernel.
    ///
    /// # Errors
    /// There is none.
    pub fn map_by_id(&self, id: u32) -> Result<OpenMap, RuntimeError> {
        let named = self.names().into_iter().find_map(|service| {
            let active = self.active(&service).ok()?;
            let maps = &active.incarnation.as_ref()?.maps;
            let (name, _) = maps.iter().find(|(_, map)| map.id == id)?;
            Some((service, name.clone()))
        });
        if let Some((service, name)) = named {
            return self.service_map(&service, &name);
        }
        let handle = MapHandle::by_id(id).map_err(|error| match error.is_not_found() {
            true => RuntimeError::NoId { what: "map", id },
            false => error.into(),
        })?;
        let (types, name) = (Types::of_kernel(handle.info()), handle.name().to_owned());
        Ok(OpenMap::new(handle, name, types))
    }

    /// That nobody but skepd is to write to a map.
    ///
    /// # Errors
    /// [`EntryError::Own`].
    pub fn is_free(&self, map: &OpenMap) -> Result<(), EntryError> {
        let id = map.handle.info().id;
        let is_it =
            |path: PathBuf| MapHandle::open_pinned(&path).is_ok_and(|map| map.info().id == id);
        let own = |(name, service): &(&ServiceName, &Service)| {
            let pins = self.pins(name);
            let slots = service.hooks.keys().map(|hook| pins.slots(hook));
            let counts = service.generations.values().filter_map(|g| g.incarnation.as_ref());
            let mut counts = counts.flat_map(|i| i.maps.values()).filter(|map| map.is_lost());
            counts.any(|map| map.id == id) || slots.chain([pins.switch()]).any(is_it)
        };
        match self.state.services.iter().find(own) {
            Some((service, _)) => Err(EntryError::Own { id, service: service.clone() }),
            None => Ok(()),
        }
    }

    /// Whose each map of services is that people know.
    #[must_use]
    pub fn owned_maps(&self) -> OwnedMaps {
        let mut owners = BTreeMap::new();
        for (name, service) in &self.state.services {
            for generation in service.generations.values() {
                let active = generation.number == service.active;
                let maps = generation.incarnation.iter().flat_map(|i| &i.maps);
                for (map, record) in maps.filter(|(_, map)| !map.is_lost()) {
                    let (service, made_by) = (name.clone(), record.made_by);
                    let owner = Owner { service, name: map.clone(), made_by, active };
                    if active || !owners.contains_key(&record.id) {
                        owners.insert(record.id, owner);
                    }
                }
            }
        }
        OwnedMaps(owners)
    }
}

/// Maps by their numbers, with the services that have them.
#[derive(Debug)]
pub struct OwnedMaps(BTreeMap<u32, Owner>);

impl OwnedMaps {
    /// The maps of the generations that run, or every map of this kernel; those that went meanwhile are left out.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn lines(&self, all: bool) -> Result<Vec<MapLine>, RuntimeError> {
        let ids = match all {
            true => loaded::maps()?,
            false => self.0.iter().filter(|(_, owner)| owner.active).map(|(id, _)| *id).collect(),
        };
        // Many maps are of one object, and its types are parsed once.
        let mut known = BTreeMap::new();
        let line = |id| {
            let handle = MapHandle::by_id(id).ok()?;
            let btf = known.entry(handle.info().btf_id).or_insert_with_key(|id| btf_of(*id));
            let types = btf.as_ref().and_then(|btf| Types::in_kernel(btf, handle.info()));
            let [key_type, value_type] = types.map(|types| types.names).unwrap_or_default();
            let owner = self.0.get(&id);
            Some(MapLine {
                name: owner.map_or_else(|| handle.name().to_owned(), |owner| owner.name.clone()),
                memory: handle.memory().unwrap_or_default(),
                key_type,
                value_type,
                owner: owner.map(|owner| (owner.service.clone(), owner.made_by)),
                info: handle.info().clone(),
            })
        };
        Ok(ids.into_iter().filter_map(line).collect())
    }
}

/// What the kernel has under a number of BTF.
fn btf_of(id: u32) -> Option<Btf> {
    if id == 0 {
        return None;
    }
    Btf::parse(&loaded::btf(id).ok()??).ok()
}

#[derive(Debug)]
struct Owner {
    service: ServiceName,
    name: String,
    made_by: u64,
    /// Whether the generation that runs has it.
    active: bool,
}

impl Types {
    /// What the kernel was told; none where it was told nothing, or has it of its own types.
    fn of_kernel(info: &MapInfo) -> Option<Self> {
        Self::in_kernel(&btf_of(info.btf_id)?, info)
    }

    fn in_kernel(btf: &Btf, info: &MapInfo) -> Option<Self> {
        let known = info.btf_value_type != 0;
        known.then(|| Self::new(btf, Some(info.btf_key_type), Some(info.btf_value_type)))
    }

    fn of_object(facts: &Facts, symbol: &str) -> Option<Self> {
        let (btf, map) = (facts.btf.as_ref()?, facts.map(symbol)?);
        let id = |ty: Option<TypeId>| ty.map(|ty| ty.0);
        Some(Self::new(btf, id(map.key_type), id(map.value_type)))
    }

    fn new(btf: &Btf, key: Option<u32>, value: Option<u32>) -> Self {
        let wanted = [key, value].map(|ty| ty.filter(|ty| *ty != 0).map(TypeId));
        let [key, value] = wanted.map(|ty| {
            ty.and_then(|ty| Decoder::of_kernel(btf, ty).ok()).unwrap_or_else(Decoder::raw)
        });
        Self { key, value, names: wanted.map(|ty| ty.map(|ty| btf.describe(ty))) }
    }

    fn unknown() -> Self {
        Self { key: Decoder::raw(), value: Decoder::raw(), names: [None, None] }
    }
}

impl OpenMap {
    fn new(handle: MapHandle, name: String, types: Option<Types>) -> Self {
        // An array's index needs no type, and fds that are read as ids have none.
        Self { handle, name, types: types.unwrap_or_else(Types::unknown) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number of it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.handle.info().id
    }

    /// Hands all its entries to `each` as lines of JSON, many at once, until it says false; gives how many there were. They
    /// are read by a thread of their own.
    ///
    /// # Errors
    /// It has no keys to walk or no values to read.
    pub fn dump(&self, mut each: impl FnMut(Vec<u8>) -> bool) -> Result<u64, KernelError> {
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<Batch>(BATCHES);
            let reading = scope.spawn(move || self.handle.walk(|batch| sender.send(batch).is_ok()));
            let (mut count, mut lines) = (0, Vec::with_capacity(PIECE * 2));
            let mut goes_on = true;
            while let Ok(batch) = receiver.recv() {
                for (key, value) in batch.entries() {
                    self.line(key, value, &mut lines);
                    count += 1;
                    if lines.len() >= PIECE {
                        let piece = std::mem::replace(&mut lines, Vec::with_capacity(PIECE * 2));
                        goes_on = each(piece);
                    }
                    if !goes_on {
                        drop(receiver);
                        return Ok(count);
                    }
                }
            }
            if !lines.is_empty() {
                each(lines);
            }
            reading.join().unwrap_or(Ok(())).map(|()| count)
        })
    }

    /// One entry as a line of JSON.
    ///
    /// # Errors
    /// The key is none of this map, or has no entry.
    pub fn lookup(&self, key: &Value) -> Result<String, EntryError> {
        let bytes = self.key(key)?;
        let value = self.handle.lookup(&bytes)?.ok_or_else(|| self.no_entry(key))?;
        let mut line = Vec::new();
        self.line(&bytes, &value, &mut line);
        line.pop();
        Ok(String::from_utf8(line).unwrap_or_default()) // what serde_json writes is UTF-8
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// The key or the value is none of this map; it is full, or the entry is there or not against what `how` says.
    pub fn update(&self, key: &Value, value: &NewValue, how: Update) -> Result<(), EntryError> {
        let (key, value) = (self.key(key)?, self.bytes_of(value)?);
        Ok(self.handle.update(&key, &value.bytes, how)?)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// The key is none of this map, or has no entry; arrays have all their entries always.
    pub fn delete(&self, key: &Value) -> Result<(), EntryError> {
        match self.handle.delete(&self.key(key)?)? {
            true => Ok(()),
            false => Err(self.no_entry(key)),
        }
    }

    fn line(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"key":"#);
        write(&self.types.key, key, self.has_index(), out);
        let info = self.handle.info();
        if info.is_per_cpu() {
            out.extend_from_slice(br#","values":["#);
            let size = info.value_size as usize;
            for (cpu, one) in value.chunks_exact(size.next_multiple_of(8)).enumerate() {
                if cpu > 0 {
                    out.push(b',');
                }
                write(&self.types.value, &one[..size], false, out);
            }
            out.push(b']');
        } else {
            out.extend_from_slice(br#","value":"#);
            write(&self.types.value, value, info.holds_fds(), out);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Whether keys are indexes, whatever their type is.
    fn has_index(&self) -> bool {
        MapKind::from(self.handle.info().kind).is_array() && self.handle.info().key_size == 4
    }

    fn key(&self, key: &Value) -> Result<Vec<u8>, EntryError> {
        let index = key.as_u64().and_then(|index| u32::try_from(index).ok());
        if let Some(index) = index.filter(|_| self.has_index()) {
            return Ok(index.to_ne_bytes().to_vec());
        }
        self.encoded("key", &self.types.key, key)
    }

    fn encoded(&self, what: &str, decoder: &Decoder, value: &Value) -> Result<Vec<u8>, EntryError> {
        let failed = |why| EntryError::Encode { map: self.name.clone(), why };
        decoder.encode(what, value).map_err(failed)
    }

    fn bytes_of(&self, value: &NewValue) -> Result<NewBytes, EntryError> {
        let info = self.handle.info();
        let wrong = |takes: String| EntryError::Values { map: self.name.clone(), takes };
        let padded = |value: &Value| {
            let mut bytes = self.encoded("value", &self.types.value, value)?;
            bytes.resize((info.value_size as usize).next_multiple_of(8), 0);
            Ok::<_, EntryError>(bytes)
        };
        let (bytes, held) = match value {
            NewValue::Whole(value) if info.is_per_cpu() => {
                (padded(value)?.repeat(possible_cpus()?), None)
            }
            NewValue::Whole(value) if info.holds_fds() => return self.held(value),
            NewValue::Whole(value) if info.holds_programs() => return self.with_program(value),
            NewValue::Whole(value) => (self.encoded("value", &self.types.value, value)?, None),
            NewValue::PerCpu(_) if !info.is_per_cpu() => {
                return Err(wrong("one value: its values are not per CPU".to_owned()));
            }
            NewValue::PerCpu(values) => {
                let cpus = possible_cpus()?;
                if values.len() != cpus {
                    return Err(wrong(format!("a value for each of {cpus} CPUs, or one for all")));
                }
                let each: Result<Vec<_>, _> = values.iter().map(padded).collect();
                (each?.concat(), None)
            }
        };
        Ok(NewBytes { bytes, _held: held })
    }

    /// A value that names a program by its id, as the kernel gives it, with what the kernel takes instead.
    fn with_program(&self, value: &Value) -> Result<NewBytes, EntryError> {
        let mut bytes = self.encoded("value", &self.types.value, value)?;
        let Some(word) = bytes.get_mut(4..8) else { return Ok(NewBytes { bytes, _held: None }) };
        let id = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        if id == 0 {
            return Ok(NewBytes { bytes, _held: None });
        }
        let fd = Program::by_id(id)?.as_fd().try_clone_to_owned();
        let fd =
            fd.map_err(|e| KernelError::new("copy the fd of", "what is to be in the map", e))?;
        word.copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
        Ok(NewBytes { bytes, _held: Some(fd) })
    }

    /// The map or program of an id, as the kernel takes it.
    fn held(&self, value: &Value) -> Result<NewBytes, EntryError> {
        let takes =
            |takes: &str| EntryError::Values { map: self.name.clone(), takes: takes.to_owned() };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        let kind = MapKind::from(self.handle.info().kind);
        let fd = match (id, kind) {
            (None, _) => return Err(takes("the id of a map or program, a number")),
            (Some(id), kind) if kind.holds_maps() => {
                MapHandle::by_id(id)?.as_fd().try_clone_to_owned()
            }
            (Some(id), MapKind::ProgArray) => Program::by_id(id)?.as_fd().try_clone_to_owned(),
            _ => return Err(takes("no values that can be given by number")),
        };
        let fd =
            fd.map_err(|e| KernelError::new("copy the fd of", "what is to be in the map", e))?;
        Ok(NewBytes { bytes: fd.as_raw_fd().to_ne_bytes().to_vec(), _held: Some(fd) })
    }

    fn no_entry(&self, key: &Value) -> EntryError {
        EntryError::NoEntry { map: self.name.clone(), key: key.to_string() }
    }
}

/// A key or value as JSON; what is an index or an id is a number also without a type.
fn write(decoder: &Decoder, data: &[u8], is_number: bool, out: &mut Vec<u8>) {
    match data.first_chunk().filter(|_| is_number && !decoder.is_typed()) {
        Some(number) => out.extend_from_slice(u32::from_ne_bytes(*number).to_string().as_bytes()),
        None => decoder.decode(data).write_json(out),
    }
}

/// A value as the kernel reads it.
struct NewBytes {
    bytes: Vec<u8>,
    /// What the bytes name is open till they are read.
    _held: Option<std::os::fd::OwnedFd>,
}
