//! The node's daemon: pulls and verifies packages, drives the runtime, answers on a Unix socket.
//!
//! A request goes [`server`] → [`operations`] → [`node`]; only [`packages`] touches packages that nobody verified yet.

mod answer;
mod blocking;
pub mod config;
pub mod counters;
mod deeds;
mod desired;
pub mod doctor;
pub mod ending;
pub mod ephemeral;
pub mod error;
pub mod history;
pub mod hold;
mod http;
pub mod kernel_types;
mod life;
mod looks;
mod maps;
mod next_kernel;
pub mod node;
pub mod notify;
pub mod operations;
mod outdated;
pub mod packages;
mod programs;
mod publishers;
pub mod selection;
pub mod server;
mod set;
mod settings;
pub mod socket;
