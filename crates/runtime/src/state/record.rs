//! The records of the journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_spec::ServiceName;
use skep_spec::journal::TYPES;
use skep_spec::life::Step;

use super::{Generation, Hook, Incarnation, Op, Owed, SetMember, Settings, State, Then, Way};
use crate::plan::MapChange;

/// One step of an operation: an intent, written and synced before the kernel is asked, or an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)] // built, written and dropped
pub enum Record {
    /// Pins and ids from here on are of this boot.
    Boot {
        /// `/proc/sys/kernel/random/boot_id`.
        boot_id: String,
    },
    /// An operation begins.
    Begin {
        /// Its number.
        txn: u64,
        /// On which service.
        service: ServiceName,
        /// What it does.
        op: Op,
        /// The generation that runs.
        from: Option<u64>,
        /// The generation that is to run.
        to: Option<Generation>,
        /// What becomes of each map.
        changes: BTreeMap<String, MapChange>,
        /// What the service is to be behind it, where that is not what such an operation makes of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<Then>,
    },
    /// Programs and maps of the new generation are loaded and pinned.
    Loaded {
        /// What they are.
        incarnation: Incarnation,
    },
    /// A hook is about to be attached.
    Attach {
        /// Whose it is.
        service: ServiceName,
        /// Its name.
        name: String,
        /// What it will be.
        hook: Hook,
    },
    /// A hook is attached.
    Attached {
        /// Whose it is.
        service: ServiceName,
        /// Its name.
        name: String,
        /// What it is.
        hook: Hook,
    },
    /// The new generation lies in the idle slot of every stub.
    SlotsFilled {
        /// 1 or 2.
        slot: u32,
    },
    /// Variables were copied to the generation that does not run yet.
    Precopied {
        /// The data section's map.
        map: String,
    },
    /// The switch word is about to be stored.
    Switching {
        /// Its new value; none where no hook has a stub.
        value: Option<u64>,
    },
    /// The new generation runs.
    Switched {},
    /// No run of the old generation is left.
    Quiesced {},
    /// A batch of a map's entries has moved.
    Merged {
        /// The map.
        map: String,
        /// From 0.
        batch: u64,
        /// Whether it was the last.
        last: bool,
        /// Entries that the new map had no room for.
        #[serde(default, skip_serializing_if = "is_zero")]
        no_room: u64,
    },
    /// The new generation is on probation: in journals of older versions only, and without a consequence.
    SoakUntil {
        /// Seconds since 1970.
        unix_seconds: u64,
    },
    /// A generation will not be returned to; its pins go now.
    Committed {
        /// Which.
        generation: u64,
        /// The events that it lost, by function: its counters go with it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        lost: BTreeMap<String, u64>,
    },
    /// The operation failed before the switch: everything is as before it.
    RolledBack {
        /// Why.
        cause: String,
    },
    /// A hook that nobody wants is detached.
    Detached {
        /// Whose it was.
        service: ServiceName,
        /// Its name.
        name: String,
    },
    /// A generation's pins are gone.
    Freed {
        /// Which.
        generation: u64,
    },
    /// An operation ended.
    End {
        /// How.
        result: Outcome,
    },
    /// Everything so far; what came before it may be dropped.
    Checkpoint {
        /// The whole state.
        state: State,
    },
    /// What the kernel had of a service is gone, and its state with it: it is loaded again from its package.
    Lost {
        /// Which service.
        service: ServiceName,
        /// What is gone.
        why: String,
    },
    /// What the kernel had of a generation is gone that does not run: there is no way back to it, and the others go on.
    LostGeneration {
        /// Whose it was.
        service: ServiceName,
        /// Which.
        generation: u64,
        /// What is gone.
        why: String,
    },
    /// The operation under way can be neither finished nor undone now; it waits, and others go on.
    SetAside {
        /// Why.
        why: String,
    },
    /// What follows changes several services, as a whole or not at all.
    SetBegan {
        /// In their order.
        members: Vec<SetMember>,
        /// Which way they go.
        #[serde(default, skip_serializing_if = "Way::is_there")]
        way: Way,
    },
    /// The set is done, or undone but for what is owed.
    SetEnded {},
    /// All that sets left and that is still to go back, in place of what was owed before.
    SetOwes {
        /// In the order in which they go.
        members: Vec<Owed>,
    },
    /// Upgrades of a service are refused from now on, or not any more.
    Held {
        /// Which service.
        service: ServiceName,
        /// Whether they are.
        held: bool,
    },
    /// The live parameters of a service change.
    Setting {
        /// Whose.
        service: ServiceName,
        /// All of them, from now on.
        settings: Settings,
        /// Only once the operation under way has switched.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        with_switch: bool,
    },
    /// The operation of a service that was set aside is under way again.
    TakeUp {
        /// Which service.
        service: ServiceName,
    },
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Done,
    /// Undone.
    Undone,
}

impl Record {
    /// The record's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Boot { .. } => "Boot",
            Self::Begin { .. } => "Begin",
            Self::Loaded { .. } => "Loaded",
            Self::Attach { .. } => "Attach",
            Self::Attached { .. } => "Attached",
            Self::SlotsFilled { .. } => "SlotsFilled",
            Self::Precopied { .. } => "Precopied",
            Self::Switching { .. } => "Switching",
            Self::Switched {} => "Switched",
            Self::Quiesced {} => "Quiesced",
            Self::Merged { .. } => "Merged",
            Self::SoakUntil { .. } => "SoakUntil",
            Self::Committed { .. } => "Committed",
            Self::RolledBack { .. } => "RolledBack",
            Self::Detached { .. } => "Detached",
            Self::Freed { .. } => "Freed",
            Self::End { .. } => "End",
            Self::Checkpoint { .. } => "Checkpoint",
            Self::Lost { .. } => "Lost",
            Self::LostGeneration { .. } => "LostGeneration",
            Self::SetAside { .. } => "SetAside",
            Self::TakeUp { .. } => "TakeUp",
            Self::SetBegan { .. } => "SetBegan",
            Self::SetEnded {} => "SetEnded",
            Self::SetOwes { .. } => "SetOwes",
            Self::Held { .. } => "Held",
            Self::Setting { .. } => "Setting",
        }
    }

    /// Whether it must be on the disk before the next kernel call.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        matches!(
            self,
            Self::Boot { .. }
                | Self::Begin { .. }
                | Self::Attach { .. }
                | Self::Attached { .. }
                | Self::Switching { .. }
                | Self::Switched {}
                | Self::Committed { .. }
                | Self::RolledBack { .. }
                | Self::End { .. }
                | Self::Checkpoint { .. }
                | Self::Lost { .. }
                | Self::LostGeneration { .. }
                | Self::SetAside { .. }
                | Self::TakeUp { .. }
                | Self::SetBegan { .. }
                | Self::SetEnded {}
                | Self::SetOwes { .. }
                | Self::Held { .. }
                | Self::Setting { .. }
        )
    }

    /// What it says about the operation under way.
    pub(crate) const fn step(&self) -> Option<Step> {
        Some(match self {
            Self::Begin { op, .. } => Step::Begin(*op),
            Self::Switched {} => Step::Switched,
            Self::RolledBack { .. } => Step::RolledBack,
            Self::End { .. } => Step::End,
            Self::Boot { .. } => Step::Boot,
            _ => return None,
        })
    }

    /// The record's number and its JSON.
    pub(crate) fn encode(&self) -> Result<(u16, Vec<u8>), serde_json::Error> {
        let name = self.name();
        let number = TYPES.iter().zip(1..).find(|(known, _)| **known == name);
        let whole = serde_json::to_value(self)?;
        let body = whole.get(name).unwrap_or(&serde_json::Value::Null);
        Ok((number.map_or(0, |(_, number)| number), serde_json::to_vec(body)?))
    }

    /// The record of a type and its JSON.
    pub(crate) fn decode(name: &str, json: &[u8]) -> Result<Self, serde_json::Error> {
        let body = serde_json::from_slice::<serde_json::Value>(json)?;
        let whole = serde_json::Map::from_iter([(name.to_owned(), body)]);
        serde_json::from_value(serde_json::Value::Object(whole))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's shape
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use skep_spec::journal;

    use super::*;

    fn begins(op: Op, then: Then) -> Record {
        Record::Begin {
            txn: 1,
            service: "exec".parse().unwrap(),
            op,
            from: None,
            to: None,
            changes: BTreeMap::new(),
            then: Some(then),
        }
    }

    #[test]
    fn every_record_survives_the_way_to_the_disk() {
        let records = [
            Record::Boot { boot_id: "b".to_owned() },
            Record::Begin {
                txn: 1,
                service: "exec".parse().unwrap(),
                op: Op::Commit,
                from: Some(1),
                to: None,
                changes: BTreeMap::new(),
                then: None,
            },
            begins(Op::Stop, Then::Started),
            begins(Op::Activate, Then::Stopped),
            Record::Switched {},
            Record::Switching { value: Some(u64::MAX) },
            Record::Merged { map: "m".to_owned(), batch: 3, last: true, no_room: 0 },
            Record::Merged { map: "m".to_owned(), batch: 3, last: true, no_room: 7 },
            Record::End { result: Outcome::Undone },
            Record::Checkpoint { state: State::default() },
            Record::SetAside { why: "w".to_owned() },
            Record::SetBegan {
                members: vec![SetMember { service: "exec".parse().unwrap(), before: Some(3) }],
                way: Way::There,
            },
            Record::SetBegan { members: Vec::new(), way: Way::Back },
            Record::SetEnded {},
            Record::SetOwes {
                members: vec![Owed {
                    service: "exec".parse().unwrap(),
                    from: 3,
                    to: None,
                    way: Way::Back,
                    why: "w".to_owned(),
                }],
            },
            Record::Held { service: "exec".parse().unwrap(), held: true },
            Record::Setting {
                service: "exec".parse().unwrap(),
                settings: Settings {
                    revision: 2,
                    params: [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)].into(),
                    unwritten: ["a".to_owned()].into(),
                },
                with_switch: true,
            },
        ];
        for record in records {
            let (number, json) = record.encode().unwrap();
            let bytes = [journal::header(), journal::frame(0, number, &json)].concat();
            let read = journal::Journal::read(&bytes).unwrap();
            let entry = read.records[0];
            assert_eq!(entry.step().unwrap(), record.step());
            assert_eq!(Record::decode(entry.name, entry.json).unwrap(), record);
        }
    }

    /// What every reader of the standard's form must find in our checkpoint.
    #[test]
    fn a_checkpoint_says_what_waits() {
        let begin = |txn, service: &str, op| Record::Begin {
            txn,
            service: service.parse().unwrap(),
            op,
            from: None,
            to: None,
            changes: BTreeMap::new(),
            then: None,
        };
        let aside = || Record::SetAside { why: "w".to_owned() };
        let mut records = vec![Record::Boot { boot_id: "b".to_owned() }];
        records.extend([begin(1, "one", Op::Upgrade), Record::Switched {}, aside()]);
        records.extend([begin(2, "two", Op::Commit), aside(), begin(3, "three", Op::Install)]);
        records.push(Record::RolledBack { cause: "c".to_owned() });
        let mut state = State::default();
        records.iter().cloned().for_each(|record| state.apply(record));
        let read = |records: &[Record]| {
            let frames = (0..).zip(records).map(|(sequence, record)| {
                let (number, json) = record.encode().unwrap();
                journal::frame(sequence, number, &json)
            });
            let bytes = [journal::header(), frames.collect::<Vec<_>>().concat()].concat();
            journal::Journal::read(&bytes).unwrap().interrupted()
        };
        let checkpoint = Record::Checkpoint { state };
        assert_eq!(read(std::slice::from_ref(&checkpoint)), read(&records));
        let more =
            [checkpoint, records[0].clone(), Record::TakeUp { service: "two".parse().unwrap() }];
        assert_eq!(read(&more), read(&records));
        assert_eq!(read(&more).len(), 3);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert!(Record::decode("Nothing", b"{}").is_err());
        assert!(Record::decode("Switching", b"{\"value\":\"x\"}").is_err());
    }
}
