//! The hub as its clients meet it: a real process on a loopback port.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where it surprises")]

mod browser;
mod clients;
mod crash;
mod full;
mod package;
mod packages;
mod pages;
mod registry;
mod server;
mod suite;
#[path = "../../../oci/tests/support/mod.rs"]
mod support;
