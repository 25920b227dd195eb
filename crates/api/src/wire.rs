//! The documents on the wire. Readers ignore fields that they do not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use serde_json::value::RawValue;
use skep_adapt::{Pass, Report};
use skep_spec::life::{
    GenerationDetail, HookDetail, HookPlan, MapDetail, MapPlan, Previous, ServiceState,
};
use skep_spec::{Digest, PackageName, PackageRef, ServiceName, Version};

use crate::ParamValue;

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PackageSource {
    /// A registry; a short name means the hub that skepd is configured for.
    Reference(PackageRef),
    /// An OCI layout on the node, by its absolute path.
    Layout {
        /// The folder.
        path: PathBuf,
        /// Which package of it, where there are several.
        package: Option<PackageRef>,
    },
    /// A bundle on the node, by its absolute path.
    Bundle {
        /// The file.
        path: PathBuf,
        /// Which package of it, where there are several.
        package: Option<PackageRef>,
    },
}

/// `POST /v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Install {
    /// What to install.
    pub package: PackageSource,
    /// The service's name; the package's last component if absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Parameters as text.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Install even if no trusted key signed it; it stays marked.
    #[serde(default)]
    pub allow_unsigned: bool,
}

impl Install {
    /// The service's name, as far as the request says it: one out of a layout or bundle may not.
    #[must_use]
    pub fn service_name(&self) -> Option<ServiceName> {
        let named = match &self.package {
            PackageSource::Reference(reference) => Some(reference),
            PackageSource::Layout { package, .. } | PackageSource::Bundle { package, .. } => {
                package.as_ref()
            }
        };
        self.service.clone().or_else(|| named?.name.short().parse().ok())
    }
}

/// `POST /v1/services/{s}/upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrade {
    /// What to upgrade to.
    pub package: PackageSource,
    /// Parameters that change.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Parameters whose value is forgotten: the new version's default counts.
    #[serde(default)]
    pub unset: BTreeSet<String>,
    /// As at install.
    #[serde(default)]
    pub allow_unsigned: bool,
    /// A lower version than the one that runs.
    #[serde(default)]
    pub allow_downgrade: bool,
}

/// Something that takes time: `GET /v1/operations/{id}`, which waits for its end with `?wait=true`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Operation {
    /// Its number.
    pub id: u64,
    /// How it stands.
    #[serde(flatten)]
    pub state: OperationState,
}

// By hand, since what serde reads twice (`flatten`, `tag`) does not keep members in their order.
impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum State {
            Running,
            Done,
            Failed,
        }
        #[derive(Deserialize)]
        struct Flat {
            id: u64,
            state: State,
            result: Option<Box<RawValue>>,
            error: Option<ErrorBody>,
        }
        let Flat { id, state, result, error } = Flat::deserialize(deserializer)?;
        let state = match state {
            State::Running => OperationState::Running,
            State::Done => OperationState::Done { result: result.unwrap_or_default() },
            State::Failed => {
                let error = error.ok_or_else(|| de::Error::missing_field("error"))?;
                OperationState::Failed { error }
            }
        };
        Ok(Self { id, state })
    }
}

/// How an operation stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OperationState {
    /// Under way.
    Running,
    /// Done.
    Done {
        /// What came of it.
        #[schemars(with = "Value")]
        result: Box<RawValue>,
    },
    /// Failed; nothing is half done, but with the codes `unfinished`, `not-undone` and `stuck`.
    Failed {
        /// Why.
        error: ErrorBody,
    },
}

/// Every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub code: String,
    /// The standard's code, where it has one for that, such as `trust.unsigned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<String>,
    /// What failed, on what.
    pub message: String,
    /// Why, from the outside in.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default)]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// A line of JSON that says it, as commands print it for programs.
    #[must_use]
    pub fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            error: &'a ErrorBody,
        }
        serde_json::to_string(&Line { error: self }).unwrap_or_default()
    }
}

/// One service in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The service.
    pub service: ServiceName,
    /// Its package.
    pub package: PackageName,
    /// The version that runs.
    pub version: Version,
    /// Digest of the index that runs.
    pub index: Digest,
    /// The generation that runs.
    pub generation: u64,
    /// What it is doing.
    pub state: ServiceState,
    /// Why it does not run, or not all of it, if so.
    #[serde(default)]
    pub failed: Option<String>,
    /// What a rollback returns to, if anything is kept.
    #[serde(default)]
    pub previous: Option<Previous>,
    /// What a rollback would have returned to, and why it is gone.
    #[serde(default)]
    pub previous_lost: Option<String>,
    /// What was begun on it and could be neither finished nor undone, and why.
    #[serde(default)]
    pub half_done: Option<String>,
    /// What is still to become of it, since others of its set went back and it did not, and why.
    #[serde(default)]
    pub owed: Option<String>,
    /// Whether upgrades to other packages are refused.
    #[serde(default)]
    pub held: bool,
    /// Who answers for it: `signed by …`, or that nobody does.
    #[serde(default)]
    pub origin: String,
    /// Whether it was let in without a signature.
    #[serde(default)]
    pub unsigned: bool,
    /// Why it would not be let in now as it was then.
    #[serde(default)]
    pub untrusted: Option<String>,
    /// The services that it needs.
    #[serde(default)]
    pub needs: BTreeSet<ServiceName>,
    /// The services that need it.
    #[serde(default)]
    pub needed_by: BTreeSet<ServiceName>,
}

/// A service that belongs to what is installed or upgraded, since that needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Its name.
    pub service: ServiceName,
    /// Its package.
    pub package: PackageName,
    /// The version that is needed.
    pub version: Version,
    /// What becomes of it.
    pub change: MemberChange,
    /// Whether nobody who is trusted answers for it: it is there by consent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
}

/// What becomes of a service that another needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MemberChange {
    /// It was not there.
    Installed,
    /// It ran in another version.
    Upgraded,
    /// It runs already.
    Kept,
    /// It went back to the generation before its last upgrade.
    RolledBack,
}

/// What a removal left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Services that it needed, and that no service needs any more.
    #[serde(default)]
    pub unused: BTreeSet<ServiceName>,
}

/// Everything about a service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// The line of the list.
    pub status: Status,
    /// How often it switched.
    #[serde(default)]
    pub switch: Option<u64>,
    /// Generations in the kernel.
    pub generations: Vec<GenerationDetail>,
    /// Where it is attached.
    pub hooks: Vec<HookDetail>,
    /// Maps of the running generation.
    pub maps: Vec<MapDetail>,
    /// Bytes of kernel memory of all maps.
    pub map_memory: u64,
    /// Events that found their ring full, by program.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// Events that found their perf buffer full, since skepd started.
    #[serde(default)]
    pub perf_lost: u64,
    /// Records read since skepd started.
    #[serde(default)]
    pub events_read: u64,
    /// Records that no reader took in time.
    #[serde(default)]
    pub events_dropped: u64,
    /// Records that no output takes: none has a `when` that fits.
    #[serde(default)]
    pub events_unknown: u64,
    /// Entries that did not fit its maps at the last upgrade or rollback, by map.
    #[serde(default)]
    pub no_room: BTreeMap<String, u64>,
    /// What of it was gone when it was last loaded again on this boot: its maps began empty then.
    #[serde(default)]
    pub state_lost: Option<String>,
    /// What was adapted for this kernel.
    #[serde(default)]
    pub report: Report,
    /// Keys of the manifest that this skepd does not act on.
    #[serde(default)]
    pub unheeded: Vec<String>,
    /// The parameters that somebody set to another value than their default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamValue>,
    /// How often its live parameters changed.
    #[serde(default)]
    pub revision: u64,
    /// Counters by output: their first entries, if not all have room.
    #[serde(default)]
    pub counters: BTreeMap<String, Vec<CounterRow>>,
    /// How many more entries there are, by output.
    #[serde(default)]
    pub counters_more: BTreeMap<String, u64>,
    /// In the answer to an install or upgrade: what belongs to it, in the order in which it was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Member>,
}

impl Detail {
    /// Whether it runs otherwise than its author wrote it. That lost events are counted changes nothing of what it does.
    #[must_use]
    pub fn is_adapted(&self) -> bool {
        self.report.changes.iter().any(|change| change.pass != Pass::LostEvents)
    }
}

/// One entry of a counter's map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CounterRow {
    /// The key, decoded, its members in the order of their declaration.
    #[schemars(with = "Value")]
    pub key: Box<RawValue>,
    /// The value, likewise; of values per CPU one, merged as the manifest's `fields` says, or added.
    #[schemars(with = "Value")]
    pub value: Box<RawValue>,
}

/// What an upgrade would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Nothing to do.
    pub already: bool,
    /// What becomes of each map.
    pub maps: BTreeMap<String, MapPlan>,
    /// What becomes of each hook.
    pub hooks: Vec<HookPlan>,
    /// Hooks that switch on their own, each with the reason.
    pub separately: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// What it needs, in the order in which it would be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Member>,
}

/// `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// skepd's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The architecture.
    pub arch: String,
    /// The hub for short names.
    #[serde(default)]
    pub hub: Option<String>,
    /// Where it keeps packages and its journal.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
}

/// How events are asked for: the query of `GET /v1/services/{s}/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    /// All till the service ends, instead of those that wait now.
    #[serde(default)]
    pub follow: bool,
    /// Cells for a table instead of JSON.
    #[serde(default)]
    pub table: bool,
    /// So many records at most; the next reader gets those after them.
    #[serde(default)]
    pub limit: Option<u64>,
    /// A condition on records: those that it does not take are not given.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// These fields alone, with commas between them.
    #[serde(default)]
    pub fields: Option<String>,
    /// From this moment on, in nanoseconds since 1970: what others read too, as far as it is kept.
    #[serde(default)]
    pub since: Option<u64>,
    /// To this moment.
    #[serde(default)]
    pub until: Option<u64>,
}

/// How metrics are asked for: the query of `GET /v1/services/{s}/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// Rows of tables too.
    #[serde(default)]
    pub table: bool,
}

/// A line of `GET /v1/services/{s}/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum EventLine {
    /// The columns of the rows that follow, where they differ from those before (`?table=true`).
    Columns {
        /// The output.
        output: String,
        /// Names of the columns, and whether they are numbers.
        columns: Vec<(String, bool)>,
        /// What a person should know of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A record as cells (`?table=true`).
    Row {
        /// The output.
        output: String,
        /// The cells.
        cells: Vec<String>,
    },
    /// A record as JSON text, its fields in their order.
    Event {
        /// The output.
        output: String,
        /// The fields, an object.
        event: String,
    },
    /// What was before this moment, in nanoseconds since 1970, is not kept any more (`?since=`).
    Older {
        /// The moment.
        before: u64,
    },
    /// Records that this reader was too slow for, so far.
    Dropped {
        /// How many.
        records: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_keeps_the_order_of_what_came_of_it() {
        let read = |text: &str| serde_json::from_str::<Operation>(text).unwrap();
        let text =
            r#"{"id":7,"state":"done","result":{"z":1,"a":{"y":18446744073709551615,"b":2}}}"#;
        assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        let operation = read(r#"{"state":"done","result":null,"more":1,"id":7}"#);
        let OperationState::Done { result } = operation.state else { panic!("{operation:?}") };
        serde_json::from_str::<()>(result.get()).unwrap();
        assert!(matches!(read(r#"{"id":7,"state":"running"}"#).state, OperationState::Running));
        let failed = r#"{"id":7,"state":"failed","error":{"code":"a","message":"b","causes":[],"hint":null}}"#;
        assert_eq!(serde_json::to_string(&read(failed)).unwrap(), failed);
        assert!(serde_json::from_str::<Operation>(r#"{"id":7,"state":"failed"}"#).is_err());
    }

    #[test]
    fn a_counter_keeps_the_order_of_its_members() {
        let text = r#"{"key":{"z":1,"a":2},"value":{"reads":1,"bytes":2}}"#;
        let row: CounterRow = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&row).unwrap(), text);
    }
}
