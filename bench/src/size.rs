//! Sizes of what is shipped, and whether it is static.

use std::process::Command;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::row::Row;

/// The three binaries.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, most) in [("skepd", Some(12.0)), ("skep", Some(20.0)), ("skep-hub", None)] {
        let path = place.ours(name);
        let size = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len()
            as f64
            / 1e6;
        let said = Command::new("ldd").arg(&path).output().context("run ldd")?;
        let said = [said.stdout, said.stderr].concat();
        let fixed = ["statically linked", "not a dynamic executable"]
            .iter()
            .any(|text| String::from_utf8_lossy(&said).contains(text));
        let row = Row::figure(&format!("{name}, stripped, MB"), size);
        rows.push(match most {
            Some(most) => row.goal(&format!("≤ {most} MB, static"), |_| size <= most && fixed),
            None => row.goal("static", |_| fixed),
        });
    }
    Ok(rows)
}
