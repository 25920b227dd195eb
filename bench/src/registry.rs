//! A registry that is not ours.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::place::Place;

/// Debian's docker-registry on a free loopback port.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`
    pub host: String,
}

impl Registry {
    /// Starts it, and waits until it listens.
    pub fn start(place: &Place) -> Result<Self> {
        let (config, data) = (place.work("registry.yml"), place.work("registry"));
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("run docker-registry")?;
        let stderr = child.stderr.take().context("docker-registry has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let host = loop {
            let line = lines.next().context("docker-registry ended before it listened")??;
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',']).next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, host })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
