//! A publisher changes its keys, and machines follow.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;

use serde_json::Value;
use support::{DockerRegistry, Fixture, run};
use typed::{refused, skep};

/// Keys a, b and c, of which the machine trusts a for acme/*.
fn keys(folder: &Path) {
    for name in ["a", "b", "c"] {
        run(skep(folder).args(["key", "new", "-o", name]));
    }
    run(skep(folder).args(["trust", "add", "acme/*", "--key", "a.pub"]));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn machines_follow_keys_that_the_old_ones_signed() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    keys(folder);
    let rotate = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        command
    };
    let follow = || {
        let mut command = skep(folder);
        command.args(["trust", "rotate", "acme.keys"]);
        command
    };
    let rules = || std::fs::read_to_string(folder.join("trust.toml")).unwrap();
    let trusted = |key: &str| {
        run(skep(folder).args(["sign", "--key", &format!("{key}.key"), "layout"]));
        let verified = skep(folder).args(["verify", "layout"]).output().unwrap();
        verified.status.success()
    };
    refused(&mut rotate(&["--key", "a.key"]), 2, "there are no keys in 'acme.keys' to sign");
    refused(&mut rotate(&["--to", "a.pub", "--key", "a.key"]), 2, "needs --publisher");
    let first = run(&mut rotate(&["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]));
    assert!(first.starts_with("Version 1 of the keys of acme in acme.keys: 1 of 1\n"), "{first}");
    assert!(run(&mut follow()).contains("has version 1 of the keys of acme already"));

    // The old key alone does not do, nor a key that is in neither version.
    refused(&mut rotate(&["--to", "b.pub", "--key", "c.key"]), 2, "would not count");
    let half = run(&mut rotate(&["--to", "b.pub", "--key", "a.key"]));
    assert!(
        half.contains(
            "not complete: version 2 of the keys has 0 of the 1 signatures by its own keys"
        ),
        "{half}"
    );
    let before = rules();
    refused(&mut follow(), 4, "0 of the 1 signatures by its own keys");
    assert_eq!(rules(), before);
    refused(
        &mut rotate(&["--to", "c.pub", "--key", "b.key"]),
        2,
        "version 2 of the keys is not complete",
    );
    let whole = run(&mut rotate(&["--key", "b.key"]));
    assert!(whole.ends_with("complete: skep trust rotate acme.keys follows it\n"), "{whole}");

    assert!(trusted("a"));
    let text = run(&mut follow());
    assert!(text.contains("from version 1 to 2\nacme/*: signed by this key\n"), "{text}");
    let fresh = Fixture::new("1.0.0");
    std::fs::remove_dir_all(folder.join("layout")).unwrap();
    std::fs::rename(fresh.path("layout"), folder.join("layout")).unwrap();
    assert!(!trusted("a") && trusted("b"), "the old key's time is over");

    // Two at once, with another threshold and an end; an old copy of the file leads nowhere.
    let old = std::fs::read(folder.join("acme.keys")).unwrap();
    let two =
        ["--to", "b.pub", "--to", "c.pub", "--threshold", "2", "--expires", "2099-12-31T00:00:00Z"];
    run(rotate(&two).args(["--key", "b.key", "--key", "c.key"]));
    let answer = json(&run(follow().args(["--output", "json"])));
    assert_eq!((&answer["from"], &answer["version"]), (&2.into(), &3.into()), "{answer}");
    let rule = &answer["rules"][0];
    assert_eq!((&rule["threshold"], rule["keys"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!(rule["keys"][0]["not_after"], "2099-12-31T00:00:00Z", "{answer}");
    let before = rules();
    refused(follow().args(["--from", "9"]), 2, "the newest keys in 'acme.keys' are version 3");
    // Another user, or a crash before that was kept: the rules themselves say where they are.
    let kept = folder.join(".local/state/skep/keys.json");
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::remove_file(&kept).unwrap();
    assert!(run(&mut follow()).contains("has version 3 of the keys of acme already"));
    std::fs::write(&kept, bytes).unwrap();
    std::fs::write(folder.join("acme.keys"), old).unwrap();
    assert!(run(&mut follow()).contains("has version 3 of the keys of acme already"));
    assert_eq!(rules(), before);
}

#[test]
fn keys_of_strangers_and_mistakes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    keys(folder);
    let before = std::fs::read_to_string(folder.join("trust.toml")).unwrap();
    // All is signed well, by keys that nobody here trusts.
    let new = ["--publisher", "acme", "--to", "c.pub", "--key", "c.key"];
    run(skep(folder).args(["key", "rotate", "theirs"]).args(new));
    let next = ["--to", "b.pub", "--key", "c.key", "--key", "b.key"];
    run(skep(folder).args(["key", "rotate", "theirs"]).args(next));
    let follow = |file: &str| {
        let mut command = skep(folder);
        command.args(["trust", "rotate", file]);
        command
    };
    refused(&mut follow("theirs"), 4, "0 of the 1 signatures by the old keys");
    refused(&mut follow("absent"), 2, "can't read 'absent'");
    refused(&mut follow("a.pub"), 2, "'a.pub', line 1 holds no keys");
    let other = ["--publisher", "other", "--to", "c.pub", "--key", "c.key"];
    run(skep(folder).args(["key", "rotate", "other"]).args(other));
    refused(&mut follow("other"), 2, "no rule is for packages of other");
    // What cannot be meant is not written.
    for (more, words) in [
        (&["--to", "b.pub", "--to", "b.pub", "--key", "b.key"][..], "cannot be meant"),
        (&["--to", "b.pub", "--threshold", "2", "--key", "b.key"], "cannot be meant"),
        (&["--publisher", "b", "--to", "b.pub", "--key", "b.key"], "holds the keys of acme"),
        (&["--to", "b.pub", "--expires", "1999-01-01T00:00:00Z", "--key", "b.key"], "--expires"),
    ] {
        let bytes = std::fs::read(folder.join("theirs")).unwrap();
        refused(skep(folder).args(["key", "rotate", "theirs"]).args(more), 2, words);
        assert_eq!(std::fs::read(folder.join("theirs")).unwrap(), bytes);
    }
    assert_eq!(std::fs::read_to_string(folder.join("trust.toml")).unwrap(), before);
    // Of a rule for others, too, nobody knows whose keys it has.
    run(skep(folder).args(["trust", "add", "mixed/a", "acme/special", "--key", "b.pub"]));
    refused(&mut follow("theirs"), 2, "is not for acme alone");
}

#[test]
fn keys_travel_through_registries_and_bundles() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    keys(folder);
    let package = format!("{}/acme/exec", registry.host);
    let rotate = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        command
    };
    run(&mut rotate(&["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]));
    let first = std::fs::read(folder.join("acme.keys")).unwrap();
    run(&mut rotate(&["--to", "b.pub", "--key", "a.key"]));
    refused(&mut rotate(&["--push", &package]), 2, "version 2 of the keys is not complete");
    let other = format!("{}/other/exec", registry.host);
    refused(rotate(&["--key", "b.key"]).args(["--push", &other]), 2, "is no package of acme");
    let follow = |from: &str, policy: &str| {
        let mut command = skep(folder);
        command.args(["trust", "rotate", from, "--policy", policy]);
        command
    };
    refused(&mut follow(&package, "trust.toml"), 1, "there are no keys of a publisher with");
    let text = run(&mut rotate(&["--push", &package]));
    assert!(
        text.contains(&format!("\nbeside {package}: skep trust rotate {package} follows it")),
        "{text}"
    );

    // The package is signed by the new key, and a machine without the file follows.
    run(skep(folder).args(["sign", "--key", "b.key", "layout"]));
    let reference = format!("{package}:1.0.0");
    run(skep(folder).args(["push", "layout", &reference]));
    let move_it = ["channel", "move", &reference, "stable", "--key", "b.key"];
    std::fs::copy(folder.join("trust.toml"), folder.join("other.toml")).unwrap();
    refused(skep(folder).args(["verify", &reference]), 4, "by another key");
    let text = run(&mut follow(&package, "trust.toml"));
    assert!(text.contains("from version 1 to 2"), "{text}");
    run(skep(folder).args(["verify", &reference]));
    run(skep(folder).args(move_it));

    // By a stick into another registry, and from there, and from the stick itself.
    run(skep(folder).args(["bundle", &reference, "-o", "site.skep"]));
    let site = DockerRegistry::start();
    let text = run(skep(folder).args(["unbundle", "site.skep", "--to", &site.host]));
    assert!(text.contains("and version 2 of the keys of acme\n"), "{text}");
    assert!(text.contains("and the channel 'stable' of acme/exec\n"), "{text}");
    let again = run(skep(folder).args(["unbundle", "site.skep", "--to", &site.host]));
    assert!(!again.contains("\nand "), "{again}");
    let there = format!("{}/acme/exec", site.host);
    run(skep(folder).args(["verify", &format!("{there}@stable")]));
    for from in [&there, "site.skep"] {
        std::fs::copy(folder.join("other.toml"), folder.join("third.toml")).unwrap();
        let text = run(&mut follow(from, "third.toml"));
        assert!(text.contains("has version 2 of") || text.contains("to 2"), "{text}");
        let kept = folder.join(".local/state/skep/keys.json");
        std::fs::remove_file(kept).unwrap();
    }
    // What is older never takes the place of what is newer.
    std::fs::write(folder.join("acme.keys"), first).unwrap();
    refused(&mut rotate(&["--push", &package]), 4, "version 2 of the keys is beside");
}

/// It is said, and holds none of them back.
#[test]
fn what_a_stranger_puts_behind_good_keys_is_left_out() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    keys(folder);
    let rotate =
        |file: &str, args: &[&str]| run(skep(folder).args(["key", "rotate", file]).args(args));
    rotate("acme.keys", &["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]);
    rotate("acme.keys", &["--to", "b.pub", "--key", "a.key", "--key", "b.key"]);
    rotate("c.keys", &["--publisher", "acme", "--to", "c.pub", "--key", "c.key"]);
    (2..=9).for_each(|_| drop(rotate("c.keys", &["--to", "c.pub", "--key", "c.key"])));
    let bundles = |file: &str| -> Vec<Vec<u8>> {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    };
    let (good, strangers) = (bundles("acme.keys"), bundles("c.keys"));
    let package = format!("{}/acme/exec", registry.host);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Version 3, and 9.
    for (at, junk) in [2, 8].into_iter().enumerate() {
        let keys = [good.clone(), vec![strangers[junk].clone()]].concat();
        let put = registry.client();
        runtime.block_on(put.put_keys(&package.parse().unwrap(), &keys)).unwrap();
        let rules = format!("rules-{at}.toml");
        std::fs::copy(folder.join("trust.toml"), folder.join(&rules)).unwrap();
        let follow = ["trust", "rotate", &package, "--policy", &rules];
        let output = wait::output(skep(folder).args(follow));
        let (done, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (done, said) = (done.unwrap(), said.unwrap());
        assert!(done.contains("from version 1 to 2") && said.starts_with("note: "), "{done}{said}");
    }
}

#[test]
fn what_a_stranger_bundles_replaces_neither_keys_nor_channels() {
    let (site, strangers) = (DockerRegistry::start(), DockerRegistry::start());
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    keys(folder);
    let publish = |to: &str, file: &str, key: &str, versions: usize, sequence: &[&str]| {
        let (package, public) = (format!("{to}/acme/exec"), format!("{key}.pub"));
        let (reference, key) = (format!("{package}:1.0.0"), format!("{key}.key"));
        run(skep(folder).args(["push", "layout", &reference]));
        for version in 1..=versions {
            let mut rotate = skep(folder);
            rotate.args(["key", "rotate", file, "--to", &public, "--key", &key]);
            rotate.args(if version == 1 { &["--publisher", "acme"][..] } else { &[] });
            run(&mut rotate);
        }
        run(skep(folder).args(["key", "rotate", file, "--key", &key, "--push", &package]));
        let moved = ["channel", "move", &reference, "stable", "--key", &key];
        run(skep(folder)
            .args(moved)
            .args(sequence)
            .env("XDG_STATE_HOME", folder.join("state").join(&key)));
        reference
    };
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    let good = publish(&site.host, "acme.keys", "a", 1, &[]);
    let forged = publish(&strangers.host, "forged.keys", "b", 3, &["--sequence", "99"]);
    run(skep(folder).args(["bundle", &forged, "-o", "forged.skep"]));
    let text = wait::output(skep(folder).args(["unbundle", "forged.skep", "--to", &site.host]));
    let text = String::from_utf8(text.stderr).unwrap();
    assert!(text.contains("the keys of acme stay"), "{text}");
    assert!(text.contains("the channel 'stable' of acme/exec stays"), "{text}");
    let (package, stable) = (good.trim_end_matches(":1.0.0"), good.replace(":1.0.0", "@stable"));
    let shown = run(skep(folder).args(["channel", "show", &stable, "--key", "a.pub"]));
    assert!(shown.contains("sequence 1"), "{shown}");
    run(skep(folder).args(["key", "rotate", "acme.keys", "--to", "a.pub", "--key", "a.key"]));
    run(skep(folder).args(["key", "rotate", "acme.keys", "--key", "a.key", "--push", package]));
}
