//! `/p/publisher/name[/version]`: all about a package.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use skep_object::shown;

use super::answer::{Failure, not_found, page};
use super::{Frame, readme, words};
use crate::Hub;
use crate::catalogue::{Touch, by_version, touches};
use crate::listing::{
    Listing, MapListing, ObjectListing, OutputListing, ParameterListing, ProgramListing,
};
use crate::name::Repository;
use crate::store::Release;

#[derive(Template)]
#[template(path = "package.html")]
struct Package {
    frame: Frame,
    name: String,
    publisher: String,
    short: String,
    version: String,
    newer: Option<String>,
    summary: String,
    license: String,
    architectures: Vec<String>,
    digest: String,
    published: String,
    day: String,
    size: String,
    memory: String,
    touches: Vec<Touch>,
    undeclared: BTreeSet<String>,
    loose: u64,
    readme: String,
    objects: Vec<Object>,
    outputs: Vec<OutputListing>,
    parameters: Vec<ParameterListing>,
    signatures: Vec<String>,
    versions: Vec<Version>,
}

/// An object, whose builds for several architectures show the same programs and maps.
struct Object {
    name: String,
    builds: String,
    license: String,
    programs: Vec<Program>,
    maps: Vec<Map>,
    memory: String,
}

struct Program {
    name: String,
    target: String,
    instructions: String,
    summary: String,
    calls: Vec<String>,
}

struct Map {
    name: String,
    kind: String,
    key: String,
    value: String,
    entries: String,
    memory: String,
    upgrade: String,
}

struct Version {
    href: String,
    version: String,
    current: bool,
    published: String,
    day: String,
    size: String,
    architectures: String,
    digest: String,
    short_digest: String,
}

/// `GET /p/{publisher}/{name}`: the newest version.
pub async fn newest(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    Path((publisher, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    show(&hub, &headers, &format!("{publisher}/{name}"), None).await
}

/// `GET /p/{publisher}/{name}/{version}`.
pub async fn version(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    Path((publisher, name, version)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    show(&hub, &headers, &format!("{publisher}/{name}"), Some(&version)).await
}

async fn show(
    hub: &Hub,
    headers: &HeaderMap,
    name: &str,
    version: Option<&str>,
) -> Result<Response, Failure> {
    let nothing = |title: &str, text: &str| Ok(not_found(hub, headers, title, text));
    let Ok(repository) = name.parse::<Repository>() else {
        return nothing("There is no such package", "Packages are called publisher/name.");
    };
    let releases = by_version(hub.store.releases(&repository).await?);
    let Some(first) = releases.first() else {
        return nothing("There is no such package", "Nobody has published it on this hub.");
    };
    let tag = version.map_or_else(|| first.tag.clone(), |version| version.replace('+', "_"));
    let Some(release) = releases.iter().find(|release| release.tag == tag) else {
        return nothing("There is no such version", "The package has others.");
    };
    let listing = match release.tag.parse() {
        Ok(tag) => hub.store.listing(&repository, &tag).await?,
        Err(_) => None,
    };
    let Some(listing) = listing else {
        return nothing("There is no such version", "It was deleted just now.");
    };
    let signatures = hub.store.signatures(&repository, &release.digest).await?;
    let signatures = signatures.into_iter().map(|signature| signature.key_id).collect();
    page(&package(Frame::new(hub, headers), release, &releases, listing, signatures))
}

fn package(
    frame: Frame,
    release: &Release,
    releases: &[Release],
    listing: Listing,
    signatures: Vec<String>,
) -> Package {
    let (publisher, short) = release.repository.split_once('/').unwrap_or(("", ""));
    let newest = releases.first().filter(|newest| newest.tag != release.tag);
    let objects = objects(&listing);
    let first = listing.objects.first().map(|object| object.architecture);
    let maps = listing.objects.iter().filter(|object| Some(object.architecture) == first);
    Package {
        frame,
        name: release.repository.clone(),
        publisher: publisher.to_owned(),
        short: short.to_owned(),
        version: listing.version.to_string(),
        newer: newest.map(Release::version),
        summary: shown(listing.summary.as_deref().unwrap_or_default()).into_owned(),
        license: listing.license.clone(),
        architectures: listing.architectures().iter().map(ToString::to_string).collect(),
        digest: release.digest.clone(),
        published: release.published.clone(),
        day: words::day(&release.published),
        size: words::size(release.size.unsigned_abs()),
        memory: memory(maps.flat_map(|object| &object.maps)),
        touches: touches(&listing),
        readme: listing.readme.as_deref().map(readme::render).unwrap_or_default(),
        objects,
        undeclared: listing.undeclared(),
        loose: listing.loose(),
        outputs: listing.outputs,
        parameters: listing.parameters,
        signatures,
        versions: releases.iter().map(|other| row(other, release)).collect(),
    }
}

/// Objects by name and content, each with its architectures.
fn objects(listing: &Listing) -> Vec<Object> {
    let mut groups: Vec<Vec<&ObjectListing>> = Vec::new();
    for object in &listing.objects {
        let same = |group: &&mut Vec<&ObjectListing>| {
            group.first().is_some_and(|first| {
                first.name == object.name
                    && first.programs == object.programs
                    && first.maps == object.maps
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(object),
            None => groups.push(vec![object]),
        }
    }
    groups.into_iter().filter_map(|group| view(&group)).collect()
}

fn view(group: &[&ObjectListing]) -> Option<Object> {
    let first = group.first()?;
    let build =
        |object: &&ObjectListing| format!("{} {}", object.architecture, words::size(object.size));
    Some(Object {
        name: first.name.clone(),
        builds: group.iter().map(build).collect::<Vec<_>>().join(", "),
        license: first.license.clone().unwrap_or_default(),
        programs: first.programs.iter().map(program).collect(),
        maps: first.maps.iter().map(map).collect(),
        memory: memory(first.maps.iter()),
    })
}

fn program(program: &ProgramListing) -> Program {
    let helpers = words::counted(program.helpers.len(), "helper");
    let summary = match program.kfuncs.len() {
        0 => helpers,
        kfuncs => format!("{helpers}, {}", words::counted(kfuncs, "kernel function")),
    };
    Program {
        name: program.name.clone(),
        target: program.target.clone(),
        instructions: words::counted(program.instructions, "instruction"),
        summary,
        calls: program.helpers.iter().chain(&program.kfuncs).cloned().collect(),
    }
}

fn memory<'a>(maps: impl Iterator<Item = &'a MapListing>) -> String {
    let (once, per_cpu) = maps.fold((0_u64, 0_u64), |(once, per_cpu), map| {
        (once.saturating_add(map.memory), per_cpu.saturating_add(map.memory_per_cpu))
    });
    words::memory(once, per_cpu)
}

fn map(map: &MapListing) -> Map {
    let bytes = |size: u32| if size == 0 { "–".to_owned() } else { format!("{size} B") };
    Map {
        name: map.name.clone(),
        kind: map.kind.clone(),
        key: bytes(map.key_size),
        value: bytes(map.value_size),
        entries: if map.value_size == 0 { "–".into() } else { words::count(map.max_entries) },
        memory: words::memory(map.memory, map.memory_per_cpu),
        upgrade: map.upgrade.clone().unwrap_or_else(|| "keep".into()),
    }
}

fn row(release: &Release, shown: &Release) -> Version {
    Version {
        href: format!("/p/{}/{}", release.repository, release.tag),
        version: release.version(),
        current: release.tag == shown.tag,
        published: release.published.clone(),
        day: words::day(&release.published),
        size: words::size(release.size.unsigned_abs()),
        architectures: release.architectures.replace(' ', ", "),
        digest: release.digest.clone(),
        short_digest: words::short_digest(&release.digest),
    }
}
