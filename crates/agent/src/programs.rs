//! Programs over the socket: those of services to look at, all else root's.

use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use skep_api::{Instruction, ProgramRow, Programs, Stats, TestRun, TestRunResult};
use skep_object::disasm::text;
use skep_object::event::from_hex;
use skep_object::insn::{self, INSN_BYTES, Insn, PSEUDO_MAP_FD};
use skep_object::{ProgramKind, shown};
use skep_runtime::programs::{self, Counting, ProgramLine};

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::http::{Peer, Shared, read};
use crate::node::Node;

/// Longest that runs are counted for one request.
const LONGEST: Duration = Duration::from_secs(60);
/// Most runs of one request: they hold a processor.
const MOST_RUNS: u32 = 1_000_000;

/// What is asked of programs.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/programs", get(list))
        .route("/v1/programs/stats", get(stats))
        .route("/v1/programs/{id}/instructions", get(instructions))
        .route("/v1/programs/{id}/run", post(run))
}

async fn list(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    asked: Result<Query<Programs>, QueryRejection>,
) -> Result<Json<Vec<ProgramRow>>, NodeError> {
    let Query(asked) = asked?;
    if asked.all {
        peer.is_root("see what is no service's")?;
    }
    blocking(shared.node, move |node| rows(node, &asked)).await.map(Json)
}

fn rows(node: &Node, asked: &Programs) -> Result<Vec<ProgramRow>, NodeError> {
    Ok(node.programs(asked)?.into_iter().map(row).collect())
}

async fn stats(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    asked: Result<Query<Stats>, QueryRejection>,
) -> Result<Json<Vec<ProgramRow>>, NodeError> {
    peer.is_root("have runs counted")?;
    let Query(Stats { all, service, milliseconds }) = asked?;
    let asked = Programs { all, service };
    let time = Duration::from_millis(milliseconds.unwrap_or(1000)).min(LONGEST);
    let on = Counting::begin()?;
    let first = asked.clone();
    let before = blocking(shared.node.clone(), move |node| rows(node, &first)).await?;
    tokio::time::sleep(time).await;
    let mut after = blocking(shared.node, move |node| rows(node, &asked)).await?;
    drop(on);
    for row in &mut after {
        let Some(was) = before.iter().find(|was| was.id == row.id) else { continue };
        row.runs = row.runs.saturating_sub(was.runs);
        row.run_ns = row.run_ns.saturating_sub(was.run_ns);
        row.missed = row.missed.saturating_sub(was.missed);
    }
    Ok(Json(after))
}

async fn instructions(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    id: Result<Path<u32>, PathRejection>,
) -> Result<Json<Vec<Instruction>>, NodeError> {
    peer.is_root("see instructions")?;
    let Path(id) = id?;
    let read = move |_: &Node| Ok(programs::instructions(id)?);
    blocking(shared.node, read).await.map(|bytes| Json(listed(&bytes)))
}

fn listed(bytes: &[u8]) -> Vec<Instruction> {
    let insns: Vec<Insn> = insn::read(bytes, cfg!(target_endian = "big")).collect();
    let mut listed = Vec::new();
    let mut at = 0;
    while let Some(insn) = insns.get(at) {
        let count = if insn.is_ld_imm64() { 2 } else { 1 };
        let own = bytes.get(at * INSN_BYTES..).unwrap_or_default();
        let own = own.get(..count * INSN_BYTES).unwrap_or(own);
        listed.push(Instruction {
            at,
            bytes: to_hex(own),
            text: text(*insn, insns.get(at + 1).copied()),
            note: map_of(*insn),
        });
        at += count;
    }
    listed
}

/// The map whose number an instruction has, as the kernel shows it.
fn map_of(insn: Insn) -> Option<String> {
    let is_map = insn.is_ld_imm64() && insn.src == PSEUDO_MAP_FD;
    let id = insn.imm.cast_unsigned();
    is_map.then(|| match programs::map_name(id) {
        Some(name) => format!("map {} (id {id})", shown(&name)),
        None => format!("map with id {id}"),
    })
}

async fn run(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    id: Result<Path<u32>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TestRunResult>, NodeError> {
    peer.is_root("run programs")?;
    let (Path(id), TestRun { data, repeat }) = (id?, read(body)?);
    let data =
        from_hex(&data).ok_or_else(|| NodeError::Request("data is no hexadecimal".into()))?;
    let repeat = repeat.unwrap_or(1);
    if repeat > MOST_RUNS {
        return Err(NodeError::Request(format!("repeat is at most {MOST_RUNS}")));
    }
    let run = move |_: &Node| {
        let done = programs::test_run(id, &data, repeat)?;
        let run_ns = u64::try_from(done.duration.as_nanos()).unwrap_or(u64::MAX);
        let context = done.context.map(|bytes| to_hex(&bytes));
        Ok(TestRunResult { returned: done.retval, run_ns, context })
    };
    let done = blocking(shared.node, run).await?;
    tracing::info!(id, repeat, "root test-ran a program");
    Ok(Json(done))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row(line: ProgramLine) -> ProgramRow {
    let ProgramLine { info, name, service, generation } = line;
    ProgramRow {
        id: info.id,
        name,
        kind: ProgramKind::from(info.prog_type).to_string(),
        tag: info.tag.iter().map(|byte| format!("{byte:02x}")).collect(),
        service,
        generation,
        maps: info.map_ids,
        instructions: info.translated_bytes / INSN_BYTES as u32,
        machine_bytes: info.machine_bytes,
        verified: info.verified,
        runs: info.runs,
        run_ns: info.run_ns,
        missed: info.missed,
    }
}
