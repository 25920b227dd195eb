//! `spec/values.json`: the lists of parts 2 to 6, 9 and 12 as data, from the tables that our readers go by.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use skep_object::permissions::{HOOKS, QUIET, Row, TABLE};
use skep_object::{MapKind, ProgramKind, helper};
use skep_spec::param::{DURATIONS, ParamType, SIZES, TYPES};
use skep_spec::{Arch, Target, license, media, source};
use skep_trust::key::KeyKind;

/// The lists, by name.
#[must_use]
pub fn all() -> Value {
    json!({
        "architectures": Arch::ALL.map(|arch| (arch.as_str(), arch.goarch())).into_iter().collect::<BTreeMap<_, _>>(),
        "field-formats": source::FORMATS,
        "gpl-only": {
            "helpers": license::GPL_ONLY.as_slice(),
            "licenses": license::GPL_COMPATIBLE,
            "programs": license::GPL_ONLY_PROGRAMS,
        },
        "hook-aliases": aliases(),
        "hooks": HOOKS.as_slice(),
        "kernel": {
            "helpers": (1..).map_while(helper::name).collect::<Vec<_>>(),
            "maps": maps(),
            "programs": programs(),
            "programs-of-sections": sections(),
        },
        "keys": KeyKind::ALL.map(|kind| (kind.as_str(), kind.spki_pattern())).into_iter().collect::<BTreeMap<_, _>>(),
        "media-types": {
            "bundle": media::BUNDLE,
            "channel": media::CHANNEL,
            "config": media::CONFIG,
            "empty": media::EMPTY,
            "in-toto": media::IN_TOTO,
            "index": media::INDEX,
            "keys": media::KEYS,
            "layer": media::LAYER,
            "manifest": media::MANIFEST,
            "package": media::PACKAGE,
        },
        "parameters": parameters(),
        "powers": TABLE.map(power),
        "predicates": {
            "channel": media::PREDICATE_CHANNEL,
            "compatibility": media::PREDICATE_REPORT,
            "keys": media::PREDICATE_KEYS,
            "provenance": media::PREDICATE_PROVENANCE,

            "sbom": media::PREDICATE_SBOM,
            "sign": media::PREDICATE_SIGN,
        },
        "quiet-kfuncs": QUIET,
        "units": {
            "duration": DURATIONS.into_iter().collect::<BTreeMap<_, _>>(),
            "size": SIZES.into_iter().collect::<BTreeMap<_, _>>(),
        },
    })
}

/// The kinds of programs in the kernel's order, from 1.
fn programs() -> Vec<ProgramKind> {
    let kinds = (1..).map(ProgramKind::from);
    kinds.take_while(|kind| !matches!(kind, ProgramKind::Other(_))).collect()
}

/// The kinds of maps in the kernel's order, from 1.
fn maps() -> Vec<MapKind> {
    (1..).map(MapKind::from).take_while(|kind| !matches!(kind, MapKind::Other(_))).collect()
}

/// The kinds of programs, by how their sections begin.
fn sections() -> BTreeMap<String, ProgramKind> {
    let second = ["tp", "raw_tp.w", "raw_tracepoint.w", "tc", "classifier"];
    let hooks = HOOKS.iter().chain(&second).map(|&name| name.to_owned());
    let kinds = programs().into_iter().map(|kind| kind.to_string());
    let cgroup = CGROUP.iter().map(|hook| format!("cgroup/{hook}"));
    let kind = |name: String| ProgramKind::of_section(&name).map(|kind| (name, kind));
    hooks.chain(kinds).chain(cgroup).filter_map(kind).collect()
}

/// What `cgroup/` takes.
const CGROUP: [&str; 27] = [
    "skb",
    "sock",
    "sock_create",
    "sock_release",
    "post_bind4",
    "post_bind6",
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "connect_unix",
    "sendmsg4",
    "sendmsg6",
    "sendmsg_unix",
    "recvmsg4",
    "recvmsg6",
    "recvmsg_unix",
    "getpeername4",
    "getpeername6",
    "getpeername_unix",
    "getsockname4",
    "getsockname6",
    "getsockname_unix",
    "sysctl",
    "getsockopt",
    "setsockopt",
    "dev",
];

/// The kinds of hooks that have a second spelling.
fn aliases() -> Map<String, Value> {
    let spelled = ["tp/a/b", "raw_tracepoint/a", "tc", "classifier"];
    let kind = |text: &str| {
        let first = text.split('/').next().unwrap_or(text).to_owned();
        text.parse::<Target>().ok().map(|target| (first, json!(target.kind())))
    };
    spelled.into_iter().filter_map(kind).collect()
}

/// What a value of each type of parameters looks like.
fn parameters() -> Map<String, Value> {
    let pattern = |name: &str| {
        let kind: Option<ParamType> = serde_json::from_value(name.into()).ok();
        kind.map(|kind| (name.to_owned(), json!(kind.pattern())))
    };
    TYPES.into_iter().filter_map(pattern).collect()
}

/// A power and what gives it.
fn power(row: Row) -> Value {
    let Row { power, hooks, helpers, kfuncs } = row;
    json!({"power": power, "hooks": hooks, "helpers": helpers, "kfuncs": kfuncs})
}
