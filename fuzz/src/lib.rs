//! What is fuzzed: for each parser of strangers' bytes a function that takes any bytes, asks all that anybody asks of the
//! outcome, and panics where a promise is broken. The seeds of each are the vectors of the standard.
//!
//! The fuzzers themselves are in `libfuzzer/`, a workspace of its own.

#[path = "../../crates/object/tests/it/forge.rs"]
#[allow(dead_code, missing_docs, reason = "the ELFs that the tests of skep-object are made of")]
mod forge;

mod documents;
mod http;
mod journal;
mod names;
mod objects;
mod peers;
pub mod seeds;
mod trust;

/// A parser, as a function of any bytes.
pub struct Target {
    /// The name of its fuzzer.
    pub name: &'static str,
    /// Parses, and holds what came out.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 24] = [
    Target { name: "object", run: objects::object },
    Target { name: "btf", run: objects::btf },
    Target { name: "btf_ext", run: objects::btf_ext },
    Target { name: "code", run: objects::code },
    Target { name: "event", run: objects::event },
    Target { name: "condition", run: objects::condition },
    Target { name: "usdt", run: objects::usdt },
    Target { name: "names", run: names::names },
    Target { name: "params", run: names::params },
    Target { name: "source", run: documents::source },
    Target { name: "manifest", run: documents::manifest },
    Target { name: "oci", run: documents::oci },
    Target { name: "layer", run: trust::layer },
    Target { name: "archive", run: trust::archive },
    Target { name: "key", run: trust::key },
    Target { name: "policy", run: trust::policy },
    Target { name: "bundle", run: trust::bundle },
    Target { name: "certificate", run: trust::certificate },
    Target { name: "statement", run: trust::statement },
    Target { name: "journal", run: journal::journal },
    Target { name: "hub_document", run: http::hub_document },
    Target { name: "hub_route", run: http::hub_route },
    Target { name: "challenge", run: http::challenge },
    Target { name: "peer", run: peers::peer },
];

/// Runs a target; the names are those of [`TARGETS`].
pub fn run(name: &str, data: &[u8]) {
    TARGETS.iter().filter(|target| target.name == name).for_each(|target| (target.run)(data));
}
