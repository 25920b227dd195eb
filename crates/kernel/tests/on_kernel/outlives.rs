//! An attachment outlives the process that made it: by its pin where the kernel has a link for it, else by its
//! perf event's fd, which a holder keeps (before Linux 5.15).

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use skep_kernel::attach::link::LinkKind;
use skep_kernel::{Link, attach, bpffs, process};

use crate::hooks::{EVERYWHERE, Hook};
use crate::payload::{self, Shared};
use crate::text;

pub fn its_maker() -> Result<String, String> {
    let hook = EVERYWHERE.iter().find(|hook| hook.name == "uprobe").ok_or("no such hook")?;
    let shared = Shared::new(3).map_err(text)?;
    let program = payload::load(hook, &shared, 1).map_err(text)?;
    let link = attach::attach(&program, &hook.plan()).map_err(text)?;
    drop(program);
    let how = match link.kind() {
        LinkKind::BpfLink => by_its_pin(link, hook, &shared)?,
        LinkKind::Fd => by_a_holder(link, hook, &shared)?,
        other => return Err(format!("it is {other:?}")),
    };
    match [0, 1, 2].map(|number| shared.seen(number).0) {
        [1, 1, 0] => Ok(format!("{how}: it fired until it was let go")),
        seen => Err(format!("{how}: the events were seen {seen:?} times")),
    }
}

fn fire(hook: &Hook, shared: &Shared, number: u32) {
    shared.announce(number);
    hook.generator()(number);
}

fn by_its_pin(link: Link, hook: &Hook, shared: &Shared) -> Result<&'static str, String> {
    let folder = PathBuf::from(format!("/sys/fs/bpf/skep_on_kernel_{}", std::process::id()));
    bpffs::ensure_mounted(&folder).map_err(text)?;
    let pin = folder.join("link");
    let pinned = link.pin(&pin);
    drop(link);
    fire(hook, shared, 0);
    let again = pinned.and_then(|()| Link::open_pinned(&pin)).map_err(text);
    fire(hook, shared, 1);
    bpffs::unpin_tree(&folder).map_err(text)?;
    again?.detach().map_err(text)?;
    fire(hook, shared, 2);
    Ok("by its pin")
}

fn by_a_holder(link: Link, hook: &Hook, shared: &Shared) -> Result<&'static str, String> {
    if link.pinnable() {
        return Err("a perf event can't be pinned".to_owned());
    }
    let fd = link.into_fd().ok_or("it has no fd")?;
    let (ours, theirs) = process::socketpair().map_err(|e| e.to_string())?;
    process::send_fds(&ours, b"keep", &[fd.as_raw_fd()]).map_err(|e| e.to_string())?;
    drop(fd);
    fire(hook, shared, 0);
    let (_, mut fds) = process::recv_fds(&theirs, &mut [0; 8]).map_err(|e| e.to_string())?;
    let held = fds.pop().ok_or("no fd came")?;
    fire(hook, shared, 1);
    drop(held);
    fire(hook, shared, 2);
    Ok("by a holder of its fd")
}
