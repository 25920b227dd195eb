//! `services.toml`, the services that a node is to have: read like a `skep.toml`, with positions, every mistake at once.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{Code, Diagnostic, Found, schema, shape};
use crate::param::Value;
use crate::{PackageRef, ServiceName};

/// Most services of a file.
pub const MOST_SERVICES: usize = 256;

/// A `services.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Services {
    /// By the name of each.
    pub service: BTreeMap<ServiceName, Wanted>,
}

/// What a service is to be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wanted {
    /// A reference, or the path of a layout or bundle: [`is_path`].
    pub package: String,
    /// Which package of a layout or bundle that has several.
    #[serde(default)]
    pub which: Option<PackageRef>,
    /// The parameters that are set; all others have their defaults.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// Whether upgrades of it are refused; as it is where nothing is said.
    #[serde(default)]
    pub hold: Option<bool>,
    /// Whether it runs.
    #[serde(default)]
    pub state: State,
}

/// Whether a service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    #[default]
    Started,
    /// It is loaded, and attached to nothing.
    Stopped,
}

/// Whether the text of a package is a path. No reference begins like one, and nothing else of a folder counts: whoever reads the
/// file knows what it means, wherever it is read.
#[must_use]
pub fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.'])
}

/// Reads a `services.toml`.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn parse(text: &str) -> Result<Services, Vec<Diagnostic>> {
    let mut found = Found::new(text);
    let Some(table) = super::table(text, &mut found) else { return Err(found.sorted()) };
    let shape::Read { json, spans, .. } =
        shape::check(table.get_ref(), &schema::SERVICES, &mut found);
    if !found.list.is_empty() {
        return Err(found.sorted());
    }
    let services = match serde_json::from_value::<Services>(Json::Object(json)) {
        Ok(services) => services,
        Err(error) => {
            found.add(Code::Value, 0..0, error.to_string(), None);
            return Err(found.sorted());
        }
    };
    let count = services.service.len();
    if count > MOST_SERVICES {
        let message = format!("it has {count} services, more than the {MOST_SERVICES} allowed");
        found.add(Code::Size, 0..0, message, None);
    }
    for (name, wanted) in &services.service {
        if wanted.which.is_some() && !is_path(&wanted.package) {
            let at = spans.get(&format!("service.{name}.which")).cloned().unwrap_or_default();
            let message = "'which' is for layouts and bundles: a reference names its package";
            found.add(Code::Conflict, at, message.to_owned(), None);
        }
    }
    if found.list.is_empty() { Ok(services) } else { Err(found.sorted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_read_whole() {
        let services = parse(
            "[service.exec]\npackage = \"hub:5000/acme/exec@stable\"\nset = { rate = 5, loud = true, big = 18446744073709551615 }\n\
             hold = true\nstate = \"stopped\"\n\
             [service.flows]\npackage = \"./flows.oci\"\nwhich = \"acme/flows:1.0.0\"\n",
        );
        // TOML's integers have 64 bits with a sign.
        assert!(services.is_err());
        let services = parse(
            "[service.exec]\npackage = \"hub:5000/acme/exec@stable\"\nset = { rate = 5, loud = true, big = 9223372036854775807 }\n\
             hold = true\nstate = \"stopped\"\n\
             [service.flows]\npackage = \"./flows.oci\"\nwhich = \"acme/flows:1.0.0\"\n",
        )
        .unwrap();
        let exec = &services.service[&"exec".parse().unwrap()];
        assert_eq!((exec.hold, exec.state), (Some(true), State::Stopped));
        let set: Vec<String> = exec.set.values().map(Value::text).collect();
        assert_eq!(set, ["9223372036854775807", "true", "5"]);
        let flows = &services.service[&"flows".parse().unwrap()];
        assert_eq!((flows.hold, flows.state), (None, State::Started));
        assert!(flows.which.is_some() && is_path(&flows.package));
        assert_eq!(parse("[service]\n").unwrap(), Services::default());
    }

    #[test]
    fn every_mistake_is_said_with_its_place() {
        for (text, expected) in [
            ("", vec!["1:1: the file has no 'service'"]),
            ("[service.exec]\n", vec!["1:1: [service.exec] has no 'package'"]),
            (
                "[service.exec]\npackge = \"a/b\"\nstate = \"stoped\"\n[service.Two]\npackage = \"/x\"\nhold = 1\n",
                vec![
                    "2:1: unknown key 'packge' in [service.exec]; did you mean 'package'?",
                    "3:9: 'service.exec.state' is 'stoped', it should be one of started, stopped; did you mean 'stopped'?",
                    "4:10: 'Two' is not a service name: it is a-z, 0-9 and single hyphens between them, at most 64 characters",
                    "6:8: 'service.Two.hold' should be true or false, not an integer",
                ],
            ),
            (
                "[service.exec]\npackage = \"nowhere\"\nset = { rate = 1.5 }\n",
                vec![
                    "2:11: 'nowhere' is not a package reference: it should be publisher/name, with a registry before it if need be",
                    "3:16: 'service.exec.set.rate' should be a boolean, an integer or a string, not a number with a fraction (write it as a string)",
                ],
            ),
            (
                "[service.exec]\npackage = \"a/b:1.0.0\"\nwhich = \"a/b\"\n",
                vec!["3:9: 'which' is for layouts and bundles: a reference names its package"],
            ),
        ] {
            assert_eq!(mistakes(text), expected, "{text}");
        }
        let twice =
            mistakes("[service.exec]\npackage = \"a/b\"\n[service.exec]\npackage = \"a/b\"\n");
        assert_eq!(twice.len(), 1, "{twice:?}");
        let many: String =
            (0..300).map(|n| format!("[service.s{n}]\npackage = \"a/b\"\n")).collect();
        assert_eq!(mistakes(&many), ["1:1: it has 300 services, more than the 256 allowed"]);
        assert!(
            mistakes("[service.\"a\\u0007b\"]\npackage = \"a/b\"\n")[0].contains("service name")
        );
    }
}
