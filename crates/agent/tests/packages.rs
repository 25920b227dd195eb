//! The shelf of packages: what it keeps of each one that it let in.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_agent::config::Config;
use skep_agent::packages::Shelf;
use skep_api::PackageSource;
use support::Fixture;

fn shelf(fixture: &Fixture) -> Shelf {
    Shelf::open(&fixture.path("state"), &fixture.path("config"), Config::default()).unwrap()
}

fn admit(shelf: &Shelf, layout: &Path) {
    let wanted = PackageSource::Layout { path: layout.to_owned(), package: None };
    shelf.admit(&wanted, true).unwrap();
}

fn note(fixture: &Fixture) -> PathBuf {
    fixture.path("state/admitted").join(format!("{}.json", fixture.index.hex()))
}

/// A crash in the middle of letting in what runs already must not take away that it was let in.
#[test]
fn a_note_is_replaced_and_never_written_over() {
    let fixture = Fixture::new("1.0.0");
    let shelf = shelf(&fixture);
    admit(&shelf, fixture.store.root());
    let before = fs::metadata(note(&fixture)).unwrap().ino();
    let kept = fixture.path("kept.json");
    fs::hard_link(note(&fixture), &kept).unwrap();
    admit(&shelf, fixture.store.root());
    assert_ne!(fs::metadata(note(&fixture)).unwrap().ino(), before);
    assert_eq!(fs::read(&kept).unwrap(), fs::read(note(&fixture)).unwrap());
    assert_eq!(fs::read_dir(fixture.path("state/admitted")).unwrap().count(), 1);
}

#[test]
fn half_a_note_of_a_daemon_that_died_is_removed_by_the_next_one() {
    let fixture = Fixture::new("1.0.0");
    let half = fixture.path("state/admitted/.tmp-4194304-x"); // above the largest pid
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "{").unwrap();
    shelf(&fixture);
    assert!(!half.exists());
}
