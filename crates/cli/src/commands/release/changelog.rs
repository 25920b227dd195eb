//! Whether a changelog speaks of a version.

use skep_spec::Version;

/// The heading of a version: `## 1.2.0`, `## [1.2.0] - 2026-11-29`, `# v1.2.0`.
pub fn heading<'a>(text: &'a str, version: &Version) -> Option<&'a str> {
    let version = version.to_string();
    let is_it = |word: &str| {
        let word = word.trim_matches(['[', ']', '(', ')', ':', ',', '`']);
        word.strip_prefix('v').unwrap_or(word) == version
    };
    let of_it = |line: &&str| line.starts_with('#') && line.split_whitespace().any(is_it);
    text.lines().find(of_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heading_of_a_version_is_found_and_no_other() {
        let version: Version = "1.2.0".parse().unwrap();
        for line in ["## 1.2.0", "## [1.2.0] - 2026-11-29", "# v1.2.0", "### acme 1.2.0:"] {
            let text = format!("# Changelog\n\n{line}\n- more\n");
            assert_eq!(heading(&text, &version), Some(line));
        }
        for line in ["## 1.2.01", "## 1.2.0-rc.1", "## 11.2.0", "since 1.2.0", "- 1.2.0", ""] {
            assert_eq!(heading(line, &version), None, "{line}");
        }
    }
}
