//! Other people's tools carry our packages, and ours carries what they attach: at the end of every chain the digests are the
//! same, and whoever takes signatures along takes good ones.
#![allow(clippy::unwrap_used)]

mod hub;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use hub::Hub;
use support::{DockerRegistry, Fixture, OciRegistry, run, tool, try_run};
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
    fn new() -> Self {
        Self::of(Fixture::new("1.0.0"))
    }

    /// The first stop has the package, signed.
    fn of(fixture: Fixture) -> Self {
        let chain = Self { fixture, stops: vec![DockerRegistry::start()] };
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

/// What cosign needs to know in order to sign with a key and ask no log.
const SIGNING: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

/// A registry without the referrers API, our hub, which has it, a layout, a file, and a registry again.
#[test]
fn a_chain_through_our_hub_keeps_content_and_signatures() {
    let mut chain = Chain::of(hub::readable("1.0.0"));
    let hub = Hub::start();
    hub.login("acme", chain.folder());
    let (from, to) = chain.go_on();
    let there = hub.reference("1.0.0");
    let text = run(skep(chain.folder()).args(["copy", &from, &there]));
    assert!(text.contains(&chain.fixture.index.to_string()), "{text}");
    assert!(text.ends_with("1 signature\n"), "{text}");
    let crane = run(theirs("crane", chain.folder()).args(["digest", "--insecure", &there]));
    assert_eq!(crane.trim(), chain.fixture.index.to_string());
    run(skep(chain.folder()).args(["verify", "--key", "key.pub", &there]));
    // What is there already costs nothing.
    let again = run(skep(chain.folder()).args(["copy", &from, &there]));
    assert!(again.contains("0 new blobs, 0 B, 1 signature"), "{again}");

    run(skep(chain.folder()).args(["pull", &there, "-o", "out-of-hub"]));
    let into = ["cp", "-r", "--from-plain-http", "--to-oci-layout"];
    run(theirs("oras", chain.folder()).args(into).args([&there, "by-oras:1.0.0"]));
    for layout in ["out-of-hub", "by-oras"] {
        let blobs = |layout: &str| support::blobs(&chain.folder().join(layout));
        assert_eq!(blobs(layout), blobs("layout"), "{layout}");
    }
    let bundle = |layout: &str, file: &str| {
        run(skep(chain.folder()).args(["bundle", layout, "-o", file]));
        std::fs::read(chain.folder().join(file)).unwrap()
    };
    assert!(bundle("layout", "here.skep") == bundle("out-of-hub", "site.skep"));
    let registry = to.split('/').next().unwrap();
    run(skep(chain.folder()).args(["unbundle", "site.skep", "--to", registry]));
    chain.is_the_same();
    chain.is_signed();
}

/// A registry without the referrers API, one of others that has it, our hub, and a layout; each leg by another tool.
#[test]
fn a_chain_through_a_registry_of_others_with_referrers_keeps_content_and_signatures() {
    let chain = Chain::of(hub::readable("1.0.0"));
    let folder = chain.folder();
    let (theirs_too, hub) = (OciRegistry::start(), Hub::start());
    hub.login("acme", folder);
    let (from, there) = (chain.here(), theirs_too.reference("1.0.0"));
    let copy = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
    let places = [format!("docker://{from}"), format!("docker://{there}")];
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run(theirs("skopeo", folder).args(copy).args(plain).args(places));
    // skopeo leaves signatures behind; ours takes them, and no fallback tag is needed for them.
    let text = run(skep(folder).args(["copy", &from, &there]));
    assert!(text.ends_with(", 1 signature\n"), "{text}");
    let tags = ["repo", "tags", "--plain-http", "--exclude-digest-tags=false"];
    let (name, _) = there.rsplit_once(':').unwrap();
    assert_eq!(run(theirs("oras", folder).args(tags).arg(name)).trim(), "1.0.0");
    let end = hub.reference("1.0.0");
    let cp = ["cp", "-r", "--from-plain-http", "--to-plain-http"];
    run(theirs("oras", folder).args(cp).args([&there, &end]));
    for at in [&there, &end] {
        let digest = run(theirs("crane", folder).args(["digest", "--insecure", at]));
        assert_eq!(digest.trim(), chain.fixture.index.to_string(), "{at}");
        run(skep(folder).args(["verify", "--key", "key.pub", at]));
        let by_digest = format!("{}@{}", at.rsplit_once(':').unwrap().0, digest.trim());
        let cosign = ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key"];
        run(theirs("cosign", folder).args(cosign).args(["key.pub", &by_digest]));
    }
    run(skep(folder).args(["pull", "--key", "key.pub", &end, "-o", "at-the-end"]));
    assert_eq!(support::blobs(&folder.join("at-the-end")), support::blobs(&folder.join("layout")));
}

/// Who signs and attaches at our hub, and by what tool, makes no difference to where it goes from there.
#[test]
fn what_others_sign_and_attach_at_our_hub_goes_along() {
    let chain = Chain::of(hub::readable("1.0.0"));
    let folder = chain.folder();
    let hub = Hub::start();
    hub.login("acme", folder);
    let here = hub.reference("1.0.0");
    run(skep(folder).args(["push", "layout", &here]));
    let by_digest = format!("{}/acme/exec@{}", hub.host, chain.fixture.index);
    run(theirs("cosign", folder).arg("generate-key-pair"));
    std::fs::write(folder.join("signing.json"), SIGNING).unwrap();
    let sign = ["sign", "--yes", "--allow-http-registry", "--signing-config", "signing.json"];
    run(theirs("cosign", folder).args(sign).args(["--key", "cosign.key", &by_digest]));
    let verify = ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key"];
    for key in ["key.pub", "cosign.pub"] {
        run(skep(folder).args(["verify", "--key", key, &here]));
        run(theirs("cosign", folder).args(verify).args([key, &by_digest]));
    }
    std::fs::write(folder.join("sbom.json"), "{}").unwrap();
    let kind = "application/vnd.cyclonedx+json";
    let attach = ["attach", "--plain-http", "--artifact-type", kind];
    run(theirs("oras", folder).args(attach).args([&here, &format!("sbom.json:{kind}")]));

    let there = DockerRegistry::start();
    let to = there.reference("1.0.0").to_string();
    let text = run(skep(folder).args(["copy", &here, &to]));
    assert!(text.contains("2 signatures, 1 other referrers"), "{text}");
    for key in ["key.pub", "cosign.pub"] {
        run(skep(folder).args(["verify", "--key", key, &to]));
    }
    let discover = ["discover", "--plain-http", "--format", "json"];
    let text = run(theirs("oras", folder).args(discover).arg(&to));
    assert!(text.contains(kind), "{text}");
}
