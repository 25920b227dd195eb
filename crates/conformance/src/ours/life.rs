//! Part 8.

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::life::{Entries, Interrupted, after_crash};

use super::{Answered, question, refused};

pub(super) fn recover(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(flatten)]
        interrupted: Interrupted,
        runs_new: bool,
    }
    let Asked { interrupted, runs_new } = question(input)?;
    Ok(json!({"way": after_crash(interrupted, runs_new)}))
}

pub(super) fn entries(input: &Value) -> Answered {
    let entries: Entries = question(input)?;
    let fate = entries.fate().map_err(|lost| refused(lost.code(), &lost))?;
    Ok(json!({"becomes": fate}))
}
