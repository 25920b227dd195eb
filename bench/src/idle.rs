//! What skepd holds in memory with one service, idle.

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::place::Place;
use crate::row::Row;

/// A daemon of our own with the example installed.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    place.example("exec")?;
    let (project, layout) = (place.work("exec"), place.work("exec.oci"));
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path");
    let (project, layout) = (text(&project)?, text(&layout)?);
    let daemon = Daemon::start(place, "one")?;
    daemon.skep(&["pack", &project, "-o", &layout])?;
    daemon.skep(&["install", &layout, "--allow-unsigned"])?;
    let rows = vec![
        Row::figure("skepd with one service, RssAnon, MB", daemon.megabytes("RssAnon:")?)
            .goal("≤ 8 MB", |row| row.ours.is_some_and(|size| size <= 8.0)),
        Row::figure("skepd with one service, VmHWM, MB", daemon.megabytes("VmHWM:")?),
    ];
    daemon.skep(&["remove", "exec"])?;
    Ok(rows)
}
