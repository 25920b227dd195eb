use skep_kernel::program::LoadKind;

use super::*;
use crate::state::{Mechanism, Outcome, ProgramRecord};

/// A generation with a program on each of these hooks.
fn generation(number: u64, hooks: &[&str]) -> Generation {
    let fixed = serde_json::json!({
        "number": number, "package": "test/x", "version": "1.0.0", "params": {},
        "index": format!("sha256:{:064}", 0), "platform": format!("sha256:{:064}", 0),
    });
    let program = |hook: &&str| {
        let (function, object) = ((*hook).to_owned(), "o".to_owned());
        let kind = LoadKind::default();
        let hook = (*hook).to_owned();
        (hook.clone(), ProgramRecord { function, object, id: 1, kind, hook: Some(hook) })
    };
    let programs = hooks.iter().map(program).collect();
    let incarnation = Incarnation { programs, ..Incarnation::default() };
    Generation {
        fixed: serde_json::from_value(fixed).unwrap(),
        incarnation: Some(incarnation),
        needs: BTreeMap::new(),
    }
}

/// Generation 2 runs, 1 is kept, and an upgrade to 3 is under way, which wants a hook that only 1 has.
fn upgrading() -> State {
    let hook = |target: &str| Hook {
        target: target.parse().unwrap(),
        pid: None,
        mechanism: Mechanism::Stub,
        attachment: Attachment::Link { id: 1 },
        kind: LoadKind::default(),
        file: None,
        func_ip: false,
    };
    let [first, second] = [generation(1, &["a", "b", "c"]), generation(2, &["a"])];
    let hooks = ["a", "b", "c"].map(|name| (name.to_owned(), hook(&format!("raw_tp/{name}"))));
    let service = Service {
        generations: [(1, first), (2, second)].into(),
        active: 2,
        previous: Some(1),
        last_generation: 2,
        hooks: hooks.into(),
        ..Service::default()
    };
    let mut state =
        State { services: [("x".parse().unwrap(), service)].into(), ..State::default() };
    state.apply(Record::Begin {
        txn: 1,
        service: "x".parse().unwrap(),
        op: Op::Upgrade,
        from: Some(2),
        to: Some(generation(3, &["a", "b"])),
        changes: BTreeMap::new(),
        then: None,
    });
    let service = "x".parse().unwrap();
    state.apply(Record::LostGeneration { service, generation: 1, why: "w".to_owned() });
    state
}

fn hooks(state: &State) -> (Vec<&str>, Vec<&str>) {
    let living = state.services.values().flat_map(|service| service.hooks.keys());
    let dead = state.dead.iter().map(|dead| dead.name.as_str());
    (living.map(String::as_str).collect(), dead.collect())
}

#[test]
fn a_hook_that_is_wanted_next_outlives_the_generation_that_had_it() {
    let mut state = upgrading();
    assert_eq!(hooks(&state), (vec!["a", "b"], vec!["c"]));
    state.apply(Record::Switched {});
    assert_eq!(hooks(&state), (vec!["a", "b"], vec!["c"]));
    let service = state.services.values().next().unwrap();
    assert_eq!((service.active, service.previous), (3, Some(2)));
    assert_eq!(service.previous_lost, None);
}

fn stop(service: &ServiceName, then: Option<Then>) -> Record {
    let (txn, service, op, changes) = (2, service.clone(), Op::Stop, BTreeMap::new());
    Record::Begin { txn, service, op, from: Some(2), to: None, changes, then }
}

#[test]
fn a_stop_moves_the_switch_word_and_nothing_else() {
    let mut state = upgrading();
    state.apply(Record::End { result: Outcome::Undone });
    let service: ServiceName = "x".parse().unwrap();
    state.services.get_mut(&service).unwrap().switch = Some(4);
    state.apply(stop(&service, None));
    state.apply(Record::Switching { value: Some(5) });
    state.apply(Record::Switched {});
    let stopped = &state.services[&service];
    assert_eq!((stopped.switch, stopped.active), (Some(5), 2));
}

#[test]
fn a_restart_is_one_until_it_has_started_or_somebody_stops_it() {
    let mut state = upgrading();
    state.apply(Record::End { result: Outcome::Undone });
    let service: ServiceName = "x".parse().unwrap();
    let said =
        |state: &State| (state.services[&service].stopped, state.services[&service].restarts);
    let ends = |state: &mut State, result| state.apply(Record::End { result });
    state.apply(stop(&service, Some(Then::Started)));
    state.apply(Record::Switched {});
    ends(&mut state, Outcome::Done);
    assert_eq!(said(&state), (true, true));
    let start = |state: &mut State| {
        let (txn, service, op, changes) = (3, service.clone(), Op::Start, BTreeMap::new());
        let (from, to) = (Some(2), Some(generation(2, &["a"])));
        state.apply(Record::Begin { txn, service, op, from, to, changes, then: None });
    };
    start(&mut state);
    state.apply(Record::RolledBack { cause: "c".to_owned() });
    ends(&mut state, Outcome::Undone);
    assert_eq!(said(&state), (true, true));
    let mut stopped = state.clone();
    stopped.apply(stop(&service, None));
    assert_eq!(said(&stopped), (true, false));
    start(&mut state);
    state.apply(Record::Switched {});
    assert_eq!(said(&state), (false, false));
}

#[test]
fn and_goes_if_it_is_not_wanted_after_all() {
    let mut state = upgrading();
    state.apply(Record::RolledBack { cause: "c".to_owned() });
    assert_eq!(hooks(&state), (vec!["a"], vec!["c", "b"]));
    let service = state.services.values().next().unwrap();
    assert_eq!((service.active, service.previous), (2, None));
    assert_eq!(service.previous_lost.as_ref().map(|lost| lost.generation), Some(1));
}
