//! What this machine is like: skepd is asked, and its binary looks at the kernel and at its files.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_api::{ClientError, Finding, FindingState, Node};

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, failed, of_daemon};
use crate::waiting::block_on;

pub(super) fn findings(config: &Config, state_dir: &Path) -> Vec<Finding> {
    let client = daemon::client(config);
    let asked = block_on(async { Ok(client.node().await) });
    let (mut all, node) = match asked {
        Ok(Ok(node)) => (vec![answers(&node)], Some(node)),
        Ok(Err(error)) => (vec![silent(error)], None),
        Err(error) => (vec![Finding::new("skepd", FindingState::Unknown, error.message())], None),
    };
    let state_dir = node.and_then(|node| node.state_dir).unwrap_or_else(|| state_dir.to_owned());
    all.extend(by_skepd(config, &state_dir));
    all
}

fn answers(node: &Node) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if node.version == own {
        return Finding::new("skepd", FindingState::Good, format!("skepd {own} answers"));
    }
    let what = format!("skepd {} answers, and this is skep {own}", node.version);
    Finding::new("skepd", FindingState::Lacks, what)
        .why("what one says, the other may not understand")
        .todo("install both of one version, then systemctl restart skepd: nothing is detached")
}

fn silent(error: ClientError) -> Finding {
    let state = match error {
        ClientError::Forbidden { .. } => FindingState::Unknown,
        _ => FindingState::Stops,
    };
    let error: Error = of_daemon(error);
    let finding = Finding::new("skepd", state, error.message());
    let finding = error.causes().iter().fold(finding, |finding, why| finding.why(why));
    error.hints().iter().fold(finding, |finding, todo| finding.todo(todo))
}

/// What `skepd --doctor` finds, of the binary beside this one or in PATH.
fn by_skepd(config: &Config, state_dir: &Path) -> Vec<Finding> {
    let mut candidates = vec![PathBuf::from("skepd")];
    if let Ok(me) = env::current_exe() {
        candidates.insert(0, me.with_file_name("skepd"));
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for skepd in candidates {
        let mut command = Command::new(&skepd);
        command.arg("--doctor").arg("--config-dir").arg(&config.config_dir);
        command.arg("--state-dir").arg(state_dir).arg("--socket").arg(&config.socket);
        match command.output() {
            Ok(output) => {
                let read = serde_json::from_slice::<Vec<Finding>>(&output.stdout).map_err(failed);
                return read.unwrap_or_else(|error| {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let what = format!("{} did not say what it finds", skepd.display());
                    let why = format!("{}: {}", error.message(), said.trim());
                    vec![
                        Finding::new("kernel", FindingState::Unknown, what)
                            .why(why)
                            .todo("install skep and skepd of one version"),
                    ]
                });
            }
            Err(error) => last = error,
        }
    }
    let what = "skepd is not installed: what the kernel can do was not tried";
    vec![
        Finding::new("kernel", FindingState::Stops, what)
            .why(last.to_string())
            .todo("skepd comes with skep: put it beside skep, or into PATH"),
    ]
}
