//! Codes and statuses are those of the page.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn a_line_says_what_why_and_what_next() {
    let source = io::Error::other("no space left");
    let error = NodeError::Write { path: "/x".into(), source };
    assert_eq!(error.text(), "can't write /x: no space left");
    let error = NodeError::NoHub("acme/exec:1.0.0".parse().unwrap());
    assert_eq!(
        error.text(),
        "'acme/exec:1.0.0' names no registry, and this node has no hub; write host[:port]/publisher/name:version, or set hub in skepd.toml"
    );
}

/// The codes of `docs/reference/api.md`, each with its statuses.
fn codes_of_the_page() -> BTreeMap<&'static str, Vec<u16>> {
    let page = include_str!("../../../../docs/reference/api.md");
    let (_, codes) = page.split_once("\n## Codes\n").unwrap();
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let code = cells.next()?.strip_suffix('`')?;
        let statuses = cells.next()?.split(", ").filter_map(|cell| cell.trim().parse().ok());
        Some((code, statuses.collect()))
    };
    codes.lines().filter_map(row).collect()
}

/// What each `fn code` of a source gives.
fn codes_of(source: &'static str) -> BTreeSet<&'static str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let bodies = code.split("fn code(&self)").skip(1);
    let bodies = bodies.map(|rest| rest.split("\n    }\n").next().unwrap_or_default());
    bodies.flat_map(|body| body.split('"').skip(1).step_by(2)).collect()
}

#[test]
fn the_page_has_every_code_and_no_other() {
    let sources = [
        include_str!("../error.rs"),
        include_str!("../../../object/src/fit.rs"),
        include_str!("../../../runtime/src/choose/error.rs"),
        include_str!("../../../runtime/src/error.rs"),
        include_str!("../../../runtime/src/maps/error.rs"),
    ];
    let mut codes: BTreeSet<&str> = sources.into_iter().flat_map(codes_of).collect();
    codes.insert("http"); // the client's own
    let page: BTreeSet<&str> = codes_of_the_page().into_keys().collect();
    assert_eq!(page, codes);
}

#[test]
fn the_page_has_the_statuses() {
    let (name, version) = ("acme/exec".parse().unwrap(), "1.0.0".parse().unwrap());
    let service = || "exec".parse().unwrap();
    let errors: [NodeError; 20] = [
        NodeError::Request(String::new()),
        NodeError::TooLarge,
        NodeError::NoPath,
        NodeError::NoMethod,
        NodeError::NotRoot("write to maps"),
        NodeError::NoOperation(1),
        "A B".parse::<ServiceName>().unwrap_err().into(),
        NodeError::NoHub("acme/exec:1.0.0".parse().unwrap()),
        NodeError::OtherPackage { service: service(), runs: name, other: "a/b".parse().unwrap() },
        NodeError::Downgrade { service: service(), runs: version, older: "0.1.0".parse().unwrap() },
        NodeError::Ends(""),
        NodeError::Stale { asked: 1, there: 2 },
        NodeError::PlanChanged,
        NodeError::OtherThanAgreed { agreed: Digest::of(b"a"), found: Digest::of(b"b") },
        NodeError::DesiredFile { path: "/x".into(), why: String::new() },
        NodeError::Architecture,
        NodeError::NeverLetIn { digest: Digest::of(b""), why: String::new() },
        NodeError::TrustFile { path: "/x".into(), why: String::new() },
        RuntimeError::NoService { service: service(), there: Vec::new() }.into(),
        RuntimeError::NoEvents { service: service() }.into(),
    ];
    let page = codes_of_the_page();
    for error in errors {
        let (code, status) = (error.code(), error.status());
        assert!(page[code].contains(&status), "{code}: {status}");
    }
}
