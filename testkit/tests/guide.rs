//! docs/guide/first-package.md, typed: every command works, and prints what the page shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod page;

use std::path::Path;

use page::{commands, matches};

const PAGE: &str = include_str!("../../docs/guide/first-package.md");
/// Whatever comes of it, nothing stays.
const END: &str = "trap 'skep remove opens; kill $(jobs -p); wait; rmdir BPFFS' EXIT\n";

#[test]
fn the_first_package_is_made_as_the_guide_says() {
    let bpffs = format!("/sys/fs/bpf/skep-guide-{}", std::process::id());
    let hub = format!("127.0.0.1:{}", page::free_port());
    let own = |text: &str| {
        text.replace("127.0.0.1:7700", &hub)
            .replace("/sys/fs/bpf/first", &bpffs)
            .replace("BPFFS", &bpffs)
    };
    let typed = commands(&own(PAGE));
    assert!(typed.len() > 20, "the page shows commands");
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", page::binaries().display(), std::env::var("PATH").unwrap());
    page::follow(&typed, &own(END), folder.path(), &path);
    assert!(!Path::new(&bpffs).exists(), "{bpffs} is left");
}

#[test]
fn dots_stand_for_anything() {
    let shown = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (page, printed, same) in [
        ("a\n…\nb", "a\nb", true),
        ("a\n…\nb", "a\nx\ny\nb", true),
        ("a …b", "a and b", true),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("…", "", true),
    ] {
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(matches(&shown(page), &lines), same, "{page} | {printed}");
    }
}
