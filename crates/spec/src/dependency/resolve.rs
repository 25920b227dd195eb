//! One version for each package that a root needs, directly or not: the same for the same question, in any order of asking.
//!
//! In rounds: what the choices of the round before ask for decides the next, and no package ever goes back to a version that
//! it gave up. So there is no search, the rounds end, and the first of several possible sets is not a matter of luck.

use std::collections::{BTreeMap, BTreeSet};

use super::chains::{Conflict, Link, chain};
use super::{MOST_DEPTH, MOST_PACKAGES, MOST_ROUNDS, Needs, Range, giver};
use crate::{PackageName, Version};

/// Where versions and what they need come from.
pub trait Versions {
    /// Why it cannot be said.
    type Error;

    /// The versions that there are of a package; none where there is no such package.
    ///
    /// # Errors
    /// It cannot be said.
    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, Self::Error>;

    /// What a version needs: asked for those only that are chosen, once each.
    ///
    /// # Errors
    /// It cannot be said.
    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, Self::Error>;
}

/// What is to be installed, or built.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    /// Its name.
    pub name: &'a PackageName,
    /// Its version.
    pub version: &'a Version,
    /// What it needs.
    pub needs: &'a Needs,
}

/// A service that runs, and that nobody means to touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub service: String,
    /// What it runs: where that package is in the set, the version there says what is needed.
    pub package: PackageName,
    /// What it needs.
    pub needs: Needs,
}

/// One package of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// What it needs.
    pub needs: Needs,
}

/// Why there is no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A package of which no version is in every range.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// Packages that need each other in a ring.
    #[error("packages need each other in a ring: {0}")]
    Cycle(String),
    /// More packages, a longer chain or more rounds than are allowed.
    #[error("the dependencies of {root} are more than are followed: {what}")]
    Many {
        /// Whose.
        root: PackageName,
        /// Which limit.
        what: String,
    },
}

impl Unresolved {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "life.conflict",
            Self::Cycle(_) => "life.cycle",
            Self::Many { .. } => "life.many",
        }
    }
}

/// Why no set is found.
#[derive(Debug)]
pub enum ResolveError<E> {
    /// There is none.
    Unresolved(Unresolved),
    /// What there is cannot be said.
    Versions(E),
}

impl<E> From<Unresolved> for ResolveError<E> {
    fn from(error: Unresolved) -> Self {
        Self::Unresolved(error)
    }
}

/// The set that `root` needs, each package behind those that it needs itself. What `runs` already stays where every range allows
/// it; of others the highest version is taken that all allow.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve<V: Versions>(
    root: Root<'_>,
    runs: &BTreeMap<PackageName, Version>,
    others: &[Other],
    source: &mut V,
) -> Result<Vec<Resolved>, ResolveError<V::Error>> {
    let given = |of: &Other| {
        let all = others.iter().filter(|other| other.package == of.package);
        giver(&of.package, all.map(|other| other.service.as_str())) == Some(of.service.as_str())
    };
    let (givers, apart) = others.iter().partition(|other| given(other));
    let mut resolution = Resolution {
        root,
        runs,
        givers,
        apart,
        source,
        lists: BTreeMap::new(),
        given_up: BTreeMap::new(),
        needs: BTreeMap::new(),
        set: BTreeMap::new(),
    };
    for _ in 0..MOST_ROUNDS {
        if !resolution.round()? {
            return resolution.ordered();
        }
    }
    Err(resolution.many(format!("{MOST_ROUNDS} rounds and no end")).into())
}

/// Who asks for a package, and in which range; none is the root.
type Asks = BTreeMap<PackageName, Vec<(Option<PackageName>, Range)>>;

struct Resolution<'a, V> {
    root: Root<'a>,
    runs: &'a BTreeMap<PackageName, Version>,
    /// Services that a set upgrades where their package is in it.
    givers: Vec<&'a Other>,
    /// Those that it leaves alone.
    apart: Vec<&'a Other>,
    source: &'a mut V,
    /// The versions of each package, the one that is wanted most first.
    lists: BTreeMap<PackageName, Vec<Version>>,
    /// How many of a list are given up.
    given_up: BTreeMap<PackageName, usize>,
    needs: BTreeMap<(PackageName, Version), Needs>,
    /// The choices so far; none where nothing fits.
    set: BTreeMap<PackageName, Option<Version>>,
}

impl<V: Versions> Resolution<'_, V> {
    /// Says whether it changed anything.
    fn round(&mut self) -> Result<bool, ResolveError<V::Error>> {
        let asks = self.asks()?;
        if asks.len() > MOST_PACKAGES {
            return Err(self.many(format!("more than {MOST_PACKAGES} packages")).into());
        }
        let mut next = BTreeMap::new();
        for (name, asked) in &asks {
            let kept: Vec<Range> = self.kept(name).cloned().collect();
            let given_up = self.given_up.get(name).copied().unwrap_or(0);
            let ranges = || asked.iter().map(|(_, range)| range).chain(&kept);
            let fits = |version: &Version| ranges().all(|range| range.holds(version));
            let list = self.list(name)?;
            let found = (given_up..list.len()).find(|at| list.get(*at).is_some_and(fits));
            let version = found.and_then(|at| list.get(at).cloned());
            self.given_up.insert(name.clone(), found.unwrap_or(given_up));
            next.insert(name.clone(), version);
        }
        let changed = next != self.set;
        self.set = next;
        Ok(changed)
    }

    /// The ranges that services have which run on as they are.
    fn kept(&self, name: &PackageName) -> impl Iterator<Item = &Range> {
        self.others().filter_map(move |other| other.needs.get(name))
    }

    fn others(&self) -> impl Iterator<Item = &Other> {
        let stay = self.givers.iter().filter(|other| !self.set.contains_key(&other.package));
        stay.chain(&self.apart).copied()
    }

    /// What the root and the choices ask for, as far as the root leads.
    fn asks(&mut self) -> Result<Asks, ResolveError<V::Error>> {
        let mut asks = Asks::new();
        let root = self.root;
        let mut open = vec![(None, root.needs.clone())];
        while let Some((who, needs)) = open.pop() {
            for (name, range) in needs.into_iter().filter(|(name, _)| name != root.name) {
                let known = asks.contains_key(&name);
                asks.entry(name.clone()).or_default().push((who.clone(), range));
                if let (false, Some(Some(version))) = (known, self.set.get(&name).cloned()) {
                    let needs = self.needs(&name, &version)?;
                    open.push((Some(name), needs));
                }
            }
        }
        Ok(asks)
    }

    fn list(&mut self, name: &PackageName) -> Result<&[Version], ResolveError<V::Error>> {
        if !self.lists.contains_key(name) {
            let mut list = self.source.of(name).map_err(ResolveError::Versions)?;
            list.sort_by(Version::cmp_highest);
            list.dedup();
            if let Some(runs) = self.runs.get(name) {
                list.retain(|version| version != runs);
                list.insert(0, runs.clone());
            }
            self.lists.insert(name.clone(), list);
        }
        Ok(self.lists.get(name).map(Vec::as_slice).unwrap_or_default())
    }

    fn needs(
        &mut self,
        name: &PackageName,
        version: &Version,
    ) -> Result<Needs, ResolveError<V::Error>> {
        let key = (name.clone(), version.clone());
        if let Some(needs) = self.needs.get(&key) {
            return Ok(needs.clone());
        }
        let needs = self.source.needs(name, version).map_err(ResolveError::Versions)?;
        self.needs.insert(key, needs.clone());
        Ok(needs)
    }

    fn chosen_needs(&self, name: &PackageName) -> Option<&Needs> {
        let version = self.set.get(name)?.clone()?;
        self.needs.get(&(name.clone(), version))
    }

    /// The set in the order in which it is installed: of what needs nothing that is still missing, the first by name.
    fn ordered(&mut self) -> Result<Vec<Resolved>, ResolveError<V::Error>> {
        self.refuse_rings()?;
        let asks = self.asks()?;
        if let Some(name) =
            self.set.iter().find_map(|(name, version)| version.is_none().then_some(name))
        {
            return Err(Unresolved::Conflict(Box::new(self.conflict(name, &asks))).into());
        }
        let mut depths = BTreeMap::<&PackageName, usize>::new();
        let mut order = Vec::new();
        while order.len() < self.set.len() {
            let ready = |name: &&PackageName| {
                let needs = self.chosen_needs(name);
                !depths.contains_key(*name)
                    && needs.into_iter().flatten().all(|(n, _)| depths.contains_key(n))
            };
            let Some(name) = self.set.keys().find(ready) else { break };
            let needs = self.chosen_needs(name).cloned().unwrap_or_default();
            let depth = 1 + needs.keys().filter_map(|need| depths.get(need)).max().unwrap_or(&0);
            if depth > MOST_DEPTH {
                return Err(self.many(format!("more than {MOST_DEPTH} in a row")).into());
            }
            depths.insert(name, depth);
            let version = self.set.get(name).cloned().flatten();
            order.extend(version.map(|version| Resolved { name: name.clone(), version, needs }));
        }
        Ok(order)
    }

    fn many(&self, what: String) -> Unresolved {
        Unresolved::Many { root: self.root.name.clone(), what }
    }

    fn conflict(&self, name: &PackageName, asks: &Asks) -> Conflict {
        let asked = asks.get(name).into_iter().flatten();
        let mut chains: Vec<Vec<Link>> =
            asked.map(|(who, range)| self.way_to(who.as_ref(), range, asks)).collect();
        chains.sort_by_key(|links| (links.len(), chain(links, "")));
        chains.extend(self.others().filter_map(|other| {
            let (who, range) =
                (format!("the service {}", other.service), other.needs.get(name)?.clone());
            Some(vec![Link { who, range }])
        }));
        let there = self.lists.get(name).cloned().unwrap_or_default();
        Conflict { package: name.clone(), chains, there }
    }

    /// The shortest way from the root to who asks, and the range that it asks for.
    fn way_to(&self, who: Option<&PackageName>, range: &Range, asks: &Asks) -> Vec<Link> {
        let mut links = Vec::new();
        let (mut who, mut range) = (who.cloned(), range.clone());
        let far = self.distances();
        while let Some(name) = who {
            links.push(Link { who: name.to_string(), range });
            let mut asked: Vec<_> = asks.get(&name).into_iter().flatten().collect();
            asked.sort_by_key(|(by, _)| {
                (by.as_ref().map_or(Some(&0), |by| far.get(by)), by.clone())
            });
            let Some((by, of)) = asked.first() else { return links };
            (who, range) = (by.clone(), of.clone());
        }
        let root = format!("{} {}", self.root.name, self.root.version);
        links.push(Link { who: root, range });
        links.reverse();
        links
    }

    /// How many steps each package is from the root.
    fn distances(&self) -> BTreeMap<PackageName, usize> {
        let mut far = BTreeMap::new();
        let mut next: BTreeSet<PackageName> = self.root.needs.keys().cloned().collect();
        for steps in 1.. {
            let new: Vec<PackageName> =
                next.into_iter().filter(|name| !far.contains_key(name)).collect();
            if new.is_empty() {
                break;
            }
            far.extend(new.iter().map(|name| (name.clone(), steps)));
            next = new
                .iter()
                .filter_map(|name| self.chosen_needs(name))
                .flat_map(|n| n.keys().cloned())
                .collect();
        }
        far
    }

    /// Follows every package once; one that is met on the way to itself closes a ring.
    fn refuse_rings(&self) -> Result<(), Unresolved> {
        let mut done = BTreeSet::new();
        let mut way: Vec<(
            &PackageName,
            std::collections::btree_map::Iter<'_, PackageName, Range>,
        )> = vec![(self.root.name, self.root.needs.iter())];
        while let Some((at, rest)) = way.last_mut() {
            let Some((name, range)) = rest.next() else {
                done.insert(*at);
                way.pop();
                continue;
            };
            if let Some(begin) = way.iter().position(|(on, _)| *on == name) {
                let ring: Vec<&str> = way.iter().skip(begin).map(|(on, _)| on.as_str()).collect();
                return Err(Unresolved::Cycle(format!("{} → {name} {range}", ring.join(" → "))));
            }
            if !done.contains(name)
                && let Some(needs) = self.chosen_needs(name)
            {
                way.push((name, needs.iter()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
