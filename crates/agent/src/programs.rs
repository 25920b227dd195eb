//! Programs over the socket: those of services to look at, all else root's.

use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use skep_api::{Code, CodeOf, Instruction, ProgramRow, Programs, Stats, TestRun, TestRunResult};
use skep_object::disasm::text;
use skep_object::event::from_hex;
use skep_object::insn::{self, INSN_BYTES, Insn, PSEUDO_MAP_FD};
use skep_object::{ProgramKind, shown};
use skep_runtime::programs::{self, Counted, Counting, ProgramLine, Uncounted};

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
        .route("/v1/programs/{id}/code", get(code))
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
        since(row, before.iter().find(|was| was.id == row.id));
    }
    Ok(Json(after))
}

/// Leaves of a row what came after `was`, which is none where the program came later.
fn since(row: &mut ProgramRow, was: Option<&ProgramRow>) {
    let by_stub = |row: &ProgramRow| row.runs.and(row.counted_by);
    if row.runs.is_some() && was.and_then(by_stub) != by_stub(row) {
        // Of the runs on its hook some were another version's.
        (row.runs, row.run_ns, row.counted_by) = (None, None, None);
        row.uncounted = Some("its service switched meanwhile".to_owned());
    }
    let less = |now: Option<u64>, was: Option<u64>| Some(now?.saturating_sub(was.unwrap_or(0)));
    row.runs = less(row.runs, was.and_then(|was| was.runs));
    row.run_ns = less(row.run_ns, was.and_then(|was| was.run_ns));
    row.missed = row.missed.saturating_sub(was.map_or(0, |was| was.missed));
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

async fn code(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    id: Result<Path<u32>, PathRejection>,
    of: Result<Query<CodeOf>, QueryRejection>,
) -> Result<Json<Code>, NodeError> {
    peer.is_root("see instructions")?;
    let (Path(id), Query(CodeOf { jited })) = (id?, of?);
    let read = move |_: &Node| {
        Ok(if jited { programs::machine_code(id)? } else { programs::instructions(id)? })
    };
    blocking(shared.node, read).await.map(|bytes| Json(Code { bytes: to_hex(&bytes) }))
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
    let ProgramLine { info, name, service, generation, counted } = line;
    let (runs, counted_by, uncounted) = match counted {
        Counted::Itself => (Some((info.runs, info.run_ns)), None, None),
        Counted::Stub { id, runs, run_ns } => (Some((runs, run_ns)), Some(id), None),
        Counted::Nothing(why) => (None, None, Some(said(why).to_owned())),
    };
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
        runs: runs.map(|(runs, _)| runs),
        run_ns: runs.map(|(_, ns)| ns),
        counted_by,
        uncounted,
        missed: info.missed,
    }
}

const fn said(why: Uncounted) -> &'static str {
    match why {
        Uncounted::NotActive => {
            "its generation is not active: the stub on its hook calls another one"
        }
        Uncounted::Called => "other programs call it, and the kernel counts only theirs",
        Uncounted::Extension => {
            "it stands for a function of another program, whose runs the kernel counts"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(runs: Option<u64>, by: Option<u32>) -> ProgramRow {
        let row = serde_json::json!({
            "id": 7, "name": "p", "kind": "xdp", "tag": "", "maps": [], "instructions": 1, "machine_bytes": 1,
            "verified": 1, "runs": runs, "run_ns": runs, "counted_by": by, "missed": 0,
        });
        serde_json::from_value(row).unwrap()
    }

    fn left(
        was: Option<(Option<u64>, Option<u32>)>,
        now: (Option<u64>, Option<u32>),
    ) -> Option<u64> {
        let mut row = counted(now.0, now.1);
        let was = was.map(|(runs, by)| counted(runs, by));
        since(&mut row, was.as_ref());
        assert_eq!(row.runs, row.run_ns);
        row.runs
    }

    #[test]
    fn runs_of_a_while_are_of_one_version() {
        assert_eq!(left(Some((Some(5), None)), (Some(8), None)), Some(3));
        assert_eq!(left(Some((Some(5), Some(1))), (Some(8), Some(1))), Some(3));
        assert_eq!(left(None, (Some(8), None)), Some(8));
        // It became active, or stopped being so: whose runs the stub's are, nobody can say.
        assert_eq!(left(Some((None, None)), (Some(8), Some(1))), None);
        assert_eq!(left(None, (Some(8), Some(1))), None);
        assert_eq!(left(Some((Some(5), Some(1))), (None, None)), None);
    }
}
