//! The catalogue as JSON, below `/api/v1/`, for the command line and for others.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::Hub;
use crate::catalogue::{Touch, by_version, newest, touches};
use crate::listing::Listing;
use crate::name::Repository;
use crate::store::{Release, Signature};
use crate::web::Failure;

/// Most packages in one answer.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// A package as lists show it.
#[derive(Serialize)]
struct Summary {
    name: String,
    version: String,
    digest: String,
    summary: String,
    license: String,
    architectures: Vec<String>,
    size: i64,
    signatures: i64,
    published: String,
}

#[derive(Serialize)]
struct Packages {
    packages: Vec<Summary>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<usize>,
}

/// A package with what is in its newest version.
#[derive(Serialize)]
struct Package {
    name: String,
    versions: Vec<Summary>,
    newest: Detail,
}

#[derive(Serialize)]
struct Detail {
    #[serde(flatten)]
    listing: Listing,
    touches: Vec<Touch>,
    signatures: Vec<Signed>,
}

#[derive(Serialize)]
struct Signed {
    key_id: String,
    predicate_type: String,
}

/// `/api/v1/…`
pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/api/v1/packages", get(packages).fallback(no_such_method))
        .route("/api/v1/packages/{publisher}/{name}", get(package).fallback(no_such_method))
}

async fn no_such_method() -> Failure {
    Failure::Method
}

async fn packages(
    State(hub): State<Arc<Hub>>,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Json<Packages>, Failure> {
    let Query(search) = search.map_err(|error| Failure::BadRequest(error.body_text()))?;
    let limit = search.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let offset = search.offset.min(1 << 40);
    let mut names = hub.store.find_packages(&search.q, offset, limit + 1).await?;
    let next = (names.len() > limit).then_some(offset + limit);
    names.truncate(limit);
    let mut packages = Vec::new();
    for name in names {
        let Ok(repository) = name.parse::<Repository>() else { continue };
        packages.extend(newest(hub.store.releases(&repository).await?).map(Summary::from));
    }
    Ok(Json(Packages { packages, next }))
}

async fn package(
    State(hub): State<Arc<Hub>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Package>, Failure> {
    let Path((publisher, name)) = path.map_err(|error| Failure::BadRequest(error.body_text()))?;
    let name = format!("{publisher}/{name}");
    let missing = || Failure::NotFound(format!("there is no package {name} on this hub"));
    let repository: Repository = name.parse().map_err(|_| missing())?;
    let releases = by_version(hub.store.releases(&repository).await?);
    let first = releases.first().ok_or_else(missing)?;
    let tag = first.tag.parse().map_err(|_| missing())?;
    let listing = hub.store.listing(&repository, &tag).await?.ok_or_else(missing)?;
    let signatures = hub.store.signatures(&repository, &first.digest).await?;
    let newest = Detail {
        touches: touches(&listing),
        listing,
        signatures: signatures.into_iter().map(Signed::from).collect(),
    };
    let versions = releases.into_iter().map(Summary::from).collect();
    Ok(Json(Package { name, versions, newest }))
}

impl From<Release> for Summary {
    fn from(release: Release) -> Self {
        Self {
            version: release.version(),
            name: release.repository,
            digest: release.digest,
            summary: release.summary,
            license: release.license,
            architectures: release.architectures.split(' ').map(str::to_owned).collect(),
            size: release.size,
            signatures: release.signatures,
            published: release.published,
        }
    }
}

impl From<Signature> for Signed {
    fn from(signature: Signature) -> Self {
        Self { key_id: signature.key_id, predicate_type: signature.predicate_type }
    }
}
