//! Attachments that are no links: they stay in the kernel by themselves until somebody takes them off.

use std::fmt;
use std::io;

use skep_spec::{Site, Target};

use super::action::Action;
use super::group::Group;
use super::route::Route;
use super::tc::Filter;
use crate::error::KernelError;
use crate::program::Program;

/// What holds a program without a link: what it takes to replace or remove it, also for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A filter of tc.
    Filter(Filter),
    /// A filter of tc whose action it is.
    Action(Action),
    /// A route of ours.
    Route(Route),
    /// Sockets that share an address.
    Group(Group),
}

impl Standing {
    /// What is at a target, for one who died between attaching and writing down what: it holds a program with one of these ids.
    ///
    /// # Errors
    /// EPERM; a target that is no more has none.
    pub fn find(target: &Target, programs: &[u32]) -> Result<Option<Self>, KernelError> {
        match target {
            Target::Tc { egress, interface } => {
                for program in programs {
                    if let Some(filter) = Filter::find(interface, *egress, *program)? {
                        return Ok(Some(Self::Filter(filter)));
                    }
                }
                Ok(None)
            }
            Target::At { .. } if target.site() == Some(Site::Route) => {
                let route = Route::named(target).map(Self::Route);
                let id = route.as_ref().map(Self::program_id).transpose()?.flatten();
                Ok(route.filter(|_| id.is_some_and(|id| programs.contains(&id))))
            }
            Target::At { .. } if target.site() == Some(Site::Action) => {
                let found = Action::find(target, programs).map_err(|e| {
                    KernelError::new("look for the program at", target.to_string(), e)
                })?;
                Ok(found.map(Self::Action))
            }
            // Of sockets the kernel does not say whose program they have: it is taken off, whoever's it is.
            Target::At { .. } if target.site() == Some(Site::Group) => {
                Ok(Group::at(target, 0).map(Self::Group))
            }
            _ => Ok(None),
        }
    }

    /// The id of the program in it, none where it is gone; of sockets, whose program the kernel does not tell, 0.
    ///
    /// # Errors
    /// EPERM.
    pub fn program_id(&self) -> Result<Option<u32>, KernelError> {
        let failed = |e| KernelError::new("query", self.to_string(), e);
        match self {
            Self::Filter(filter) => filter.program_id(),
            Self::Action(action) => action.program_id().map_err(failed),
            Self::Route(route) => route.program_id().map_err(failed),
            Self::Group(group) => group.is_there().map(|there| there.then_some(0)).map_err(failed),
        }
    }

    /// Puts `program` in place of the one that runs: no packet between.
    ///
    /// # Errors
    /// What it is at is gone, EPERM; an action, which the kernel can only put beside another one.
    pub fn replace(&self, program: &Program) -> Result<(), KernelError> {
        let failed = |e: io::Error| KernelError::new("replace the program of", self.to_string(), e);
        match self {
            Self::Filter(filter) => filter.replace(program),
            Self::Action(_) => {
                let why = "the kernel can't replace the program of an action";
                Err(KernelError::unsupported("replace the program of", self.to_string(), why))
            }
            Self::Route(route) => route.replace(program).map_err(failed),
            Self::Group(group) => group.replace(program).map_err(failed),
        }
    }

    /// Takes it off; what is gone is no error.
    ///
    /// # Errors
    /// EPERM.
    pub fn remove(&self) -> Result<(), KernelError> {
        let failed = |e: io::Error| KernelError::new("take the program off", self.to_string(), e);
        match self {
            Self::Filter(filter) => filter.remove(),
            Self::Action(action) => action.remove().map_err(failed),
            Self::Route(route) => route.remove().map_err(failed),
            Self::Group(group) => group.remove().map_err(failed),
        }
    }

    /// The index of its interface.
    #[must_use]
    pub const fn ifindex(&self) -> Option<i32> {
        match self {
            Self::Filter(filter) => Some(filter.ifindex),
            Self::Action(action) => Some(action.ifindex),
            Self::Route(route) => Some(route.ifindex),
            Self::Group(_) => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Filter(filter) => filter.thing(),
            Self::Action(action) => action.thing(),
            Self::Route(route) => route.thing(),
            Self::Group(group) => group.thing(),
        })
    }
}
