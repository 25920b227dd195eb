//! Which release is the newest.

use skep_spec::Version;

use crate::store::Release;

/// Releases by precedence, the one to show first before the others: full releases before pre-releases.
#[must_use]
pub fn by_version(mut releases: Vec<Release>) -> Vec<Release> {
    releases.sort_by_cached_key(|release| std::cmp::Reverse(rank(&release.tag)));
    releases
}

/// The release to show when none is asked for.
#[must_use]
pub fn newest(releases: Vec<Release>) -> Option<Release> {
    by_version(releases).into_iter().next()
}

fn rank(tag: &str) -> Option<(bool, Version)> {
    let version = Version::from_tag(tag).ok()?;
    let text = version.to_string();
    let is_full = !text.split('+').next().unwrap_or_default().contains('-');
    Some((is_full, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_releases_come_first_and_numbers_count_as_numbers() {
        let release = |tag: &str| Release {
            repository: "acme/exec".into(),
            tag: tag.into(),
            digest: String::new(),
            license: String::new(),
            summary: String::new(),
            architectures: String::new(),
            size: 0,
            published: String::new(),
            signatures: 0,
        };
        let tags = ["1.9.0", "2.0.0-rc.1", "1.10.0", "1.10.0_b2", "0.1.0-x"].map(release);
        let order: Vec<String> = by_version(tags.into()).into_iter().map(|r| r.tag).collect();
        assert_eq!(order, ["1.10.0_b2", "1.10.0", "1.9.0", "2.0.0-rc.1", "0.1.0-x"]);
    }
}
