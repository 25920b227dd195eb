//! `skep-hub serve`

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use skep_hub::store::Store;
use skep_hub::{Hub, Limits};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Data;

/// Serve the registry and its pages. Prints one line with the URL when it is ready, logs to standard error.
#[derive(clap::Args)]
pub struct Serve {
    #[command(flatten)]
    data: Data,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// The URL that clients use, where a proxy with TLS stands before the hub.
    #[arg(long, value_name = "URL", value_parser = public_url)]
    url: Option<String>,
    /// Write the port to this file when ready.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// What to log, such as `debug` or `skep_hub=debug,warn`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: EnvFilter,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        tracing_subscriber::fmt()
            .with_env_filter(self.log)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
        let store = Store::open(&self.data.folder).await?;
        let _lock = store.lock()?;
        store.sweep().await?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let stop = stop_signal().context("cannot wait for signals")?;
        let address =
            listener.local_addr().context("cannot read the address that is listened on")?;
        let hub = Arc::new(Hub::new(store, Limits::default(), self.url.clone()));
        announce(address, self.url.as_deref(), self.port_file.as_deref())?;
        skep_hub::serve(listener, skep_hub::router(Arc::clone(&hub)), stop).await;
        hub.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Ready when the process is asked to end.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// Says that the hub is ready: the port file whole or not at all, then the line.
fn announce(
    address: SocketAddr,
    url: Option<&str>,
    port_file: Option<&Path>,
) -> anyhow::Result<()> {
    if let Some(file) = port_file {
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{}\n", address.port()))
            .and_then(|()| std::fs::rename(&new, file))
            .with_context(|| format!("cannot write the port to {}", file.display()))?;
    }
    let mut out = std::io::stdout();
    match url {
        Some(url) => writeln!(out, "skep-hub listens on {address} for {url}")?,
        None => writeln!(out, "skep-hub listens on http://{address}")?,
    }
    Ok(out.flush()?)
}

fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-[]".contains(&b);
    match rest.map(|host| host.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && host.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err("it should be https://host[:port], without a path".into()),
    }
}
