//! What an upgrade exports no more, or to fewer, is closed with its switch, and open again with a rollback.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use skep_kernel::MapHandle;
use skep_runtime::Runtime;
use skep_runtime::pins::Pins;
use skep_spec::manifest::Export;

use super::{Job, Place, flows, name, open, refused, request};
use crate::equal::{equal, text};
use crate::objects::verified;
use crate::tests::Outcome;

/// Changes it to a version that exports its map so, or not.
fn upgrade(runtime: &mut Runtime, job: &Job, version: &str, export: &Value) -> Result<(), String> {
    let mut package = flows(job, version)?.into_inner();
    let export: Option<Export> = serde_json::from_value(export.clone()).map_err(text)?;
    package.manifest.map.get_mut("flows").ok_or("no map")?.export = export;
    let (package, request) = (verified(package), request(job, "flows"));
    match runtime.names().is_empty() {
        true => runtime.install(&package, &request).map(drop).map_err(text),
        false => runtime.upgrade(&package, &request).map(drop).map_err(text),
    }
}

/// The mode and the group of the exported pin, if there is one: it is of the map that runs.
fn exported(place: &Place) -> Result<Option<(u32, u32)>, String> {
    let pins = Pins::new(&place.dirs().bpffs, &name("flows"));
    let Ok(pin) = fs::metadata(pins.export("flows")) else { return Ok(None) };
    let id = |path| MapHandle::open_pinned(path).map(|map| map.info().id).map_err(text);
    equal("the exported map", id(&pins.export("flows"))?, id(&pins.map("flows", 1))?)?;
    Ok(Some((pin.mode() & 0o777, pin.gid())))
}

pub fn exports(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    let wide = json!({ "mode": "0660", "group": "daemon" });
    upgrade(&mut runtime, &job, "1.0.0", &wide)?;
    equal("the first", exported(place)?, Some((0o660, 1)))?;
    // Not at all, and back.
    upgrade(&mut runtime, &job, "1.1.0", &Value::Null)?;
    equal("none", exported(place)?, None)?;
    runtime.rollback(&name("flows")).map_err(text)?;
    equal("the first again", exported(place)?, Some((0o660, 1)))?;
    // To nobody's group, and to fewer of another.
    upgrade(&mut runtime, &job, "1.1.0", &json!({ "mode": "0660" }))?;
    equal("no group", exported(place)?, Some((0o660, 0)))?;
    upgrade(&mut runtime, &job, "2.0.0", &json!({ "mode": "0440", "group": "daemon" }))?;
    equal("fewer", exported(place)?, Some((0o440, 1)))?;
    runtime.rollback(&name("flows")).map_err(text)?;
    equal("no group again", exported(place)?, Some((0o660, 0)))?;
    // A map that somebody uses stays exported.
    let before = exported(place)?;
    runtime.install(&super::app(&job, "1.0.0")?, &request(&job, "app")).map_err(text)?;
    let mut package = flows(&job, "1.2.0")?.into_inner();
    package.manifest.map.get_mut("flows").ok_or("no map")?.export = None;
    let refusal = runtime.upgrade(&verified(package), &request(&job, "flows"));
    refused(refusal, "app needs it: it uses the map 'flows', which 1.2.0 does not export")?;
    equal("still there", exported(place)?, before)?;
    runtime.remove(&name("app")).map_err(text)?;
    runtime.remove(&name("flows")).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("closed with the switch".to_owned())
}
