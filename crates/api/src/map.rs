//! Maps, as a client asks for them.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Response};
use skep_spec::ServiceName;

use crate::client::{broken, good, unreadable};
use crate::{Client, ClientError, MapEnd, MapEntry, MapKey, MapRow, MapUpdate, Maps};

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

/// A text as a part of a path or query.
pub(crate) fn escaped(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            (byte as char).into()
        }
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
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
