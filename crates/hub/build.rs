//! Tells cargo that a new migration is a reason to compile: `sqlx::migrate!` embeds the folder.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
