//! Other people's tools carry our packages, and ours carries what they attach: at the end of every chain the digests are the
//! same, and whoever takes signatures along takes good ones.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use support::{DockerRegistry, Fixture, run, tool, try_run};
use typed::skep;

/// A tool without this user's settings.
fn theirs(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(tool(name));
    command.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "");
    command
}

/// A registry of its own for each stop, so that nothing is there before it was carried.
struct Chain {
    fixture: Fixture,
    stops: Vec<DockerRegistry>,
}

impl Chain {
    /// The first stop has the package, signed.
    fn new() -> Self {
        let chain = Self { fixture: Fixture::new("1.0.0"), stops: vec![DockerRegistry::start()] };
        let folder = chain.folder();
        run(skep(folder).args(["key", "new", "-o", "key"]));
        run(skep(folder).args(["sign", "--key", "key.key", "layout"]));
        run(skep(folder).args(["push", "layout", &chain.here()]));
        chain
    }

    fn folder(&self) -> &Path {
        self.fixture.folder.path()
    }

    fn here(&self) -> String {
        self.stops.last().unwrap().reference("1.0.0").to_string()
    }

    /// Where the package is, and the next stop, which has nothing yet.
    fn go_on(&mut self) -> (String, String) {
        let from = self.here();
        self.stops.push(DockerRegistry::start());
        (from, self.here())
    }

    /// The digest is what it was, by all who can say.
    fn is_the_same(&self) {
        let (folder, here, index) = (self.folder(), self.here(), self.fixture.index.to_string());
        let crane = run(theirs("crane", folder).args(["digest", "--insecure", &here]));
        assert_eq!(crane.trim(), index, "{here}");
        let oras = run(theirs("oras", folder).args(["resolve", "--plain-http", &here]));
        assert_eq!(oras.trim(), index, "{here}");
        run(theirs("crane", folder).args(["validate", "--insecure", "--remote", &here]));
    }

    fn is_signed(&self) {
        let text = run(skep(self.folder()).args(["verify", "--key", "key.pub", &self.here()]));
        assert!(text.contains(&self.fixture.index.to_string()), "{text}");
    }
}

#[test]
fn a_chain_of_tools_keeps_content_and_signatures() {
    let mut chain = Chain::new();
    chain.is_the_same();
    let (from, to) = chain.go_on();
    let cp = ["cp", "-r", "--from-plain-http", "--to-plain-http"];
    run(theirs("oras", chain.folder()).args(cp).args([&from, &to]));
    chain.is_the_same();
    chain.is_signed();
    let (from, to) = chain.go_on();
    let text = run(skep(chain.folder()).args(["copy", &from, &to]));
    assert!(text.contains("1 signature"), "{text}");
    chain.is_the_same();
    chain.is_signed();
    // Through a layout of oras's own, and back.
    let (from, to) = chain.go_on();
    let into = ["cp", "-r", "--from-plain-http", "--to-oci-layout"];
    run(theirs("oras", chain.folder()).args(into).args([&from, "by-oras:1.0.0"]));
    let out_of = ["cp", "-r", "--from-oci-layout", "--to-plain-http"];
    run(theirs("oras", chain.folder()).args(out_of).args(["by-oras:1.0.0", &to]));
    chain.is_the_same();
    chain.is_signed();
    // Through a file of ours.
    let (from, to) = chain.go_on();
    run(skep(chain.folder()).args(["bundle", &from, "-o", "site.skep"]));
    let registry = to.split('/').next().unwrap();
    run(skep(chain.folder()).args(["unbundle", "site.skep", "--to", registry]));
    chain.is_the_same();
    chain.is_signed();
    let cosign = ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key", "key.pub"];
    let (name, _) = to.rsplit_once(':').unwrap();
    let digest = format!("{name}@{}", chain.fixture.index);
    let (ok, text) = try_run(theirs("cosign", chain.folder()).args(cosign).arg(&digest));
    assert!(ok, "{text}");
}

#[test]
fn a_chain_of_tools_without_signatures_keeps_content() {
    let mut chain = Chain::new();
    let (from, to) = chain.go_on();
    run(theirs("crane", chain.folder()).args(["copy", "--insecure", &from, &to]));
    chain.is_the_same();
    let (from, to) = chain.go_on();
    let copy = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
    let places = [format!("docker://{from}"), format!("docker://{to}")];
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run(theirs("skopeo", chain.folder()).args(copy).args(plain).args(places));
    chain.is_the_same();
    // What they left behind can be put there again, and is good.
    let (ok, text) =
        try_run(skep(chain.folder()).args(["verify", "--key", "key.pub", &chain.here()]));
    assert!(!ok && text.contains("it is unsigned"), "{text}");
    run(skep(chain.folder()).args(["push", "layout", &chain.here()]));
    chain.is_signed();
}

#[test]
fn what_others_attach_goes_along() {
    let mut chain = Chain::new();
    std::fs::write(chain.folder().join("sbom.json"), "{}").unwrap();
    let kind = "application/vnd.cyclonedx+json";
    let attach = ["attach", "--plain-http", "--artifact-type", kind];
    let file = format!("sbom.json:{kind}");
    run(theirs("oras", chain.folder()).args(attach).args([&chain.here(), &file]));
    let (from, to) = chain.go_on();
    let text = run(skep(chain.folder()).args(["copy", &from, &to]));
    assert!(text.contains("1 signature, 1 other referrers"), "{text}");
    let discover = ["discover", "--plain-http", "--format", "json"];
    let text = run(theirs("oras", chain.folder()).args(discover).arg(&to));
    assert!(text.contains(kind) && text.contains("sigstore.bundle"), "{text}");
    chain.is_the_same();
    chain.is_signed();
}
