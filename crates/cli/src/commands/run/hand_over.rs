//! `skepd --ephemeral` in this process's place.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, iter};

use skep_api::Run as Request;

use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result, failed};
use crate::passing;

/// Hands the request over on the standard input and becomes the daemon's binary: one process, which Ctrl-C ends.
pub(super) fn become_skepd(
    request: &Request,
    objects: &BTreeMap<String, Vec<u8>>,
    config: &Config,
) -> Result<()> {
    let folder = env::temp_dir();
    let made = tempfile::tempfile_in(&folder);
    let mut input =
        made.context(|| passing::no_temporary("file", &folder)).map_err(passing::elsewhere)?;
    let mut line = serde_json::to_vec(request).map_err(failed)?;
    line.push(b'\n');
    let parts = iter::once(&line).chain(objects.values());
    let written =
        parts.into_iter().try_for_each(|part| input.write_all(part)).and_then(|()| input.rewind());
    let full = || format!("can't write a temporary file in '{}'", folder.display());
    written.context(full).map_err(passing::elsewhere)?;
    let mut candidates = vec![PathBuf::from("skepd")];
    if let Ok(me) = env::current_exe() {
        candidates.insert(0, me.with_file_name("skepd"));
    }
    let mut failure = None;
    for skepd in candidates {
        let input = input.try_clone().context(|| "can't use a temporary file")?;
        let error = Command::new(&skepd)
            .arg("--ephemeral")
            .arg("--config-dir")
            .arg(&config.config_dir)
            .stdin(input)
            .exec();
        failure.get_or_insert((skepd, error));
    }
    let Some((skepd, error)) = failure else { return Ok(()) };
    Err(Error::caused(Kind::Failed, format!("can't start {}", skepd.display()), &error)
        .hint("skepd comes with skep: put it beside skep, or into PATH"))
}
