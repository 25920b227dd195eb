//! Which programs are several ways to see the same, of which a service runs one, and which a kernel may have nothing for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_spec::Target;

use super::programs::Listed;
use super::{label, quoted, unique};

/// What a program sees, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// Calls of a kernel function, and its returns.
    Function(String),
    /// A tracepoint.
    Tracepoint(String),
}

/// The programs of objects by what they see: of each point the ways in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// By a name of its own, the programs of each way of a point that has several.
    groups: BTreeMap<String, Vec<Vec<String>>>,
    /// Programs at points that kernels may lack, with others beside them.
    optional: BTreeSet<String>,
}

impl Ways {
    /// What an object's own loader would find out: it attaches what there is, and of two ways the better one.
    pub(super) fn of(listed: &[Listed<'_>]) -> Self {
        let mut points = BTreeMap::<(&str, Point), BTreeMap<u8, Vec<String>>>::new();
        for one in listed {
            let Some((point, way)) = seen(&one.target) else { continue };
            points
                .entry((one.object, point))
                .or_default()
                .entry(way)
                .or_default()
                .push(one.name.clone());
        }
        let (is_alone, mut taken, mut ways) = (points.len() == 1, BTreeSet::new(), Self::default());
        for ((_, point), mut members) in points {
            let (Point::Function(place) | Point::Tracepoint(place)) = point;
            if members.len() > 1 {
                let name = unique(&label(&place, '_'), &taken);
                taken.insert(name.clone());
                ways.groups.insert(name, members.into_values().collect());
            } else if let Some((_, programs)) = members.pop_first().filter(|_| !is_alone) {
                ways.optional.extend(programs);
            }
        }
        ways
    }

    /// Whether the service can do without a program.
    pub(super) fn is_optional(&self, name: &str) -> bool {
        self.optional.contains(name)
    }

    /// The tables of alternatives. What is seen at one point of several is no reason to see nothing at the others.
    pub(super) fn tables(&self) -> String {
        let is_alone = self.groups.len() == 1 && self.optional.is_empty();
        let otherwise = if is_alone { "" } else { "otherwise = \"skip\"\n" };
        let mut text = String::new();
        for (name, members) in &self.groups {
            let members = members.iter().map(|programs| {
                let names = programs.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
                format!("[{names}]")
            });
            let members = members.collect::<Vec<_>>().join(", ");
            // Writing to a String cannot fail.
            let _ = write!(text, "\n[alternatives.{name}]\ntry = [{members}]\n{otherwise}");
        }
        text
    }

    /// What the operator has to know of them.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        if !self.groups.is_empty() {
            let names = self.groups.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            told.push(format!(
                "several programs see the same ({names}): one of them runs, as [alternatives] says"
            ));
        }
        if !self.optional.is_empty() {
            told.push("whatever of its hooks a kernel lacks is left out: take optional = true from the programs that must run".to_owned());
        }
        told
    }
}

/// The point that a target sees, and which way that is: trampolines first, which cost least, and what reads registers last.
fn seen(target: &Target) -> Option<(Point, u8)> {
    let function = |name: &String, way| Some((Point::Function(name.clone()), way));
    let tracepoint = |name: &String, way| Some((Point::Tracepoint(name.clone()), way));
    match target {
        Target::Fentry(name) | Target::Fexit(name) => function(name, 0),
        Target::Kprobe { function: name, offset: 0, .. } => function(name, 1),
        Target::TpBtf(name) => tracepoint(name, 0),
        Target::RawTracepoint(name) => tracepoint(name, 1),
        Target::Tracepoint { name, .. } => tracepoint(name, 2),
        _ => None,
    }
}
