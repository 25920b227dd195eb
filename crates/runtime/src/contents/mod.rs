//! What is in a service's maps, decoded through BTF: counters for people.
//!
//! Of values per CPU, each number is merged over the CPUs as the manifest has it merged; without a word of it, they are added.
//! While the generation before is kept, entries that its map still holds are merged in too: during a move the sum is right at
//! every moment.

mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use skep_kernel::{KernelError, MapHandle};
use skep_object::event::{Column, Decoder, Labels, Stacks};
use skep_object::{Facts, MapKind, TypeId};
use skep_spec::ServiceName;
use skep_spec::manifest::{Field, Map, Output, OutputKind};
use skep_trust::Package;

use self::values::{Number, Rest, Values, numbers};
use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::events::equipped;
use crate::plan::MapChange;
use crate::runtime::{Runtime, facts_of};

/// The contents of one map.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// The map.
    pub map: String,
    /// The columns of [`Entry::cells`]: names, and whether they are numbers.
    pub columns: Vec<(String, bool)>,
    /// Its entries; of an array those whose value is not zero.
    pub entries: Vec<Entry>,
    /// How many more there are than are given.
    pub more: u64,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The key, by its BTF type.
    pub key: Box<RawValue>,
    /// The value, by its BTF type.
    pub value: Box<RawValue>,
    /// The labels of its key, as the output has them.
    pub labels: BTreeMap<String, String>,
    /// As a row of a table, if that was asked for: the labels, or without any the key, and the value, by their formats.
    pub cells: Vec<String>,
}

/// How a map's bytes become JSON, and how values of several CPUs become one.
#[derive(Debug)]
pub(crate) struct Reading {
    key: Decoder,
    value: Decoder,
    /// Numbers of the value; empty where nothing can be merged.
    numbers: Vec<Number>,
    labels: Option<Labels>,
    table: Option<Table>,
}

/// Which columns of a value a table shows.
#[derive(Debug)]
struct Table {
    columns: Vec<(String, bool)>,
    /// By their numbers among those of the value's decoder.
    of_value: Vec<usize>,
}

/// A map whose contents are asked for, open: reading it takes its time, and no service need stand still for that.
#[derive(Debug)]
pub struct OpenContents {
    name: String,
    map: MapHandle,
    /// The object and the symbol that define it.
    defined: Option<(String, String)>,
    /// What the kept generation's map has not given up yet.
    rest: Option<Rest>,
    /// The generation that it is of.
    generation: u64,
    /// What its object's maps of stacks hold.
    stacks: Arc<dyn Stacks>,
}

impl OpenContents {
    /// The generation that it is of: where another one runs when it was read, entries may have been on their way meanwhile.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is in it: of an output by its labels and formats, with the rows of a `table` or without. `objects` are those of its
    /// `package`.
    ///
    /// # Errors
    /// The kernel does not give it.
    pub fn read(
        &self,
        package: &Package,
        objects: &Objects,
        output: Option<&Output>,
        table: bool,
    ) -> Result<Contents, RuntimeError> {
        let defined = self.defined.as_ref();
        let facts =
            defined.and_then(|(object, symbol)| Some((objects.get(object)?, symbol.as_str())));
        let policy = defined.and_then(|(_, symbol)| package.manifest.map.get(symbol));
        let reading = Reading::new(facts, (policy, output), table, &self.stacks);
        let mut values = Values::read(&self.map, &reading.numbers)?;
        if let Some(rest) = &self.rest {
            values.add(rest, &self.map)?;
        }
        Ok(reading.contents(&self.name, self.map.info().is_array(), &values))
    }
}

impl Runtime {
    /// What is in the map of this name.
    ///
    /// # Errors
    /// There is no such service or map, or it cannot be read.
    pub fn contents(&self, service: &ServiceName, map: &str) -> Result<Contents, RuntimeError> {
        let package = self.package(&self.active(service)?.index)?;
        self.open_contents(service, map)?.read(&package, &facts_of(&package)?, None, false)
    }

    /// Opens the map of this name.
    ///
    /// # Errors
    /// There is no such service or map.
    pub fn open_contents(
        &self,
        service: &ServiceName,
        map: &str,
    ) -> Result<OpenContents, RuntimeError> {
        let active = self.active(service)?;
        let record = active.incarnation.as_ref().and_then(|i| i.maps.get(map));
        let object = record.map_or("", |record| record.object.as_str());
        Ok(OpenContents {
            name: map.to_owned(),
            map: self.open_map(service, &active, map)?,
            defined: record.map(|record| (record.object.clone(), record.symbol.clone())),
            rest: self.rest(service, map)?,
            stacks: self.maps_of_stacks(service, &active, object),
            generation: active.number,
        })
    }

    fn rest(&self, name: &ServiceName, map: &str) -> Result<Option<Rest>, RuntimeError> {
        let service = self.service_state(name)?;
        let change = service.changes.get(map);
        let (Some(MapChange::Migrate { fields }), Some(previous)) = (change, service.previous)
        else {
            return Ok(None);
        };
        let Some(previous) = service.generations.get(&previous) else { return Ok(None) };
        Ok(Some(Rest { map: self.open_map(name, previous, map)?, fields: fields.clone() }))
    }

    /// Names of the running generation's maps, without those that only skep knows.
    ///
    /// # Errors
    /// There is no such service.
    pub fn map_names(&self, service: &ServiceName) -> Result<Vec<String>, RuntimeError> {
        let active = self.active(service)?;
        let maps = active.incarnation.iter().flat_map(|i| &i.maps);
        Ok(maps.filter(|(_, map)| !map.is_lost()).map(|(name, _)| name.clone()).collect())
    }
}

impl Reading {
    /// By the types of a map, and the formats and labels of an output; what does not fit is left out.
    pub(crate) fn new(
        map: Option<(&Facts, &str)>,
        (policy, output): (Option<&Map>, Option<&Output>),
        table: bool,
        stacks: &Arc<dyn Stacks>,
    ) -> Self {
        let equipped = |decoder| of_stacks(equipped(decoder), stacks);
        let kind = map.and_then(|(facts, symbol)| Some(facts.map(symbol)?.kind));
        if kind == Some(MapKind::StackTrace) {
            let (key, value) = (Decoder::of_ids(), equipped(Decoder::of_addresses()));
            let table = table.then(|| Table::new(&key, &value, output));
            return Self { key, value, numbers: Vec::new(), labels: None, table };
        }
        let found = map.and_then(|(facts, symbol)| Some((facts.btf.as_ref()?, facts.map(symbol)?)));
        let decoder = |ty: Option<TypeId>, formats: &BTreeMap<String, Field>| {
            let made = found.zip(ty).and_then(|((btf, _), ty)| {
                let plain = |_| Decoder::new(btf, ty, &BTreeMap::new());
                Decoder::new(btf, ty, formats).or_else(plain).ok()
            });
            equipped(made.unwrap_or_else(Decoder::raw))
        };
        let (key_type, value_type) =
            found.map_or((None, None), |(_, map)| (map.key_type, map.value_type));
        let formats = output.map(|output| output.fields.clone()).unwrap_or_default();
        let (of_key, of_value) = match output.map(|output| output.kind) {
            // Where stacks are counted they are in the key.
            Some(OutputKind::Stacks) => {
                let plain = decoder(key_type, &BTreeMap::new());
                formats.into_iter().partition(|(path, _)| plain.has_field(path))
            }
            _ => (BTreeMap::new(), formats),
        };
        let (key, value) = (decoder(key_type, &of_key), decoder(value_type, &of_value));
        let numbers = found.zip(value_type).map(|((btf, _), ty)| numbers(btf, ty, policy));
        let labels = output.filter(|output| !output.labels.is_empty()).and_then(|output| {
            let ((btf, _), ty) = found.zip(key_type)?;
            Labels::new(btf, ty, &output.labels).ok().map(|labels| labels.map(equipped))
        });
        let table = table.then(|| Table::new(&key, &value, output));
        Self { key, value, numbers: numbers.unwrap_or_default(), labels, table }
    }

    /// What is in a map of one version alone.
    pub(crate) fn read(&self, name: &str, map: &MapHandle) -> Result<Contents, KernelError> {
        Ok(self.contents(name, map.info().is_array(), &Values::read(map, &self.numbers)?))
    }

    fn contents(&self, map: &str, is_array: bool, values: &Values) -> Contents {
        let shown = |(_, value): &(&Vec<u8>, &Vec<u8>)| !is_array || value.iter().any(|b| *b != 0);
        let wanted = values.first().iter().filter(shown);
        let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let json = |decoder: &Decoder, bytes: &[u8]| {
                RawValue::from_string(decoder.decode(bytes).to_json()).unwrap_or_default()
            };
            let labels = self.labels.as_ref().map(|labels| labels.of(key)).unwrap_or_default();
            let cells = self.table.as_ref().map(|table| self.cells(table, &labels, (key, value)));
            Entry {
                key: json(&self.key, key),
                value: json(&self.value, value),
                labels,
                cells: cells.unwrap_or_default(),
            }
        };
        let (entries, more) = (wanted.map(entry).collect(), values.more());
        let columns = self.table.as_ref().map(|table| table.columns.clone());
        Contents { map: map.to_owned(), columns: columns.unwrap_or_default(), entries, more }
    }

    fn cells(
        &self,
        table: &Table,
        labels: &BTreeMap<String, String>,
        (key, value): (&[u8], &[u8]),
    ) -> Vec<String> {
        let mut cells = match labels.is_empty() {
            true => self.key.row(key),
            false => labels.values().cloned().collect(),
        };
        let value = self.value.row(value);
        cells.extend(table.of_value.iter().filter_map(|at| value.get(*at).cloned()));
        cells
    }
}

/// A decoder with names for the frames of its stacks, if it has some.
fn of_stacks(decoder: Decoder, stacks: &Arc<dyn Stacks>) -> Decoder {
    match decoder.has_stacks() {
        true => decoder.with_stacks(Arc::clone(stacks)),
        false => decoder,
    }
}

impl Table {
    fn new(key: &Decoder, value: &Decoder, output: Option<&Output>) -> Self {
        let wanted = output.and_then(|output| output.value.as_deref());
        let is_wanted = |path: &str| {
            wanted.is_none_or(|wanted| {
                path.strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let of_value: Vec<(usize, &Column)> =
            value.columns().enumerate().filter(|(_, column)| is_wanted(&column.path)).collect();
        let named = |column: &Column, alone: &str| {
            let name = if column.path.is_empty() { alone } else { &column.name };
            (name.to_owned(), column.number)
        };
        let mut columns: Vec<(String, bool)> = match output {
            Some(output) if !output.labels.is_empty() => {
                output.labels.keys().map(|name| (name.clone(), false)).collect()
            }
            _ => key.columns().map(|column| named(column, "key")).collect(),
        };
        columns.extend(of_value.iter().map(|(_, column)| named(column, "value")));
        Self { columns, of_value: of_value.into_iter().map(|(at, _)| at).collect() }
    }
}
