//! The runtime's values as the API's. Each is taken apart whole, so that what the runtime learns to say is not forgotten here.

use std::collections::BTreeMap;

use skep_api::ParamValue;
use skep_runtime::{plan, status};

use crate::counters::Counters;
use crate::packages::Answers;

/// What skepd knows of a service beside the runtime.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Its counters.
    pub(crate) counters: Counters,
    /// Keys of its manifest that this skepd does not act on.
    pub(crate) unheeded: Vec<String>,
    /// Its parameters that differ from their defaults.
    pub(crate) params: BTreeMap<String, ParamValue>,
}

/// A line of the list.
pub(crate) fn status(status: status::Status, answers: Answers) -> skep_api::Status {
    let status::Status {
        service,
        package,
        version,
        index,
        generation,
        state,
        failed,
        previous,
        previous_lost,
        half_done,
        owed,
        held,
        needs,
        needed_by,
    } = status;
    let Answers { origin, unsigned, untrusted } = answers;
    skep_api::Status {
        service,
        package,
        version,
        index,
        generation,
        state,
        failed,
        previous,
        previous_lost,
        half_done,
        owed,
        held,
        origin,
        unsigned,
        untrusted,
        needs,
        needed_by,
    }
}

/// Everything about a service.
pub(crate) fn detail(detail: status::Detail, answers: Answers, beside: Beside) -> skep_api::Detail {
    let status::Detail {
        status: line,
        switch,
        generations,
        hooks,
        maps,
        map_memory,
        lost,
        perf_lost,
        events_read,
        events_dropped,
        events_unknown,
        report,
        no_room,
        state_lost,
        settings,
    } = detail;
    let Beside { counters: Counters { rows, more }, unheeded, params } = beside;
    skep_api::Detail {
        status: status(line, answers),
        switch,
        generations,
        hooks,
        maps,
        map_memory,
        lost,
        perf_lost,
        events_read,
        events_dropped,
        events_unknown,
        no_room,
        state_lost,
        report,
        unheeded,
        params,
        revision: settings.revision,
        counters: rows,
        counters_more: more,
        together: Vec::new(),
    }
}

/// What an upgrade would do; whoever asks knows which service runs what.
pub(crate) fn plan(plan: plan::Plan) -> skep_api::Plan {
    let plan::Plan { service: _, from: _, to: _, already, hooks, maps, separately, notes } = plan;
    skep_api::Plan { already, maps, hooks, separately, notes, together: Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use skep_adapt::{Change, Pass, Report};
    use skep_api::CounterRow;
    use skep_runtime::Settings;
    use skep_runtime::plan::{
        Exactness, HookChange, HookPlan, Identity, MapChange, MapPlan, Mechanism, Plan,
    };
    use skep_runtime::status::{
        Detail, GenerationDetail, HookDetail, MapDetail, Previous, ServiceState, Status,
    };
    use skep_spec::{Digest, Target, life};

    use super::*;

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
            previous: Some(Previous { generation: 1, version: "0.9.0".parse().unwrap() }),
            previous_lost: Some("gone".to_owned()),
            half_done: Some("begun".to_owned()),
            owed: Some("to go back".to_owned()),
            held: true,
            needs: ["flows".parse().unwrap()].into(),
            needed_by: ["top".parse().unwrap()].into(),
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
        let fixed = life::Generation {
            number: 2,
            package: "acme/exec".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            index: index(),
            platform: index(),
            params: BTreeMap::from([("pid".to_owned(), "9".to_owned())]),
        };
        let generation = GenerationDetail { active: true, fixed };
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
            settings: Settings { revision: 3, ..Settings::default() },
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

    fn on_the_wire(value: impl serde::Serialize) -> Value {
        serde_json::to_value(value).unwrap()
    }

    fn answers() -> Answers {
        let untrusted = Some("revoked".to_owned());
        Answers { origin: "signed by 0bb9".to_owned(), unsigned: false, untrusted }
    }

    fn status_on_the_wire() -> Value {
        json!({
            "service": "exec", "package": "acme/exec", "version": "1.0.0", "index": index(),
            "generation": 2, "state": "partial", "failed": "why",
            "previous": {"generation": 1, "version": "0.9.0"}, "previous_lost": "gone",
            "half_done": "begun", "owed": "to go back", "held": true, "origin": "signed by 0bb9", "unsigned": false,
            "untrusted": "revoked",
            "needs": ["flows"], "needed_by": ["top"],
        })
    }

    #[test]
    fn a_status_and_who_answers_for_it() {
        assert_eq!(on_the_wire(super::status(status(), answers())), status_on_the_wire());
    }

    #[test]
    fn a_detail_and_what_skepd_knows_beside() {
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let row = CounterRow { key: json(r#"{"cpu":1}"#), value: json("7") };
        let rows = BTreeMap::from([("runs".to_owned(), vec![row])]);
        let counters = Counters { rows, more: BTreeMap::from([("runs".to_owned(), 8)]) };
        let (value, default) = ("5".to_owned(), Some("1".to_owned()));
        let params = [("rate".to_owned(), ParamValue { value, default, live: true })].into();
        let beside = Beside { counters, unheeded: vec!["health.soak".to_owned()], params };
        let expected = json!({
            "status": status_on_the_wire(), "switch": 1,
            "generations": [{
                "number": 2, "active": true, "package": "acme/exec", "version": "1.0.0",
                "index": index(), "platform": index(), "params": {"pid": "9"},
            }],
            "hooks": [{
                "name": "h", "target": "xdp/eth0", "mechanism": "stub", "program": "p",
                "held_by": "link 7", "detached": "why", "missed": 8,
            }],
            "maps": [{"name": "m", "max_entries": 10, "memory": 11, "made_by": 12}],
            "map_memory": 11, "lost": {"p": 2}, "perf_lost": 3, "events_read": 4,
            "events_dropped": 5, "events_unknown": 6, "no_room": {"m": 7}, "state_lost": "why",
            "report": {"changes": [{"pass": "sizes", "on": "m", "what": "given 4 entries"}]},
            "unheeded": ["health.soak"], "revision": 3,
            "params": {"rate": {"value": "5", "default": "1", "live": true}}, "counters": {"runs": [{"key": {"cpu": 1}, "value": 7}]},
            "counters_more": {"runs": 8},
        });
        assert_eq!(on_the_wire(super::detail(detail(), answers(), beside)), expected);
    }

    #[test]
    fn a_plan_without_what_was_asked() {
        let expected = json!({
            "already": true,
            "maps": {"m": {
                "change": {"do": "new"}, "why": "only the new version has it", "exactness": "exact",
            }},
            "hooks": [{
                "hook": "h", "target": "xdp/eth0", "program": "p", "mechanism": "stub",
                "change": "kept",
            }],
            "separately": ["h"], "notes": ["n"],
        });
        assert_eq!(on_the_wire(super::plan(plan())), expected);
    }
}
