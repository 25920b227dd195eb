//! skepd's files: their modes, the room for them, and whether its holder runs.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use skep_api::{Finding, FindingState};
use skep_kernel::mounts;

use crate::config::{Args, Config};
use crate::hold;

/// Less room than this, and the journal may not be written.
const LEAST: u64 = 16 << 20;
/// Less than this is little.
const LITTLE: u64 = 256 << 20;

pub(super) fn findings(args: &Args) -> Vec<Finding> {
    let mut all = vec![settings(args)];
    let names = ["skepd.toml", "trust.toml", "registries.toml", "btf"];
    let paths = names.map(|name| args.config_dir.join(name));
    all.extend(paths.iter().filter(|path| path.exists()).map(|path| owned("config-file", path)));
    all.push(trust(&args.config_dir));
    if args.state_dir.exists() {
        all.push(owned("state", &args.state_dir));
    }
    all.extend([room(&args.state_dir), socket(&args.socket), holder(&args.socket)]);
    all
}

fn settings(args: &Args) -> Finding {
    match Config::read(args) {
        Ok(_) => Finding::new(
            "settings",
            FindingState::Good,
            "skepd.toml and registries.toml can be read",
        ),
        Err(error) if is_forbidden(&error) => {
            Finding::new("settings", FindingState::Lacks, "skepd's settings are root's to read")
                .why(format!("{error:#}"))
        }
        Err(error) => {
            Finding::new("settings", FindingState::Stops, "skepd would not start with its settings")
                .why(format!("{error:#}"))
                .todo("mend the file")
        }
    }
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    let denied = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(denied))
}

/// That nobody but root may change what root answers for.
fn owned(about: &str, path: &Path) -> Finding {
    let shown = path.display();
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) => {
            return Finding::new(
                about,
                FindingState::Lacks,
                format!("{shown} cannot be looked at"),
            )
            .why(error.to_string());
        }
    };
    let mode = file.mode() & 0o7777;
    let what = format!("{shown} has mode {mode:04o} and is of user {}", file.uid());
    match is_roots(&file) {
        true => Finding::new(about, FindingState::Good, what),
        false => Finding::new(about, FindingState::Stops, what)
            .why("others than root may change it, and with it what runs in the kernel")
            .todo(format!("chown root {shown} && chmod go-w {shown}")),
    }
}

fn is_roots(file: &Metadata) -> bool {
    file.uid() == 0 && file.mode() & 0o022 == 0
}

fn trust(config_dir: &Path) -> Finding {
    let file = config_dir.join("trust.toml");
    let shown = file.display();
    match file.exists() {
        true => Finding::new("trust", FindingState::Good, format!("who is trusted: {shown}")),
        false => Finding::new("trust", FindingState::Lacks, format!("there is no {shown}"))
            .why("nobody is trusted: packages come in by --allow-unsigned alone")
            .todo("skep trust add PATTERN --key PUB"),
    }
}

fn room(state: &Path) -> Finding {
    let there = state.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let shown = there.display();
    let free = match mounts::free_bytes(there) {
        Ok(free) => free,
        Err(error) => {
            let what = format!("the room in {shown} is not known");
            return Finding::new("disk", FindingState::Lacks, what).why(error.to_string());
        }
    };
    let what = format!("{} MiB are free in {shown}", free >> 20);
    let todo = format!("make room there; skep remove and skep cache prune do, too ({shown})");
    match free {
        0..LEAST => Finding::new("disk", FindingState::Stops, what)
            .why("nothing can be installed where the journal cannot be written")
            .todo(todo),
        LEAST..LITTLE => Finding::new("disk", FindingState::Lacks, what)
            .why("packages of the version before are kept, too")
            .todo(todo),
        _ => Finding::new("disk", FindingState::Good, what),
    }
}

fn socket(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Err(_) => Finding::new(
            "socket",
            FindingState::Good,
            format!("nothing is at {shown}: skepd makes it"),
        ),
        Ok(file) if !file.file_type().is_socket() => {
            Finding::new("socket", FindingState::Stops, format!("{shown} is no socket"))
                .todo(format!("remove it: rm {shown}"))
        }
        Ok(file) if file.mode() & 0o007 != 0 => {
            let what = format!("{shown} has mode {:04o}", file.mode() & 0o7777);
            Finding::new("socket", FindingState::Lacks, what)
                .why("every user may read what services count and hold")
                .todo(format!("chmod 0660 {shown}"))
        }
        Ok(_) => {
            Finding::new("socket", FindingState::Good, format!("{shown} is root's and its group's"))
        }
    }
}

fn holder(daemon: &Path) -> Finding {
    let socket = hold::socket_of(daemon);
    let shown = socket.display();
    match UnixStream::connect(&socket) {
        Ok(_) => {
            Finding::new("holder", FindingState::Good, "skepd --hold runs and keeps attachments")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::new("holder", FindingState::Good, "no skepd --hold runs: nothing needs one")
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::new(
            "holder",
            FindingState::Lacks,
            "whether skepd --hold runs is root's to see",
        ),
        Err(error) => {
            Finding::new("holder", FindingState::Lacks, format!("nobody answers at {shown}"))
                .why(format!("{error}: skepd --hold ended, and what it kept is detached"))
                .todo("systemctl restart skepd: its start attaches it again")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_may_write_stops() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trust.toml");
        fs::write(&file, "").unwrap();
        let state = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            owned("config-file", &file).state
        };
        assert_eq!((state(0o644), state(0o664)), (FindingState::Good, FindingState::Stops));
        assert_eq!(owned("x", &folder.path().join("none")).state, FindingState::Lacks);
        assert_eq!(socket(&file).state, FindingState::Stops);
        assert_eq!(room(&folder.path().join("not/yet")).about, "disk");
    }
}
