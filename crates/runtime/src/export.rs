//! Maps that others may open: a pin that stays where it is, of the mode and the group that the manifest says.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use skep_kernel::{MapHandle, bpffs};
use skep_spec::manifest::Export;
use skep_spec::{Manifest, ServiceName};

use crate::error::RuntimeError;
use crate::hooks::make_folder;
use crate::runtime::Runtime;

/// The group of pins that are exported to none.
const ROOT: u32 = 0;

/// Where groups are by name.
const GROUPS: &str = "/etc/group";

/// That this machine has the groups to which maps are exported.
pub(crate) fn check_exports(
    service: &ServiceName,
    manifest: &Manifest,
) -> Result<(), RuntimeError> {
    let exports =
        manifest.map.iter().filter_map(|(map, m)| Some((map, m.export.as_ref()?.group.as_ref()?)));
    for (map, group) in exports {
        if group_of(group)?.is_none() {
            let (service, map, group) = (service.clone(), map.clone(), group.clone());
            return Err(RuntimeError::NoGroup { service, map, group });
        }
    }
    Ok(())
}

impl Runtime {
    /// Pins the maps that the running generation exports, in place of those of another one, and takes away what only that one
    /// exported. Doing it again changes nothing.
    pub(crate) fn settle_exports(&self, name: &ServiceName) -> Result<(), RuntimeError> {
        let Some(active) = self.runs(name) else { return Ok(()) };
        let pins = self.pins(name);
        for (map, record) in active.incarnation.iter().flat_map(|incarnation| &incarnation.maps) {
            let Some(export) = &record.export else { continue };
            let path = pins.export(map);
            if MapHandle::open_pinned(&path).is_ok_and(|pinned| pinned.info().id == record.id) {
                open_to(&path, export)?;
                continue;
            }
            make_folder(&pins.exports())?;
            // No name of a map has this in it.
            let new = pins.exports().join("~new");
            bpffs::unpin(&new)?;
            MapHandle::open_pinned(&pins.map(map, record.made_by))?.pin(&new)?;
            open_to(&new, export)?;
            fs::rename(&new, &path).map_err(failed("put in place", &path))?;
        }
        self.unpin_unknown(&pins.exports())
    }
}

/// Opens a pin to whom an export names, and to nobody else: not for a moment to a new group by the mode of an old one.
fn open_to(path: &Path, export: &Export) -> Result<(), RuntimeError> {
    let group = export.group.as_deref().map(group_of).transpose()?.flatten().unwrap_or(ROOT);
    let now = fs::metadata(path).map_err(failed("look at", path))?;
    if now.gid() != group {
        let closed = Permissions::from_mode(0o600);
        fs::set_permissions(path, closed).map_err(failed("close to others", path))?;
        chown(path, None, Some(group)).map_err(failed("give to its group", path))?;
    }
    let mode = u32::from_str_radix(&export.mode, 8).unwrap_or(0o600); // the manifest was read
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("open to others", path))
}

/// The number of a group.
fn group_of(name: &str) -> Result<Option<u32>, RuntimeError> {
    let groups = fs::read_to_string(GROUPS).map_err(failed("read", Path::new(GROUPS)))?;
    let number = |line: &str| {
        let mut cells = line.split(':');
        (cells.next() == Some(name)).then(|| cells.nth(1)?.parse().ok()).flatten()
    };
    Ok(groups.lines().find_map(number))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let path = path.display().to_string();
    move |source| RuntimeError::File { action, path, source }
}
