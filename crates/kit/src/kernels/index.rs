//! Package indexes: which kernels there are, and where.

use skep_spec::{Arch, Digest};

/// One package of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub version: String,
    pub suite: String,
    pub file: String,
    pub digest: Digest,
}

/// Suites that may hold `series`, the likeliest alone where it is known.
pub(super) fn suites(series: &str) -> &'static [&'static str] {
    match series {
        "5.10" => &["bullseye", "bullseye-security"],
        "6.1" => &["bookworm", "bookworm-security"],
        "6.12" => &["trixie", "trixie-security"],
        "newest" => &["trixie-backports"],
        _ => &["trixie-backports", "forky", "sid", "experimental"],
    }
}

/// The kernel packages of an index's text.
pub(super) fn parse(text: &str, suite: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let value =
                paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_default().to_owned()
        };
        let Ok(digest) = format!("sha256:{}", field("SHA256")).parse() else { continue };
        let entry = Entry {
            name: field("Package"),
            version: field("Version"),
            suite: suite.to_owned(),
            file: field("Filename"),
            digest,
        };
        let whole = !entry.version.is_empty() && !entry.file.is_empty();
        if whole && entry.name.starts_with("linux-") {
            entries.push(entry);
        }
    }
    entries
}

impl Entry {
    /// `6.12` of version `6.12.107-1`.
    pub fn series(&self) -> String {
        let mut parts = self.version.split(['.', '-', '~']);
        format!("{}.{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// `6.12.107+deb13-amd64` of `linux-image-6.12.107+deb13-amd64`.
    pub fn release(&self) -> &str {
        let name = self
            .name
            .strip_prefix("linux-image-")
            .or_else(|| self.name.strip_prefix("linux-binary-"));
        name.unwrap_or(&self.name)
    }

    /// Whether it holds a generic kernel image. From 6.19 on the image is in `linux-binary-*`, and `linux-image-*` only
    /// depends on it.
    pub fn is_image(&self, arch: Arch) -> bool {
        let (major, minor) = super::number(&self.series());
        let prefix = if (major, minor) >= (6, 19) { "linux-binary-" } else { "linux-image-" };
        let Some(release) = self.name.strip_prefix(prefix) else { return false };
        let Some(version) =
            release.strip_suffix(arch.goarch()).and_then(|release| release.strip_suffix('-'))
        else {
            return false;
        };
        let digits = version
            .split(['.', '-', '+', '~'])
            .take(3)
            .filter(|part| part.parse::<u32>().is_ok())
            .count();
        let full = digits == 3 || version.contains("-rc");
        full && !version.contains("-cloud")
            && !version.contains("-rt")
            && !version.contains("unsigned")
    }

    /// Orders versions of one series by their numbers.
    pub fn order(&self) -> Vec<u64> {
        self.version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, version: &str) -> Entry {
        let text = format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/x.deb\nSHA256: {}\n",
            "0".repeat(64)
        );
        parse(&text, "trixie").remove(0)
    }

    #[test]
    fn what_has_no_checksum_is_not_listed() {
        let listed = |checksum: &str| {
            let package =
                "Package: linux-image-6.12.9-amd64\nVersion: 6.12.9-1\nFilename: pool/x.deb\n";
            parse(&format!("{package}{checksum}"), "trixie").len()
        };
        assert_eq!(listed(&format!("SHA256: {}\n", "0".repeat(64))), 1);
        for none in ["", "SHA256: \n", "SHA256: 00\n", &format!("SHA256: {}\n", "x".repeat(64))] {
            assert_eq!(listed(none), 0, "{none}");
        }
    }

    #[test]
    fn images_are_told_from_what_only_looks_like_them() {
        let image = |name, version| entry(name, version).is_image(Arch::X86_64);
        assert!(image("linux-image-5.10.0-35-amd64", "5.10.237-1"));
        assert!(image("linux-image-6.12.107+deb13-amd64", "6.12.107-1"));
        assert!(image("linux-binary-7.3.4+deb14-amd64", "7.3.4-1~bpo13+1"));
        assert!(!image("linux-image-7.3.4+deb14-amd64", "7.3.4-1~bpo13+1"));
        assert!(!image("linux-image-6.12.107+deb13-cloud-amd64", "6.12.107-1"));
        assert!(!image("linux-image-6.12.107+deb13-rt-amd64", "6.12.107-1"));
        assert!(!image("linux-image-6.12-amd64", "6.12.107-1"));
        assert!(!image("linux-image-6.12.107+deb13-arm64", "6.12.107-1"));
        assert!(!image("linux-image-6.12.107+deb13-amd64-unsigned", "6.12.107-1"));
    }

    #[test]
    fn series_release_and_order_come_from_names_and_versions() {
        let (old, new) = (
            entry("linux-image-6.12.9-amd64", "6.12.9-1"),
            entry("linux-image-6.12.107-amd64", "6.12.107-1"),
        );
        assert_eq!((new.series().as_str(), new.release()), ("6.12", "6.12.107-amd64"));
        assert!(new.order() > old.order());
    }
}
