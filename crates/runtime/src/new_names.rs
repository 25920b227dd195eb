//! Kernel functions that this kernel calls otherwise than a package does.

use skep_adapt::{Pass, Report};
use skep_kernel::attach::is_there;
use skep_spec::Target;

use crate::choose::Chosen;

/// What functions that allocate are called since Linux 6.10, where the plain name became a macro that says who asks
/// (include/linux/alloc_tag.h): the very same, with the same parameters.
const UNPROFILED: &str = "_noprof";

/// Gives programs whose function is not there that function by its new name, where that is there; says if there was one.
pub(crate) fn by_new_names(chosen: &mut [Chosen], report: &mut Report) -> bool {
    let mut any = false;
    for one in chosen {
        let Some(new) = new_name(&one.target) else { continue };
        if is_there(&one.target).is_err_and(|e| e.is_not_found()) && is_there(&new).is_ok() {
            report.add(Pass::Renamed, &one.name, format!("{} is {new} here", one.target));
            one.target = new;
            any = true;
        }
    }
    any
}

/// The same place in the same function by its newer name.
fn new_name(target: &Target) -> Option<Target> {
    let renamed = |function: &String| {
        (!function.ends_with(UNPROFILED)).then(|| format!("{function}{UNPROFILED}"))
    };
    match target {
        Target::Fentry(function) => renamed(function).map(Target::Fentry),
        Target::Fexit(function) => renamed(function).map(Target::Fexit),
        Target::Kprobe { function, offset: 0, ret } => {
            renamed(function).map(|function| Target::Kprobe { function, offset: 0, ret: *ret })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_from_their_start_have_a_newer_name() {
        let named = |text: &str| new_name(&text.parse().unwrap()).map(|new| new.to_string());
        for (old, new) in [
            ("kprobe/kmem_cache_alloc", Some("kprobe/kmem_cache_alloc_noprof")),
            ("kretprobe/kmem_cache_alloc", Some("kretprobe/kmem_cache_alloc_noprof")),
            ("fentry/kmem_cache_alloc", Some("fentry/kmem_cache_alloc_noprof")),
            ("fexit/kmem_cache_alloc", Some("fexit/kmem_cache_alloc_noprof")),
            ("kprobe/kmem_cache_alloc+0x10", None),
            ("kprobe/kmem_cache_alloc_noprof", None),
            ("tp_btf/kmem_cache_alloc", None),
        ] {
            assert_eq!(named(old).as_deref(), new, "{old}");
        }
    }
}
