//! What the hub knows of a package: read from its objects when it was pushed, kept as JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use skep_spec::manifest::Permissions;
use skep_spec::{Arch, Version};

/// One version of a package, as its own bytes show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// SemVer.
    pub version: Version,
    /// SPDX expression of the package.
    pub license: String,
    /// One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Markdown, as it came: not to be shown before it is cleaned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readme: Option<String>,
    /// One entry for each object and architecture.
    pub objects: Vec<ObjectListing>,
    /// What a person can set.
    #[serde(default)]
    pub parameters: Vec<ParameterListing>,
    /// What comes out.
    #[serde(default)]
    pub outputs: Vec<OutputListing>,
    /// What the manifest says that the package does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Permissions>,
}

/// One BPF object for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectListing {
    /// Its name in the manifest.
    pub name: String,
    /// What it is for.
    pub architecture: Arch,
    /// SHA-256 of the ELF.
    pub digest: String,
    /// Bytes of the ELF.
    pub size: u64,
    /// What the ELF says that its licence is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Its programs.
    pub programs: Vec<ProgramListing>,
    /// Its maps, those of global data included.
    pub maps: Vec<MapListing>,
    /// What the bytecode does and the manifest's permissions do not say, where it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undeclared: Vec<String>,
    /// Instructions that belong to no function: nothing else here speaks of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub loose: u64,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramListing {
    /// ELF symbol.
    pub name: String,
    /// Where it attaches, such as `tracepoint/sched/sched_process_exec`.
    pub target: String,
    /// The kind of hook, such as `tracepoint`.
    pub hook: String,
    /// What its powers go by; in rows of older hubs not there, and the target then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// Helpers without `bpf_`.
    pub helpers: Vec<String>,
    /// Kernel functions that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kfuncs: Vec<String>,
    /// Instructions, subprograms included.
    pub instructions: usize,
    /// Whether it calls what cannot be followed.
    #[serde(default)]
    pub unknown_calls: bool,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapListing {
    /// ELF symbol or section.
    pub name: String,
    /// Such as `hash`.
    pub kind: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer; the manifest's number where it gives one.
    pub max_entries: u64,
    /// Most bytes of keys and values, however many CPUs there are.
    pub memory: u64,
    /// The same for each CPU.
    pub memory_per_cpu: u64,
    /// What an upgrade does with it, where the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterListing {
    /// Its name.
    pub name: String,
    /// Its type, such as `duration`.
    pub kind: String,
    /// What it is when nobody sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputListing {
    /// Its name.
    pub name: String,
    /// Such as `event`.
    pub kind: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Listing {
    /// Instructions that belong to no function, of the object that has most.
    #[must_use]
    pub fn loose(&self) -> u64 {
        self.objects.iter().map(|object| object.loose).max().unwrap_or(0)
    }

    /// The architectures, in the order of the index, each once.
    #[must_use]
    pub fn architectures(&self) -> Vec<Arch> {
        Arch::ALL
            .into_iter()
            .filter(|arch| self.objects.iter().any(|object| object.architecture == *arch))
            .collect()
    }

    /// Bytes of the objects of the architecture that has most: what a node takes at most.
    #[must_use]
    pub fn size(&self) -> u64 {
        let of = |arch| {
            let objects = self.objects.iter().filter(move |object| object.architecture == arch);
            objects.map(|object| object.size).sum()
        };
        self.architectures().into_iter().map(of).max().unwrap_or(0)
    }

    /// What the bytecode of any object does and the manifest does not say, each once.
    #[must_use]
    pub fn undeclared(&self) -> BTreeSet<String> {
        self.objects.iter().flat_map(|object| object.undeclared.iter().cloned()).collect()
    }

    /// Everything that a search should find it by, in lower case.
    #[must_use]
    pub fn words(&self, repository: &str) -> String {
        let mut words = vec![repository.to_owned()];
        words.extend(self.summary.clone());
        for program in self.objects.iter().flat_map(|object| &object.programs) {
            words.extend([program.hook.clone(), program.target.clone()]);
        }
        words.sort();
        words.dedup();
        words.join(" ").to_lowercase()
    }
}
