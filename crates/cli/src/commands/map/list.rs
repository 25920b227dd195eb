//! `skep map list`.

use clap::Args;
use skep_api::{MapRow, Maps};

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::{Output, bytes, table};

/// List the maps of a service, of all services, or of the machine
#[derive(Debug, Args)]
pub struct List {
    /// The service; without it all of them
    service: Option<String>,
    /// Every map of the machine, whoever made it
    #[arg(long, conflicts_with = "service")]
    all: bool,
}

impl List {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let client = daemon::client(config);
        let service = self.service.as_deref().map(daemon::service).transpose()?;
        let asked = Maps { all: self.all, service };
        let maps = match &asked.service {
            Some(service) => daemon::ask_about(&client, service, client.maps(&asked))?,
            None => daemon::ask(client.maps(&asked))?,
        };
        output.answer(&maps, || text(&maps));
        Ok(())
    }
}

fn text(maps: &[MapRow]) -> String {
    if maps.is_empty() {
        return "No maps.".to_owned();
    }
    let ty = |name: &Option<String>, size: u32| match name {
        Some(name) => name.clone(),
        None => format!("{size} bytes"),
    };
    let rows = maps.iter().map(|map| {
        [
            map.id.to_string(),
            map.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            map.name.clone(),
            map.kind.clone(),
            ty(&map.key_type, map.key_size),
            ty(&map.value_type, map.value_size),
            map.max_entries.to_string(),
            bytes(map.memory),
        ]
    });
    table(["ID", "SERVICE", "MAP", "KIND", "KEY", "VALUE", "ENTRIES", "MEMORY"], rows)
}
