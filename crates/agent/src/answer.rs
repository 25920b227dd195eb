//! The runtime's values as the API's: the API has the same fields under the same names, leaves out some and adds some.

use axum::http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A value of the runtime as the API's type of the same name.
pub(crate) fn same<A: Serialize, B: DeserializeOwned>(value: &A) -> Result<B, Error> {
    let converted = serde_json::to_value(value).and_then(serde_json::from_value);
    converted.map_err(|error| {
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;
    use skep_adapt::{Change, Pass};
    use skep_runtime::plan::{
        Exactness, HookChange, HookPlan, Identity, MapChange, MapPlan, Plan, Report,
    };
    use skep_runtime::state::Mechanism;
    use skep_runtime::status::{
        Detail, GenerationDetail, HookDetail, MapDetail, ServiceState, Status,
    };
    use skep_spec::{Digest, Target};

    use super::*;

    /// Every field that one of the two has alone, by its path; a `-` before it where the API leaves it out, a `+` where it adds it.
    fn differences<A: Serialize, B: Serialize + DeserializeOwned>(ours: &A) -> BTreeSet<String> {
        let theirs: B = same(ours).unwrap();
        let mut found = BTreeSet::new();
        let [ours, theirs] = [serde_json::to_value(ours), serde_json::to_value(theirs)];
        differ("", &ours.unwrap(), &theirs.unwrap(), &mut found);
        found
    }

    fn differ(path: &str, ours: &Value, theirs: &Value, found: &mut BTreeSet<String>) {
        match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => {
                for key in ours.keys().chain(theirs.keys()) {
                    let path = format!("{path}/{key}");
                    match (ours.get(key), theirs.get(key)) {
                        (Some(ours), Some(theirs)) => differ(&path, ours, theirs, found),
                        (Some(_), None) => drop(found.insert(format!("-{path}"))),
                        _ => drop(found.insert(format!("+{path}"))),
                    }
                }
            }
            (Value::Array(ours), Value::Array(theirs)) => {
                assert_eq!(ours.len(), theirs.len(), "{path}");
                ours.iter().zip(theirs).for_each(|(a, b)| differ(path, a, b, found));
            }
            _ => assert_eq!(ours, theirs, "{path}"),
        }
    }

    fn index() -> Digest {
        format!("sha256:{:064}", 1).parse().unwrap()
    }

    fn target() -> Target {
        "xdp/eth0".parse().unwrap()
    }

    fn status() -> Status {
        Status {
            service: "exec".parse().unwrap(),
            package: "acme/exec".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            index: index(),
            generation: 2,
            state: ServiceState::Partial,
            failed: Some("why".to_owned()),
            previous_lost: Some("gone".to_owned()),
            half_done: Some("begun".to_owned()),
        }
    }

    fn detail() -> Detail {
        let hook = HookDetail {
            name: "h".to_owned(),
            target: target(),
            mechanism: Mechanism::Stub,
            program: Some("p".to_owned()),
            held_by: "link 7".to_owned(),
            detached: Some("why".to_owned()),
            missed: 8,
        };
        let generation = GenerationDetail {
            number: 2,
            active: true,
            version: "1.0.0".parse().unwrap(),
            index: index(),
            params: BTreeMap::from([("pid".to_owned(), "9".to_owned())]),
        };
        let map = MapDetail { name: "m".to_owned(), max_entries: 10, memory: 11, made_by: 12 };
        let what = "given 4 entries".to_owned();
        let change = Change { pass: Pass::Sizes, on: "m".to_owned(), what };
        Detail {
            status: status(),
            switch: Some(1),
            generations: vec![generation],
            hooks: vec![hook],
            maps: vec![map],
            map_memory: 11,
            lost: BTreeMap::from([("p".to_owned(), 2)]),
            perf_lost: 3,
            events_read: 4,
            events_dropped: 5,
            events_unknown: 6,
            report: Report { changes: vec![change] },
            no_room: BTreeMap::from([("m".to_owned(), 7)]),
            state_lost: Some("why".to_owned()),
        }
    }

    fn plan() -> Plan {
        let identity = Identity {
            generation: 2,
            package: "acme/exec".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            index: index(),
        };
        let hook = HookPlan {
            hook: "h".to_owned(),
            target: target(),
            program: Some("p".to_owned()),
            mechanism: Mechanism::Stub,
            change: HookChange::Kept,
        };
        let why = "only the new version has it".to_owned();
        let map = MapPlan { change: MapChange::New, why, exactness: Exactness::Exact };
        Plan {
            service: "exec".parse().unwrap(),
            from: Some(identity.clone()),
            to: identity,
            already: true,
            hooks: vec![hook],
            maps: BTreeMap::from([("m".to_owned(), map)]),
            separately: vec!["h".to_owned()],
            notes: vec!["n".to_owned()],
        }
    }

    #[test]
    fn the_api_has_the_runtimes_fields_under_their_names() {
        let differ = |found: BTreeSet<String>, known: &[&str]| {
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), known);
        };
        differ(differences::<_, skep_api::Status>(&status()), &["+/origin", "+/unsigned"]);
        differ(
            differences::<_, skep_api::Detail>(&detail()),
            &["+/counters", "+/status/origin", "+/status/unsigned", "+/unheeded"],
        );
        differ(differences::<_, skep_api::Plan>(&plan()), &["-/from", "-/service", "-/to"]);
    }
}
