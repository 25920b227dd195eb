//! The HTTP server: one task a connection, time limits on headers, and an end that lets answers finish.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use skep_spec::chain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: u32 = 4096;
/// How long a client may take for a request's headers, idle keep-alive included.
const HEADERS: Duration = Duration::from_secs(75);
/// How long answers may take to finish once the hub is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Serves `router` until `stop` is ready, then lets open requests finish for up to 10 s.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let (stream, slot) = tokio::select! {
            accepted = accept(&listener, slot) => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
            () = &mut stop => break,
        };
        tokio::spawn(connection(stream, router.clone(), stopped.clone(), slot));
    }
    drop(listener);
    let _ = stopping.send(true);
    let all = slots.acquire_many(CONNECTIONS);
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests were still open after {} s: cut", GRACE.as_secs());
    }
}

async fn accept(
    listener: &TcpListener,
    slot: impl Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = slot.await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await; // out of files: let some close
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %chain(&error), "a connection broke");
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
