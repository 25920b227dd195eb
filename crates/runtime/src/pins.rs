//! The layout of pins: `<root>/<service>/{switch,hooks/<hook>/{link,stub,slots},maps/<map>@<n>,progs/<n>/<program>,export/<map>}`.
//!
//! bpffs refuses dots in names, so that every name is escaped (`.` is `%2E`). A pin's name also has at most
//! 255 bytes; longer ones are cut and told apart by a checksum.

use std::path::{Path, PathBuf};

use skep_kernel::bpffs::escape;
use skep_spec::ServiceName;

/// The kernel's NAME_MAX.
const NAME_MAX: usize = 255;

/// The paths of one service's pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// The pins of `service` under `root`.
    #[must_use]
    pub fn new(root: &Path, service: &ServiceName) -> Self {
        Self { folder: root.join(service.as_str()) }
    }

    /// The service's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The switch word: an array of one u64, whose parity picks the slot of every stub.
    #[must_use]
    pub fn switch(&self) -> PathBuf {
        self.folder.join("switch")
    }

    /// The folder of all hooks.
    #[must_use]
    pub fn hooks(&self) -> PathBuf {
        self.folder.join("hooks")
    }

    /// The folder of one hook.
    #[must_use]
    pub fn hook(&self, hook: &str) -> PathBuf {
        self.hooks().join(pin_name(hook, ""))
    }

    /// A hook's link.
    #[must_use]
    pub fn link(&self, hook: &str) -> PathBuf {
        self.hook(hook).join("link")
    }

    /// A hook's stub.
    #[must_use]
    pub fn stub(&self, hook: &str) -> PathBuf {
        self.hook(hook).join("stub")
    }

    /// The prog array of a hook's stub.
    #[must_use]
    pub fn slots(&self, hook: &str) -> PathBuf {
        self.hook(hook).join("slots")
    }

    /// The folder of all maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.folder.join("maps")
    }

    /// A map that generation `made_by` brought.
    #[must_use]
    pub fn map(&self, map: &str, made_by: u64) -> PathBuf {
        self.maps().join(pin_name(map, &format!("@{made_by}")))
    }

    /// The folder of the maps that others may open.
    #[must_use]
    pub fn exports(&self) -> PathBuf {
        self.folder.join("export")
    }

    /// A map that others may open: whatever generation brought it, here is the one that runs.
    #[must_use]
    pub fn export(&self, map: &str) -> PathBuf {
        self.exports().join(pin_name(map, ""))
    }

    /// The folder of a generation's programs.
    #[must_use]
    pub fn programs(&self, generation: u64) -> PathBuf {
        self.folder.join("progs").join(generation.to_string())
    }

    /// A program of a generation.
    #[must_use]
    pub fn program(&self, generation: u64, program: &str) -> PathBuf {
        self.programs(generation).join(pin_name(program, ""))
    }
}

fn pin_name(name: &str, suffix: &str) -> String {
    let escaped = escape(name);
    if escaped.len() + suffix.len() <= NAME_MAX {
        return escaped + suffix;
    }
    let mark = format!("~{:08x}", crc32c::crc32c(name.as_bytes()));
    let mut cut = NAME_MAX - suffix.len() - mark.len();
    while !escaped.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{mark}{suffix}", &escaped[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Pins {
        Pins::new(Path::new("/sys/fs/bpf/skep"), &"exec".parse().unwrap())
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(pins().map(".bss", 3), Path::new("/sys/fs/bpf/skep/exec/maps/%2Ebss@3"));
        assert_eq!(pins().link("a/b"), Path::new("/sys/fs/bpf/skep/exec/hooks/a%2Fb/link"));
        assert_eq!(
            pins().program(12, "on_exec"),
            Path::new("/sys/fs/bpf/skep/exec/progs/12/on_exec")
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = ("é.".repeat(200), "é.".repeat(201));
        let name = |map: &str| pins().map(map, 1).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name(&one).len() <= NAME_MAX);
        assert_ne!(name(&one), name(&two));
    }
}
