//! Maps: what is asked of them and answered, and how a client asks.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use skep_spec::ServiceName;

use crate::client::{broken, good, unreadable};
use crate::escaped::escaped;
use crate::{Client, ClientError, ErrorBody};

/// Which map is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapRef {
    /// A service's, by its name.
    Of(ServiceName, String),
    /// Any of the machine, by the kernel's number.
    Id(u32),
}

impl MapRef {
    fn path(&self, what: &str) -> String {
        match self {
            Self::Of(service, map) => {
                format!("/v1/services/{service}/maps/{}/{what}", escaped(map))
            }
            Self::Id(id) => format!("/v1/maps/{id}/{what}"),
        }
    }
}

impl Client {
    /// The maps that there are.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn maps(&self, maps: &Maps) -> Result<Vec<MapRow>, ClientError> {
        let service = maps.service.iter().map(|name| format!("&service={name}"));
        let path = format!("/v1/maps?all={}{}", maps.all, service.collect::<String>());
        self.ask(Method::GET, &path, &()).await
    }

    /// One entry of a map.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn map_entry(&self, map: &MapRef, key: &MapKey) -> Result<MapEntry, ClientError> {
        self.ask(Method::POST, &map.path("lookup"), key).await
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn map_update(&self, map: &MapRef, entry: &MapUpdate) -> Result<(), ClientError> {
        self.ask(Method::POST, &map.path("update"), entry).await
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn map_delete(&self, map: &MapRef, key: &MapKey) -> Result<(), ClientError> {
        self.ask(Method::POST, &map.path("delete"), key).await
    }

    /// All entries of a map.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn map_entries(&self, map: &MapRef) -> Result<MapDump, ClientError> {
        let path = map.path("entries");
        let answer = good(self.send(Method::GET, &path, &()).await?).await?;
        Ok(MapDump { action: format!("GET {path}"), answer, rest: Vec::new() })
    }
}

/// The entries of a map as they come.
pub struct MapDump {
    action: String,
    answer: Response<Incoming>,
    /// The last whole line, and what of the next one came: the last of all is no entry.
    rest: Vec<u8>,
}

impl MapDump {
    /// More of them: whole lines, each a [`MapEntry`] as JSON; `None` at the end.
    ///
    /// # Errors
    /// The stream broke off, or there are no more though these are not all.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            let Some(frame) = self.answer.body_mut().frame().await else { break };
            let Ok(data) = frame.map_err(broken(&self.action))?.into_data() else { continue };
            self.rest.extend_from_slice(&data);
            if let Some(lines) = all_but_the_last_line(&mut self.rest) {
                return Ok(Some(lines));
            }
        }
        let end: MapEnd = serde_json::from_slice(&self.rest).map_err(unreadable(&self.action))?;
        match end.error {
            Some(error) => Err(ClientError::Answered(error)),
            None => Ok(None),
        }
    }
}

fn all_but_the_last_line(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n')?;
    let before = bytes[..end].iter().rposition(|byte| *byte == b'\n')?;
    let rest = bytes.split_off(before + 1);
    Some(std::mem::replace(bytes, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        let map = MapRef::Of("exec".parse().unwrap(), "one/.bss ?é".to_owned());
        assert_eq!(map.path("entries"), "/v1/services/exec/maps/one%2F.bss%20%3F%C3%A9/entries");
        assert_eq!(MapRef::Id(7).path("lookup"), "/v1/maps/7/lookup");
    }

    #[test]
    fn the_last_line_is_kept_however_it_comes() {
        let text = b"{\"key\":1}\n{\"key\":2}\n{\"key\":3}\n{\"entries\":3}\n";
        for size in 1..text.len() {
            let (mut rest, mut got) = (Vec::new(), Vec::new());
            for piece in text.chunks(size) {
                rest.extend_from_slice(piece);
                got.extend(all_but_the_last_line(&mut rest).unwrap_or_default());
            }
            assert_eq!((got.len(), rest.as_slice()), (30, &b"{\"entries\":3}\n"[..]), "{size}");
        }
    }
}

/// Which maps are listed: the query of `GET /v1/maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maps {
    /// Every map of the machine, whoever made it, instead of those of services.
    #[serde(default)]
    pub all: bool,
    /// Those of this service.
    #[serde(default)]
    pub service: Option<ServiceName>,
}

/// A map in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapRow {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What kind of map.
    pub kind: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; of a ring its bytes.
    pub max_entries: u32,
    /// Bytes of kernel memory.
    pub memory: u64,
    /// The key's type as C writes it.
    #[serde(default)]
    pub key_type: Option<String>,
    /// The value's type as C writes it.
    #[serde(default)]
    pub value_type: Option<String>,
    /// The service whose map it is.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// The generation of the service that brought it.
    #[serde(default)]
    pub made_by: Option<u64>,
}

/// The entry of a map that is looked up or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapKey {
    /// The key.
    pub key: Value,
}

/// An entry of a map as it is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapUpdate {
    /// The key.
    pub key: Value,
    /// The value; of a map per CPU for every CPU.
    #[serde(default)]
    pub value: Option<Value>,
    /// Of a map per CPU: the value of each.
    #[serde(default)]
    pub values: Option<Vec<Value>>,
    /// Whether the entry has to be there.
    #[serde(default)]
    pub how: MapWrite,
}

/// Whether an entry has to be there before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MapWrite {
    /// It may be there or not.
    #[default]
    Any,
    /// It must not be there.
    New,
    /// It must be there.
    Existing,
}

/// An entry of a map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MapEntry {
    /// The key, decoded.
    #[schemars(with = "Value")]
    pub key: Box<RawValue>,
    /// The value, decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub value: Option<Box<RawValue>>,
    /// Of a map per CPU: the value of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Value>>")]
    pub values: Option<Vec<Box<RawValue>>>,
}

/// The last line of a map's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapEnd {
    /// How many came before it.
    pub entries: u64,
    /// Why there are no more, if those were not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}
