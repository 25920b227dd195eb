//! Back from an upgrade that was a set's: services go back together where their ranges would not hold otherwise.

use skep_spec::{ServiceName, chain};

use crate::error::RuntimeError;
use crate::recover::{Interrupted, Recovery, Unended, of_one};
use crate::runtime::Runtime;
use crate::state::{Generation, Need, Op, Record, SetMember, Way};
use crate::status::Detail;

impl Runtime {
    /// Makes the generation before the last upgrade run again, by the same store the other way, and moves the
    /// state back. What was kept stays; what only the newer version knows is lost. The newer generation goes. Services that could
    /// not do with that, or that it could not do with, go back as well.
    ///
    /// # Errors
    /// There is no generation to return to; others need what runs; the kernel refuses.
    pub fn rollback(&mut self, service: &ServiceName) -> Result<Detail, RuntimeError> {
        self.end_what_began()?;
        let all = self.goes_back_with(service);
        if all.len() == 1 {
            return self.roll_back(service);
        }
        let members = all.iter().map(|service| {
            let before = self.generation(service);
            SetMember { service: service.clone(), before }
        });
        self.record(Record::SetBegan { members: members.collect(), way: Way::Back })?;
        if let Err(error) = self.can_all_go_back(&all) {
            self.record(Record::SetEnded {})?;
            return Err(error);
        }
        self.all_back(&mut Recovery::default())?;
        self.service(service)
    }

    /// The services that go back with one, itself among them, each before those that it needs.
    #[must_use]
    pub fn goes_back_with(&self, service: &ServiceName) -> Vec<ServiceName> {
        let mut all = vec![service.clone()];
        let mut at = 0;
        while let Some(name) = all.get(at).cloned() {
            at += 1;
            let Some(to) = self.kept(&name) else { continue };
            let leads = |need: &&Need| {
                !need.is_met(self.runs(&need.service)) && need.is_met(self.kept(&need.service))
            };
            let needed = to.needs.values().filter(leads).map(|need| need.service.clone());
            let follows = |user: &ServiceName, need: &Need| {
                !need.is_met(Some(to)) && self.kept(user).is_some()
            };
            let users = self.users(&name).filter(|(user, need)| follows(user, need));
            let more: Vec<ServiceName> =
                needed.chain(users.map(|(user, _)| user.clone())).collect();
            for one in more {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        let mut ordered = Vec::new();
        while !all.is_empty() {
            let is_free =
                |name: &ServiceName| !all.iter().any(|user| self.needs(user).contains(name));
            let free = all.iter().position(is_free).unwrap_or_default();
            ordered.push(all.remove(free));
        }
        ordered
    }

    /// The generation that a service would go back to.
    pub(super) fn kept(&self, service: &ServiceName) -> Option<&Generation> {
        self.state.services.get(service)?.previous()
    }

    /// That nothing but the kernel can refuse any of them: what is begun is not undone.
    fn can_all_go_back(&self, all: &[ServiceName]) -> Result<(), RuntimeError> {
        for service in all {
            self.whole(service)?;
            let (from, to) = (self.active(service)?, self.previous(service)?);
            for (package, need) in &to.needs {
                let there = match all.contains(&need.service) {
                    true => self.kept(&need.service),
                    false => self.runs(&need.service),
                };
                if !need.is_met(there) {
                    return Err(RuntimeError::Missing {
                        service: service.clone(),
                        package: package.clone(),
                        range: need.version.clone(),
                        there: there.map(|there| there.version.clone()),
                    });
                }
            }
            let changes = self.changes_back(service)?;
            self.can_go_back(service, (&from, &to), &changes)?;
        }
        Ok(())
    }

    /// Takes the members of the set under way back that are not yet. Where that fails behind the first, the rest is owed.
    pub(crate) fn all_back(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let members = self.state.set.clone();
        let mut done: Vec<ServiceName> =
            members.iter().filter(|m| self.is_done(m)).map(|m| m.service.clone()).collect();
        let is_left = |member: &&SetMember| self.generation(&member.service) == member.before;
        let left: Vec<SetMember> = members.iter().filter(is_left).cloned().collect();
        for (at, SetMember { service, .. }) in left.iter().enumerate() {
            let from = self.standing(service);
            let back = self.roll_back(service);
            match of_one(back)? {
                Ok(_) => {}
                Err(error) if done.is_empty() => {
                    self.end_set(Vec::new())?;
                    return Err(error);
                }
                Err(source) => {
                    self.leave(&left[at..], &chain(&source))?;
                    let (service, source) = (service.clone(), Box::new(source));
                    return Err(RuntimeError::HalfBack { service, done, source });
                }
            }
            recovery.interrupted.push(Interrupted {
                service: service.clone(),
                op: Op::Rollback,
                from,
                unended: Unended::Set,
                finished: true,
            });
            done.push(service.clone());
        }
        self.end_set(Vec::new())
    }

    /// Ends the set under way with these members owed, of which the first did not go back for this reason.
    fn leave(&mut self, left: &[SetMember], why: &str) -> Result<(), RuntimeError> {
        let first = left.first().map(|member| &member.service);
        let owed = left.iter().filter_map(|member| match first {
            Some(first) if *first != member.service => {
                self.owed_by(member, &format!("{first}, which goes before it, did not ({why})"))
            }
            _ => self.owed_by(member, why),
        });
        let owed = owed.collect();
        self.end_set(owed)
    }
}
