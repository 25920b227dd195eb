//! Parts 5 and 6.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use skep_adapt::need::{self, Need, Verdict};
use skep_adapt::{Feature, KernelFacts, Support};
use skep_object::Facts;
use skep_object::permissions::{
    Power, hooks_at, powers_of_helper, powers_of_hook, powers_of_kfunc,
};
use skep_spec::manifest::Permissions;
use skep_spec::permission::{self, Touches};
use skep_spec::{Arch, Target};

use super::{Answered, Bytes, Failure, question, refused, unreadable};

pub(super) fn feature(input: &Value) -> Answered {
    let text = input.get("text").and_then(Value::as_str).ok_or_else(|| unreadable("no text"))?;
    let feature: Feature = text.parse().map_err(|error| refused("feature.text", &error))?;
    Ok(json!({"text": feature.to_string()}))
}

pub(super) fn derive(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        data: Bytes,
    }
    let Asked { data } = question(input)?;
    Ok(json!({"needs": need::of_object(&Facts::parse(&data.0)?)}))
}

pub(super) fn evaluate(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        needs: Vec<AskedNeed>,
        features: BTreeMap<String, Support>,
    }
    #[derive(Deserialize)]
    struct AskedNeed {
        any_of: Vec<String>,
        #[serde(default)]
        by: Vec<String>,
        #[serde(default)]
        optional: bool,
    }
    let Asked { needs, features } = question(input)?;
    let read = |text: &str| -> Result<Feature, Failure> {
        text.parse().map_err(|error| refused("feature.text", &error))
    };
    let mut kernel = KernelFacts::new("any", Arch::X86_64, 1);
    for (name, support) in features {
        kernel.learn(read(&name)?, support);
    }
    let mut asked = Vec::new();
    for need in needs {
        let any_of: Result<Vec<_>, _> = need.any_of.iter().map(|text| read(text)).collect();
        let by = need.by.into_iter().collect();
        asked.push(Need { any_of: any_of?, by, optional: need.optional });
    }
    let answers = need::ask(&asked, &kernel);
    let word = |support: &Support| match support {
        Support::Yes => "yes",
        Support::No => "no",
        Support::Unknown(_) => "unknown",
    };
    let verdict = match need::verdict(&answers) {
        Verdict::Runs => "runs",
        Verdict::Refuses(_) => "refuses",
        Verdict::Unknown(_) => "unknown",
    };
    Ok(json!({
        "answers": answers.iter().map(|answer| word(&answer.support)).collect::<Vec<_>>(),
        "with": answers.iter().map(|answer| answer.with.clone()).collect::<Vec<_>>(),
        "verdict": verdict,
    }))
}

#[derive(Deserialize)]
struct Check {
    permissions: Permissions,
    #[serde(flatten)]
    touches: Touches,
}

pub(super) fn check(input: &Value) -> Answered {
    let Check { permissions, touches } = question(input)?;
    permission::check(&permissions, &touches)?;
    Ok(json!({}))
}

pub(super) fn hooks(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        section: String,
        target: Option<String>,
        #[serde(default)]
        writes_registers: bool,
    }
    let Asked { section, target, writes_registers } = question(input)?;
    // What is no target of ours stays as it stands, as in an object.
    let own = || Ok(Target::of(&section));
    let target = target.map_or_else(own, |target| target.parse().map_err(unreadable))?;
    let hooks = hooks_at(&section, &target, writes_registers);
    let hooks: BTreeSet<String> = hooks.iter().map(ToString::to_string).collect();
    Ok(json!({"hooks": hooks}))
}

pub(super) fn powers(input: &Value) -> Answered {
    Ok(json!({"powers": powers_of(&question(input)?)?}))
}

fn powers_of(touches: &Touches) -> Result<Vec<String>, Failure> {
    let mut powers: Vec<Power> = Vec::new();
    for hook in &touches.hooks {
        let target: Target = hook.parse().map_err(unreadable)?;
        powers.extend(powers_of_hook(&target));
    }
    powers.extend(touches.helpers.iter().flat_map(|helper| powers_of_helper(helper)));
    powers.extend(touches.kfuncs.iter().flat_map(|kfunc| powers_of_kfunc(kfunc)));
    powers.sort();
    powers.dedup();
    let word = |power: &Power| match serde_json::to_value(power) {
        Ok(Value::String(word)) => Ok(word),
        _ => Err(unreadable("a power without a word")),
    };
    powers.iter().map(word).collect()
}

pub(super) fn compare(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        old: Touches,
        new: Touches,
    }
    let Asked { mut old, mut new } = question(input)?;
    old.powers = powers_of(&old)?;
    new.powers = powers_of(&new)?;
    serde_json::to_value(permission::compare(&old, &new)).map_err(unreadable)
}
