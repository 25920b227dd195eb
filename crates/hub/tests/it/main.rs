//! The hub as its clients meet it: a real process on a loopback port.

mod browser;
mod clients;
mod crash;
mod package;
mod packages;
mod pages;
mod registry;
mod server;
