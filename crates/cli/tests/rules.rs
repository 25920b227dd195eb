//! `skep trust` as it is typed: the rules of a trust.toml, edited, listed and tried out.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use skep_oci::signatures;
use skep_spec::media;
use skep_trust::time;
use support::{DockerRegistry, Fixture, keyless, run};
use typed::refused;

/// With a folder that holds the configuration alone.
fn skep(folder: &Path) -> Command {
    let mut command = typed::skep(folder);
    command.env("SKEP_CONFIG_DIR", folder.join("config"));
    command
}

/// Keys a, b and c, and their texts for trust.toml.
fn keys(folder: &Path) -> [String; 3] {
    ["a", "b", "c"].map(|name| {
        run(skep(folder).args(["key", "new", "-o", name]));
        let public = std::fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap();
        public.lines().filter(|line| !line.starts_with("-----")).collect()
    })
}

#[test]
fn rules_are_added_where_there_was_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [a, b, _] = keys(folder);
    let read = || std::fs::read_to_string(folder.join("config/trust.toml")).unwrap();
    let listed = run(skep(folder).args(["trust", "list"]));
    assert!(listed.contains("nobody is trusted"), "{listed}");
    refused(skep(folder).args(["trust", "test", "acme/exec"]), 4, "no rule in trust.toml speaks");

    let text = run(skep(folder).args(["trust", "add", "acme/*", "--key", "a.pub"]));
    assert!(text.starts_with("Added a rule to "), "{text}");
    assert!(text.contains("acme/*: signed by this key"), "{text}");
    let one = format!("[[rule]]\npackages = [\"acme/*\"]\nkeys = [{{ spki = \"{a}\" }}]\n");
    assert_eq!(read(), one);
    let again = run(skep(folder).args(["trust", "add", "acme/*", "--key", "a.pub"]));
    assert!(again.starts_with("Nothing to add"), "{again}");
    assert_eq!(read(), one);

    let more = ["--registry", "hub.test:5000", "--threshold", "2", "--not-after"];
    let add = ["trust", "add", "acme/*", "--key", "a.pub", "--key", "b.pub"];
    run(skep(folder).args(add).args(more).arg("2099-12-31T00:00:00Z"));
    let until = "not_after = 2099-12-31T00:00:00Z";
    let two = format!(
        "{one}\n[[rule]]\npackages = [\"acme/*\"]\nregistries = [\"hub.test:5000\"]\nthreshold = 2\nkeys = [\n  {{ spki = \"{a}\", {until} }},\n  {{ spki = \"{b}\", {until} }},\n]\n"
    );
    assert_eq!(read(), two);
    let json = run(skep(folder).args(["trust", "list", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rules"][1]["registries"], serde_json::json!(["hub.test:5000"]));
    assert_eq!(json["rules"][1]["keys"][0]["not_after"], "2099-12-31T00:00:00Z");

    for (args, words) in [
        (&["acme/**", "--key", "a.pub"][..], "not a pattern"),
        (&["acme/x", "--key", "a.pub", "--threshold", "2"], "cannot be met"),
        (&["acme/x", "--key", "a.pub", "--not-after", "tomorrow"], "write it as"),
        (&["acme/*", "b/c", "--key", "b.pub"], "rules are never merged"),
        (&["acme/x", "--key", "a.key"], "can't use 'a.key'"),
        (&["acme/x"], "--key"),
    ] {
        let output = skep(folder).args(["trust", "add"]).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{args:?}: {said}");
        assert_eq!(read(), two, "it stays as it was");
    }
    run(skep(folder).args(["trust", "remove", "acme/*", "--registry", "hub.test:5000"]));
    run(skep(folder).args(["trust", "remove", "acme/*"]));
    assert_eq!(read().trim(), "");
}

#[test]
fn what_a_person_wrote_stays_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [a, b, c] = keys(folder);
    let file = folder.join("rules.toml");
    let written = format!(
        "# Site rules.\n# Ask security before you change them.\n\n# acme makes our tracers\n[[rule]] # the first\npackages   = ['acme/*', 'other/one']  # both\nthreshold = 1   # for now\nkeys = [\n    {{ spki = \"{a}\" }},   # Alice\n    {{ spki = \"{b}\" }},   # Bob\n]\n\n# widgets\n[[rule]]\npackages = [\"widgets/*\"]\nkeys = [{{ spki = \"{a}\" }}]\n\n[revoked] # nothing yet\nkeys = []\n"
    );
    std::fs::write(folder.join("real.toml"), &written).unwrap();
    std::fs::set_permissions(folder.join("real.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.toml", &file).unwrap();
    let read = || std::fs::read_to_string(&file).unwrap();
    let trust = |args: &[&str]| {
        let file = ["--policy", "rules.toml"];
        run(skep(folder).arg("trust").args(args).args(file))
    };

    let both = ["other/one", "acme/*"];
    trust(&["add", both[0], both[1], "--key", "c.pub", "--threshold", "2"]);
    let with_c = written
        .replace("threshold = 1   #", "threshold = 2   #")
        .replace("# Bob\n]", &format!("# Bob\n    {{ spki = \"{c}\" }},\n]"));
    assert_eq!(read(), with_c);
    let bob = run(skep(folder).args(["key", "trust", "b.pub", "--output", "json"]));
    let bob: serde_json::Value = serde_json::from_str(&bob).unwrap();
    trust(&["remove", "acme/*", "--key", bob["id"].as_str().unwrap()]);
    let without_bob = with_c.replace(&format!("    {{ spki = \"{b}\" }},   # Bob\n"), "");
    assert_eq!(read(), without_bob);
    trust(&["remove", "other/one"]);
    let one_pattern = without_bob.replace("['acme/*', 'other/one']", "['acme/*']");
    assert_eq!(read(), one_pattern);
    let refused = |args: &[&str], words: &str| {
        refused(skep(folder).arg("trust").args(args).args(["--policy", "rules.toml"]), 2, words);
    };
    refused(&["remove", "acme/*", "--key", "c.pub"], "cannot be met with 1 keys");
    refused(&["remove", "acme/*", "--key", "b.pub"], "has no key");
    refused(&["remove", "widgets/*", "--key", "a.pub"], "would trust nobody");
    refused(&["remove", "acme/exec"], "has no rule for 'acme/exec'");
    assert_eq!(read(), one_pattern);

    trust(&["remove", "acme/*"]);
    let (head, rest) = one_pattern.split_once("# acme makes").unwrap();
    let widgets = &rest[rest.find("# widgets").unwrap()..];
    assert_eq!(read(), format!("{head}{widgets}"), "what stands above the comment stays");
    assert!(file.is_symlink(), "the link leads to it as before");
    let mode = file.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
}

#[test]
fn a_package_is_held_against_the_rules() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let skep = || skep(folder);
    keys(folder);
    let reference = registry.reference("1.0.0").to_string();
    for key in ["a.key", "c.key"] {
        run(skep().args(["sign", "--key", key, "layout"]));
    }
    run(skep().args(["push", "layout", &reference]));
    run(skep().args(["bundle", "layout", "-o", "site.skep"]));
    let add = |args: &[&str]| run(skep().args(["trust", "add"]).args(args));
    add(&["*", "--key", "b.pub"]);
    add(&["acme/*", "--key", "a.pub", "--key", "b.pub"]);
    let test = |what: &str| run(skep().args(["trust", "test", what]));

    let text = test("acme/exec");
    assert!(text.starts_with("For acme/exec the rule 'acme/*' counts:\n"), "{text}");
    assert!(text.contains("signed by 1 of these 2 keys"), "{text}");
    assert!(text.contains("not counted: the rule '*', less specific"), "{text}");
    assert!(text.contains("everything else is refused"), "{text}");
    for what in [reference.as_str(), "layout", "site.skep"] {
        let text = test(what);
        assert!(text.contains(&fixture.index.to_string()), "{text}");
        assert!(text.contains("\ncounts: a signature by the key "), "{text}");
        assert!(text.contains("\ndoes not count: a signature is by another key: "), "{text}");
        assert!(text.ends_with("it would be let in\n"), "{text}");
    }
    let json = run(skep().args(["trust", "test", "layout", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["pattern"], &json["found"]["admitted"]), (&"acme/*".into(), &true.into()));

    // A rule for this registry alone counts for what comes from it.
    add(&["acme/*", "--key", "b.pub", "--registry", &registry.host]);
    refused(skep().args(["trust", "test", &reference]), 4, "by another key");
    let text = test("layout");
    assert!(text.contains(&format!("only for packages from {}", registry.host)), "{text}");
    refused(skep().args(["trust", "remove", "acme/*"]), 2, "several rules for 'acme/*'");
    run(skep().args(["trust", "remove", "acme/*", "--registry", &registry.host]));
    run(skep().args(["trust", "remove", "acme/*"]));
    refused(skep().args(["trust", "test", "layout"]), 4, "by another key");
    run(skep().args(["trust", "remove", "*"]));
    refused(skep().args(["trust", "test", "layout"]), 4, "no rule in trust.toml");
}

#[test]
fn an_identity_is_trusted_as_a_key_is() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let signed = keyless(folder, fixture.index, media::PREDICATE_SIGN, &[]);
    signatures::attach(&fixture.store, fixture.index, &signed).unwrap();
    keys(folder);
    let add = |identity: &str| {
        let mut add = skep(folder);
        add.args(["trust", "add", "acme/*", "--identity", identity]);
        add.args(["--issuer", "https://accounts.example", "--trusted-root", "trusted_root.json"]);
        add
    };
    let verify = || {
        let mut verify = skep(folder);
        verify.args(["verify", "layout", "--explain"]);
        verify
    };
    refused(skep(folder).args(["trust", "add", "x/*", "--identity", "i"]), 2, "--issuer");
    let mut broken = skep(folder);
    broken.args(["trust", "add", "x/*", "--identity", "https://ci.example/x"]);
    broken.args(["--issuer", "https://i\n", "--trusted-root", "trusted_root.json"]);
    refused(&mut broken, 2, "--issuer 'https://i\\n' holds a control character");
    let other = "https://ci.example/evil";
    let text = run(&mut add(other));
    assert!(
        text.contains("acme/*: signed by this identity\n  https://ci.example/evil of "),
        "{text}"
    );
    refused(&mut verify(), 4, "it is by https://ci.example/acme/release of ");
    let text = run(&mut add("https://ci.example/acme/*"));
    assert!(text.starts_with("Added to the rule in "), "{text}");
    assert!(run(&mut add("https://ci.example/acme/*")).starts_with("Nothing to add"));
    let text = run(&mut verify());
    let by = "the identity https://ci.example/acme/* of https://accounts.example";
    assert!(text.contains(&format!("\ncounts: a signature by {by}\n")), "{text}");
    assert!(text.contains("\nsigned by https://ci.example/acme/* of "), "{text}");
    run(skep(folder).args(["trust", "add", "acme/*", "--key", "a.pub", "--threshold", "2"]));
    refused(&mut verify(), 4, "1 of 2 trusted signature");
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    run(&mut verify());

    std::fs::write(folder.join("trusted_root.json"), "{}").unwrap();
    refused(&mut verify(), 4, "1 of 2 trusted signature");
    refused(&mut add("https://ci.example/b"), 2, "its trusted_root '");
}

#[test]
fn an_identity_ends_and_is_removed_as_a_key_is() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let signed = keyless(folder, fixture.index, media::PREDICATE_SIGN, &[]);
    signatures::attach(&fixture.store, fixture.index, &signed).unwrap();
    keys(folder);
    let trust = |args: &[&str]| {
        let mut trust = skep(folder);
        trust.arg("trust").args(args);
        trust
    };
    let by = ["--issuer", "https://accounts.example", "--trusted-root", "trusted_root.json"];
    let add = |identity: &str, more: &[&str]| {
        trust(&[&["add", "acme/*", "--identity", identity], &by[..], more].concat())
    };
    let read = || std::fs::read_to_string(folder.join("config/trust.toml")).unwrap();
    let (wide, narrow) = ("https://ci.example/acme/*", "https://ci.example/acme/release");
    let text = run(&mut add(narrow, &["--not-after", "2026-01-01T00:00:00Z"]));
    assert!(text.contains("trusted_root.json, until 2026-01-01T00:00:00Z)\n"), "{text}");
    assert!(read().contains("trusted_root.json\", not_after = 2026-01-01T00:00:00Z }]\n"));
    let json = run(&mut trust(&["list", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rules"][0]["keyless"][0]["not_after"], "2026-01-01T00:00:00Z");
    refused(skep(folder).args(["verify", "layout"]), 4, "was trusted only until its not_after");
    run(&mut add(wide, &["--not-after", "2099-12-31T00:00:00Z"]));
    refused(skep(folder).args(["verify", "layout"]), 4, "was trusted only until its not_after");
    let words = "the rule has that identity already, and --not-after is for new ones";
    refused(&mut add(narrow, &["--not-after", "2099-01-01T00:00:00Z"]), 2, words);

    let remove = |args: &[&str]| trust(&[&["remove", "acme/*"], args].concat());
    refused(&mut remove(&["--identity", "https://ci.example/x"]), 2, "has no identity 'https://");
    let other = ["--identity", narrow, "--issuer", "https://other.example"];
    refused(
        &mut remove(&other),
        2,
        "has no identity 'https://ci.example/acme/release' of https://",
    );
    // The wider one would count for it then.
    let before = read();
    let words = format!(
        "the identity {narrow} of https://accounts.example would be trusted as one of {wide}"
    );
    refused(&mut remove(&["--identity", narrow]), 2, &words);
    refused(&mut remove(&["--identity", narrow]), 2, "--keep-out leaves it there");
    assert_eq!(read(), before);
    let text = run(&mut remove(&["--identity", narrow, "--keep-out"]));
    assert!(text.starts_with("Ended in the rule for 'acme/*' in "), "{text}");
    assert!(
        read().contains("trusted_root.json\", not_after = 1970-01-01T00:00:00Z }, {"),
        "{}",
        read()
    );
    refused(skep(folder).args(["verify", "layout"]), 4, "was trusted only until its not_after");
    let text = run(&mut remove(&["--identity", narrow, "--leave-to-wider"]));
    assert!(text.starts_with("Removed from the rule for 'acme/*' in "), "{text}");
    assert!(!read().contains(narrow) && read().contains(wide), "{}", read());
    run(skep(folder).args(["verify", "layout"]));
    refused(&mut remove(&["--identity", wide]), 2, "would trust nobody");
    run(&mut trust(&["add", "acme/*", "--key", "a.pub"]));
    refused(&mut remove(&["--identity", wide, "--key", "a.pub"]), 2, "would trust nobody");
    run(&mut remove(&["--identity", wide, "--issuer", "https://accounts.example"]));
    assert!(!read().contains("keyless"), "{}", read());
}

#[test]
fn a_clock_that_was_set_back_brings_no_key_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fixture = Fixture::new("1.0.0");
    let layout = fixture.store.root().to_str().unwrap();
    keys(folder);
    let in_days = |days: u64| {
        let moment = SystemTime::now() + Duration::from_secs(days * 86_400);
        time::format(moment).unwrap()
    };
    let add = ["trust", "add", "acme/*", "--key", "a.pub", "--not-after"];
    run(skep(folder).args(add).arg(in_days(30)));
    run(skep(folder).args(["sign", "--key", "a.key", layout]));
    let commands: [&[&str]; 3] = [&["verify"], &["trust", "test"], &["run"]];
    commands[..2].iter().for_each(|args| drop(run(skep(folder).args(*args).arg(layout))));
    // It was later once.
    let seen = folder.join(".local/state/skep/channels.json");
    std::fs::create_dir_all(seen.parent().unwrap()).unwrap();
    std::fs::write(&seen, format!(r#"{{"time": "{}"}}"#, in_days(60))).unwrap();
    let hint = format!("wrong clock said the former once, take \"time\" out of {}", seen.display());
    for args in commands {
        for words in ["only until its not_after", &hint] {
            refused(skep(folder).args(args).arg(layout), 4, words);
        }
    }
}
