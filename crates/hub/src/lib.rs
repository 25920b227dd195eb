//! The hub: an OCI registry that knows what is in an eBPF package, and pages that show it.

mod api;
mod catalogue;
mod digest;
pub mod document;
mod drain;
mod limits;
mod listing;
pub mod name;
mod registry;
mod server;
pub mod store;
mod web;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};

pub use limits::Limits;
pub use registry::Route;
pub use server::serve;

use store::{Store, Uploads};

/// Everything that a request needs.
pub struct Hub {
    store: Store,
    uploads: Uploads,
    limits: Limits,
    /// Held while a package is read, which may take its size in memory.
    reading: tokio::sync::Mutex<()>,
    /// The address that clients know the hub by, where it is not the one that they connect to.
    public_url: Option<String>,
}

impl Hub {
    /// A hub over `store`.
    #[must_use]
    pub fn new(store: Store, limits: Limits, public_url: Option<String>) -> Self {
        let uploads = Uploads::new(store.folder(), limits);
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { store, uploads, limits, reading: tokio::sync::Mutex::default(), public_url }
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The hub's own URL as the client sees it, without a slash at its end.
    fn url(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        format!("http://{}", self.host(headers))
    }

    /// `host[:port]` as the client sees it.
    fn host(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.public_url {
            return url.split_once("://").map_or(url.as_str(), |(_, host)| host).to_owned();
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-[]".contains(&b);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.filter(|host| host.bytes().all(plain)).unwrap_or("localhost").to_owned()
    }
}

/// All paths of the hub.
pub fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .merge(registry::router())
        .merge(api::router())
        .merge(web::router())
        .layer(axum::middleware::from_fn(web::security_headers))
        .with_state(hub)
}
