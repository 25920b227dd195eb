//! Maps over the socket: those of services to look at, all else root's.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::value::RawValue;
use skep_api::{MapEnd, MapKey, MapRef, MapRow, MapUpdate, MapWrite, Maps};
use skep_kernel::maps::Update;
use skep_object::MapKind;
use skep_runtime::maps::{EntryError, MapLine, NewValue};

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::http::{Peer, Shared, line, read, streamed};
use crate::node::Node;

/// What is asked of maps.
pub(crate) fn routes() -> Router<Shared> {
    let mut router = Router::new().route("/v1/maps", get(list));
    for map in ["/v1/services/{service}/maps/{map}", "/v1/maps/{id}"] {
        router = router
            .route(&format!("{map}/entries"), get(entries))
            .route(&format!("{map}/lookup"), post(lookup))
            .route(&format!("{map}/update"), post(update))
            .route(&format!("{map}/delete"), post(delete));
    }
    router
}

async fn list(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    maps: Result<Query<Maps>, QueryRejection>,
) -> Result<Json<Vec<MapRow>>, NodeError> {
    let Query(maps) = maps?;
    if maps.all {
        peer.is_root("see what is no service's")?;
    }
    let lines = blocking(shared.node, move |node| node.maps(&maps)).await?;
    Ok(Json(lines.into_iter().map(row).collect()))
}

async fn entries(
    State(shared): State<Shared>,
    Asked(map): Asked,
) -> Result<impl IntoResponse, NodeError> {
    let map = blocking(shared.node, move |node| node.map(&map)).await?;
    streamed("map entries", move |sender| {
        let mut count = 0;
        let dumped = map.dump(|piece| {
            count += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            sender.blocking_send(piece.into()).is_ok()
        });
        let error = dumped.err().map(|error| NodeError::from(EntryError::from(error)).body());
        let mut end = Vec::new();
        line(&mut end, &MapEnd { entries: count, error });
        let _ = sender.blocking_send(end.into()); // a reader that is gone needs no end
    })
}

async fn lookup(
    State(shared): State<Shared>,
    Asked(map): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Box<RawValue>>, NodeError> {
    let MapKey { key } = read(body)?;
    let entry = blocking(shared.node, move |node| Ok(node.map(&map)?.lookup(&key)?)).await?;
    Ok(Json(RawValue::from_string(entry).unwrap_or_default()))
}

async fn update(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Asked(map): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<()>, NodeError> {
    peer.is_root("write to maps")?;
    let MapUpdate { key, value, values, how } = read(body)?;
    let value = match (value, values) {
        (Some(value), None) => NewValue::Whole(value),
        (None, Some(values)) => NewValue::PerCpu(values),
        _ => return Err(NodeError::Request("it has either value or values".to_owned())),
    };
    let how = match how {
        MapWrite::Any => Update::Any,
        MapWrite::New => Update::New,
        MapWrite::Existing => Update::Existing,
    };
    let write = move |node: &Node| node.map_update(&map, &key, &value, how);
    blocking(shared.node, write).await.map(Json)
}

async fn delete(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Asked(map): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<()>, NodeError> {
    peer.is_root("write to maps")?;
    let MapKey { key } = read(body)?;
    blocking(shared.node, move |node| node.map_delete(&map, &key)).await.map(Json)
}

/// The map of a path; by its number it is root's, whoever's it is.
struct Asked(MapRef);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = NodeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, NodeError> {
        let failed = |rejection: PathRejection| NodeError::from(rejection);
        if let Ok(Path((service, map))) =
            Path::<(String, String)>::from_request_parts(parts, state).await
        {
            return Ok(Self(MapRef::Of(service.parse()?, map)));
        }
        let Path(id) = Path::<u32>::from_request_parts(parts, state).await.map_err(failed)?;
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, state).await;
        let ConnectInfo(peer) = peer.map_err(|_| NodeError::NotRoot("see what is no service's"))?;
        peer.is_root("see what is no service's")?;
        Ok(Self(MapRef::Id(id)))
    }
}

fn row(line: MapLine) -> MapRow {
    let MapLine { info, name, memory, key_type, value_type, owner } = line;
    let (service, made_by) = owner.unzip();
    MapRow {
        id: info.id,
        name,
        kind: MapKind::from(info.kind).to_string(),
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        memory,
        key_type,
        value_type,
        service,
        made_by,
    }
}
