//! What is attached, as the kernel says it now: interfaces and cgroups go, and people remove pins.

use skep_kernel::attach::{called_now, file_of};
use skep_kernel::{KernelError, Link};
use skep_spec::{ServiceName, Site, Target};

use crate::runtime::Runtime;
use crate::state::{Attachment, Hook, Service};

impl Runtime {
    /// Hooks that have nothing attached, although they should, with the reason. What the kernel does not say is taken to be
    /// attached.
    pub(crate) fn detached(&self, name: &ServiceName, service: &Service) -> Option<String> {
        let runs = |hook_name: &str| service.program_on(service.active, hook_name).is_some();
        let hooks = service.hooks.iter().filter(|(hook_name, _)| runs(hook_name));
        all_detached(hooks.filter_map(|(hook_name, hook)| {
            let why = self.found_at(name, hook_name, hook).detached?;
            Some(not_attached(hook_name, &hook.target, &why))
        }))
    }

    /// What there is at a hook now.
    pub(crate) fn found_at(&self, name: &ServiceName, hook_name: &str, hook: &Hook) -> Found {
        let (mut renamed, mut detached) = (None, None);
        match &hook.attachment {
            Attachment::Intended => {}
            Attachment::Off => detached = Some("the service is stopped".to_owned()),
            Attachment::Held { key } => detached = self.held.why_gone(key).map(str::to_owned),
            Attachment::Tc { ifindex, .. }
            | Attachment::Action { ifindex, .. }
            | Attachment::Route { ifindex } => {
                let index = u32::try_from(*ifindex).ok();
                renamed = index.and_then(|index| called_now(&hook.target, index));
                detached = why_gone(hook);
            }
            Attachment::Group { .. } => detached = why_gone(hook),
            Attachment::Link { id } => match self.link(name, hook_name, *id) {
                Ok(link) => {
                    renamed = link.renamed(&hook.target);
                    detached = is_cut_off(&link, hook).then(|| {
                        let its = its(hook);
                        format!("link {id} is cut off: {its} is gone, or another one has its name, or somebody detached it")
                    });
                }
                Err(error) if error.is_not_found() => {
                    detached = Some(format!("link {id} is gone: somebody removed its pin"));
                }
                Err(_) => {}
            },
        }
        let renamed = renamed.map(|now| format!(", at the interface that is called '{now}' now"));
        let held_by = format!("{}{}", hook.attachment, renamed.unwrap_or_default());
        Found { held_by, detached }
    }

    /// The link with this id: the one that is pinned, or one that somebody holds.
    fn link(&self, name: &ServiceName, hook_name: &str, id: u32) -> Result<Link, KernelError> {
        match Link::open_pinned(&self.pins(name).link(hook_name)) {
            Ok(link) if link.id() == Some(id) => Ok(link),
            _ => Link::by_id(id),
        }
    }
}

/// What was found at a hook.
pub(crate) struct Found {
    /// What holds it, for people, and what its interface is called now, if it was renamed: it is where it was, and the next boot
    /// would not find it.
    pub(crate) held_by: String,
    /// Why nothing is attached, if so.
    pub(crate) detached: Option<String>,
}

/// Why what is attached without a link is not there any more; none where it is.
fn why_gone(hook: &Hook) -> Option<String> {
    let there = hook.standing()?.program_id();
    matches!(there, Ok(None)).then(|| format!("{} is gone", hook.attachment))
}

/// Whether a link has lost what the hook is.
pub(crate) fn is_cut_off(link: &Link, hook: &Hook) -> bool {
    link.is_cut_off(&hook.target).unwrap_or(false) || is_replaced(hook)
}

/// Whether the binary of a hook is another file than that which it was attached to: no process that starts from now on is seen.
fn is_replaced(hook: &Hook) -> bool {
    match (hook.target.binary(), hook.file) {
        // A process that went takes its view of files along, and others may share it.
        (Some(binary), _) if binary.starts_with("/proc/") => false,
        (_, Some(file)) => file_of(&hook.target) != Some(file),
        (_, None) => false,
    }
}

/// What is said of a hook that has nothing attached.
pub(crate) fn not_attached(hook_name: &str, target: &Target, why: &str) -> String {
    format!("hook '{hook_name}' at {target} is not attached ({why})")
}

/// What is said of all such hooks of a service, if there are any.
pub(crate) fn all_detached(said: impl Iterator<Item = String>) -> Option<String> {
    Some(said.collect::<Vec<_>>().join("; ")).filter(|said| !said.is_empty())
}

/// What a hook of this kind is attached to.
fn its(hook: &Hook) -> &'static str {
    match hook.target {
        Target::CgroupSkb { .. } => "its cgroup",
        Target::At { .. } => match hook.target.site() {
            Some(Site::Cgroup) => "its cgroup",
            Some(Site::Netns) => "its network namespace",
            _ => "its interface",
        },
        _ if hook.target.binary().is_some() => "its binary",
        _ => "its interface",
    }
}
