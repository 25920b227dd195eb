//! `skepd --doctor`: what this kernel can do and what of this node's files stands in the way, as JSON, without a daemon.
//!
//! A process of its own: what is tried needs a network namespace and a cgroup.

mod config;
mod files;
mod kernel;

use skep_api::Finding;

use crate::config::Args;

/// Everything that can be found out here.
#[must_use]
pub fn findings(args: &Args) -> Vec<Finding> {
    let mut all = kernel::findings(&args.config_dir);
    all.extend(files::findings(args));
    all
}
