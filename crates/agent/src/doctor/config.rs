//! How the kernel that runs was built, where it says so.

use std::collections::BTreeMap;
use std::io::Read as _;

/// `CONFIG_` names and values, and where they stand.
pub(super) struct Config {
    pub(super) place: String,
    values: BTreeMap<String, String>,
}

/// Most bytes of such a file.
const MOST: u64 = 4 << 20;

impl Config {
    /// Of the kernel that runs: /proc/config.gz, or what its distribution put into /boot or beside its modules.
    pub(super) fn of_this_kernel(release: &str) -> Option<Self> {
        let unpacked = std::fs::File::open("/proc/config.gz").ok().and_then(|file| {
            let mut text = String::new();
            let gz = flate2::read::GzDecoder::new(file);
            gz.take(MOST).read_to_string(&mut text).ok()?;
            Some(("/proc/config.gz".to_owned(), text))
        });
        let places = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
        let read = |place: &String| Some((place.clone(), std::fs::read_to_string(place).ok()?));
        let (place, text) = unpacked.or_else(|| places.iter().find_map(read))?;
        Some(Self { place, values: parse(&text) })
    }

    /// Whether it was built with something: into the kernel, or as a module.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value == "y" || value == "m")
    }
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let set = text.lines().filter(|line| !line.starts_with('#'));
    set.filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_told_from_what_is_not() {
        let text = "# CONFIG_KPROBES is not set\nCONFIG_UPROBES=y\nCONFIG_VETH=m\nCONFIG_HZ=250\n";
        let config = Config { place: String::new(), values: parse(text) };
        let has = ["CONFIG_KPROBES", "CONFIG_UPROBES", "CONFIG_VETH", "CONFIG_HZ"];
        assert_eq!(has.map(|name| config.has(name)), [false, true, true, false]);
    }
}
