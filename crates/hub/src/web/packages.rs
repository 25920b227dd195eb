//! `/`: the list of packages, searched.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use skep_object::shown;

use super::answer::{Failure, page};
use super::{Frame, words};
use crate::Hub;
use crate::catalogue::{Severity, newest, touches};
use crate::name::Repository;
use crate::store::Release;

/// Cards on a page.
const CARDS: usize = 24;

#[derive(Deserialize)]
pub struct Search {
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: String,
}

#[derive(Template)]
#[template(path = "packages.html")]
struct Packages {
    frame: Frame,
    total: String,
    page: usize,
    more: bool,
    cards: Vec<Card>,
}

struct Card {
    href: String,
    publisher: String,
    short: String,
    version: String,
    summary: String,
    severity: &'static str,
    hooks: BTreeSet<String>,
    signatures: i64,
    license: String,
    architectures: String,
    published: String,
    day: String,
}

/// `GET /?q=&page=`.
pub async fn show(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Response, Failure> {
    let (query, number) = search.map_or_else(
        |_| Default::default(),
        |Query(search)| (search.q.chars().take(200).collect::<String>(), search.page),
    );
    let number = number.parse::<usize>().unwrap_or(1).clamp(1, 10_000);
    let mut names = hub.store.find_packages(&query, (number - 1) * CARDS, CARDS + 1).await?;
    let more = names.len() > CARDS;
    names.truncate(CARDS);
    let mut cards = Vec::new();
    for name in names {
        cards.extend(card(&hub, &name).await?);
    }
    let total = words::count(hub.store.count_packages().await?.unsigned_abs());
    let frame = Frame { query, ..Frame::new(&hub, &headers) };
    page(&Packages { frame, total, page: number, more, cards })
}

async fn card(hub: &Hub, name: &str) -> Result<Option<Card>, Failure> {
    let Ok(repository) = name.parse::<Repository>() else { return Ok(None) };
    let Some(release) = newest(hub.store.releases(&repository).await?) else { return Ok(None) };
    let Some(tag) = release.tag.parse().ok() else { return Ok(None) };
    let Some(listing) = hub.store.listing(&repository, &tag).await? else { return Ok(None) };
    let hooks = listing.objects.iter().flat_map(|object| &object.programs);
    let hooks = hooks.map(|program| program.hook.clone()).collect();
    let deepest = touches(&listing).first().map_or(Severity::Watches, |touch| touch.severity);
    Ok(Some(of(release, listing.version.to_string(), hooks, deepest)))
}

fn of(release: Release, version: String, hooks: BTreeSet<String>, deepest: Severity) -> Card {
    let (publisher, short) = release.repository.split_once('/').unwrap_or(("", ""));
    Card {
        href: format!("/p/{}", release.repository),
        publisher: publisher.to_owned(),
        short: short.to_owned(),
        version,
        summary: shown(&release.summary).into_owned(),
        severity: deepest.as_str(),
        hooks: hooks.into_iter().take(4).collect(),
        signatures: release.signatures,
        license: release.license,
        architectures: release.architectures.replace(' ', ", "),
        day: words::day(&release.published),
        published: release.published,
    }
}
