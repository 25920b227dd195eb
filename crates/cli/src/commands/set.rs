//! `skep set`.

use std::collections::BTreeMap;

use clap::Args;
use skep_api::{ParamChange, ParamsSet, SetParams};
use skep_spec::ServiceName;

use super::upgrade;
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result};
use crate::output::Output;

/// Change parameters of a service that runs
///
/// Those that are variables (data) are written at once, by one store each, and programs run on; upgrades and rollbacks keep them.
/// Where one is a constant, a map's size or a place to attach, the service switches to the same package loaded with it, as in skep
/// upgrade: no event lost, and skep rollback goes back.
#[derive(Debug, Args)]
pub struct Set {
    /// The service
    service: String,
    /// The parameters and their values
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Forget the value of a parameter: the default counts
    #[arg(long = "unset", value_name = "NAME")]
    unset: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Load the package again even if no trusted key signed it, where that is needed
    #[arg(long)]
    allow_unsigned: bool,
}

impl Set {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service or parameter, a value that does not fit; the switch is refused.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let service = daemon::service(&self.service)?;
        let params = daemon::pairs("parameter", "NAME=VALUE", &self.params)?;
        if let Some(name) = self.unset.iter().find(|name| params.contains_key(*name)) {
            return Err(Error::usage(format!("{name} is to be set, and given to --unset")));
        }
        if params.is_empty() && self.unset.is_empty() {
            return Err(Error::usage("nothing is to be set")
                .hint(format!("skep set {service} NAME=VALUE, or --unset NAME; skep inspect lists the parameters of a package")));
        }
        let unset = self.unset.into_iter().collect();
        let request = SetParams { params, unset, allow_unsigned: self.allow_unsigned };
        let client = daemon::client(config);
        if self.dry_run {
            let plan = daemon::ask_about(&client, &service, client.plan_set(&service, &request))?;
            output.answer(&plan, || text(&service, &plan, true));
            return Ok(());
        }
        let set = daemon::ask_about(&client, &service, client.set(&service, &request))?;
        output.done(&set, || text(&service, &set, false));
        Ok(())
    }
}

fn text(service: &ServiceName, set: &ParamsSet, planned: bool) -> String {
    if set.live.is_empty() && set.loaded.is_empty() {
        return format!("{service} has these values already");
    }
    let first = match (&set.plan, planned) {
        (None, false) => format!("Set {service}; its programs run on"),
        (None, true) => {
            "Would write into variables of the programs that run; nothing was touched.".to_owned()
        }
        (Some(_), false) => format!("Set {service}, by a switch to the same package"),
        (Some(_), true) => {
            "Would switch to the same package, loaded again; nothing was touched.".to_owned()
        }
    };
    let mut lines = vec![first];
    lines.extend(changes(&set.live, ""));
    lines.extend(changes(&set.loaded, ", which only a load sets"));
    lines.extend(set.plan.iter().flat_map(upgrade::changes));
    lines.join("\n")
}

fn changes(of: &BTreeMap<String, ParamChange>, more: &str) -> impl Iterator<Item = String> {
    of.iter().map(move |(name, ParamChange { from, to })| {
        let said = |value: &Option<String>| match value {
            Some(value) => value.clone(),
            None => "the object's own".to_owned(),
        };
        format!("  {name}: {} → {}{more}", said(from), said(to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_on_is_told_from_what_is_loaded_again() {
        let service = "exec".parse().unwrap();
        let read = |text: &str| serde_json::from_str::<ParamsSet>(text).unwrap();
        let live = read(r#"{"live":{"rate":{"from":"1","to":"5"}},"loaded":{},"revision":1}"#);
        insta::assert_snapshot!(text(&service, &live, false), @"
        Set exec; its programs run on
          rate: 1 → 5
        ");
        let loaded = read(
            r#"{"live":{"rate":{"from":"5","to":null}},"loaded":{"pid":{"from":null,"to":"7"}},"revision":2,
                "plan":{"already":false,"maps":{},"hooks":[],"separately":[],"notes":["a note"]}}"#,
        );
        insta::assert_snapshot!(text(&service, &loaded, true), @"
        Would switch to the same package, loaded again; nothing was touched.
          rate: 5 → the object's own
          pid: the object's own → 7, which only a load sets
        a note
        ");
    }
}
