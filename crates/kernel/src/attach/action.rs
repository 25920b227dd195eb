//! Actions of tc: a filter of ours that every packet passes (`matchall`), on a clsact qdisc, runs the program as its action.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use skep_spec::Target;
use skep_spec::site::Direction;

use super::net::{index_of, no_interface};
use super::standing::Standing;
use super::tc::make_clsact;
use super::{AttachPlan, Link, failed};
use crate::error::KernelError;
use crate::netlink::{Message, attribute};
use crate::program::Program;

/// One such filter: what it takes to replace or remove it, also for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The interface.
    pub ifindex: i32,
    /// Egress instead of ingress.
    pub egress: bool,
    /// Its place among the filters: each has one of its own.
    pub priority: u16,
}

/// Places that the kernel's users rarely take.
const PRIORITIES: std::ops::Range<u16> = 48_000..48_064;
const HANDLE: u32 = 1;
// include/uapi/linux/pkt_sched.h, pkt_cls.h, rtnetlink.h, tc_act/tc_bpf.h.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_MATCHALL_ACT: u16 = 2;
const FIRST: u16 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_BPF_PARMS: u16 = 2;
const TCA_ACT_BPF_FD: u16 = 5;
const TCA_ACT_BPF_NAME: u16 = 6;
const TCA_ACT_BPF_ID: u16 = 9;
/// Of `struct tcmsg`.
const HEAD: usize = 20;

pub(super) fn attach(
    program: &Program,
    place: &Direction,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let refuse = |e: io::Error| failed(program, plan, e);
    let index = index_of(&place.interface);
    let ifindex = index.map_err(|e| no_interface(program, plan, &place.interface, e))?;
    make_clsact(ifindex, place.egress).map_err(refuse)?;
    for priority in PRIORITIES {
        let action = Action { ifindex, egress: place.egress, priority };
        match action.put(program, libc::NLM_F_CREATE | libc::NLM_F_EXCL) {
            Ok(()) => return Ok(Link::from_standing(Standing::Action(action))),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                return Err(refuse(e).with_hint(
                    "the kernel has no actions that are programs, or no filter for all packets: modprobe act_bpf cls_matchall",
                ));
            }
            Err(e) => return Err(refuse(e)),
        }
    }
    Err(refuse(io::Error::from_raw_os_error(libc::EEXIST)))
}

impl Action {
    /// The one of ours at a target that runs one of these programs.
    pub(super) fn find(target: &Target, programs: &[u32]) -> io::Result<Option<Self>> {
        let Target::At { place, .. } = target else { return Ok(None) };
        let Ok(Direction { egress, interface }) = place.parse() else { return Ok(None) };
        let Ok(ifindex) = index_of(&interface) else { return Ok(None) };
        for priority in PRIORITIES {
            let action = Self { ifindex, egress, priority };
            if action.program_id()?.is_some_and(|id| programs.contains(&id)) {
                return Ok(Some(action));
            }
        }
        Ok(None)
    }

    pub(super) fn thing(&self) -> String {
        let direction = if self.egress { "egress" } else { "ingress" };
        let Self { ifindex, priority, .. } = self;
        format!("the tc action at {direction} of interface {ifindex} (pref {priority})")
    }

    fn message(&self, kind: u16, flags: i32) -> Message {
        let parent = if self.egress { EGRESS } else { INGRESS };
        let all = u32::from((libc::ETH_P_ALL as u16).to_be());
        let info = u32::from(self.priority) << 16 | all;
        let mut head = [0; HEAD];
        head[4..8].copy_from_slice(&self.ifindex.to_ne_bytes());
        head[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
        head[12..16].copy_from_slice(&parent.to_ne_bytes());
        head[16..].copy_from_slice(&info.to_ne_bytes());
        let mut message = Message::new(kind, flags, &head);
        message.text(TCA_KIND, "matchall");
        message
    }

    fn put(&self, program: &Program, flags: i32) -> io::Result<()> {
        // struct tc_act_bpf: index, capab, what follows an answer of -1 (-1: the next filter), two counts.
        const PARMS: [i32; 5] = [0, 0, -1, 0, 0];
        let parms: Vec<u8> = PARMS.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut message = self.message(libc::RTM_NEWTFILTER, flags);
        message.nest(TCA_OPTIONS, |message| {
            message.nest(TCA_MATCHALL_ACT, |message| {
                message.nest(FIRST, |message| {
                    message.text(TCA_ACT_KIND, "bpf").nest(TCA_ACT_OPTIONS, |message| {
                        message.attribute(TCA_ACT_BPF_PARMS, &parms);
                        message.number(TCA_ACT_BPF_FD, program.as_fd().as_raw_fd() as u32);
                        message.text(TCA_ACT_BPF_NAME, program.name());
                    });
                });
            });
        });
        message.done()
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match self.message(libc::RTM_DELTFILTER, 0).done() {
            Err(e) if is_gone(&e) => Ok(()),
            other => other,
        }
    }

    /// The id of the program that it runs.
    pub(super) fn program_id(&self) -> io::Result<Option<u32>> {
        let mut found = None;
        let asked = self.message(libc::RTM_GETTFILTER, 0).asked(|_, filter| {
            let options = attribute(filter.get(HEAD..).unwrap_or_default(), TCA_OPTIONS);
            let action = options.and_then(|options| attribute(options, TCA_MATCHALL_ACT));
            let action = action.and_then(|actions| attribute(actions, FIRST));
            let options = action.and_then(|action| attribute(action, TCA_ACT_OPTIONS));
            let id = options.and_then(|options| attribute(options, TCA_ACT_BPF_ID));
            found = found.or(id.and_then(|id| id.first_chunk()).map(|id| u32::from_ne_bytes(*id)));
        });
        match asked {
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(found),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}
