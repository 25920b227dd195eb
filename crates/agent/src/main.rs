//! `skepd`: the node's daemon.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use skep_agent::config::{Args, Config};
use skep_agent::node::Node;
use skep_agent::notify::Notify;
use skep_agent::packages::Shelf;
use skep_agent::{doctor, ending, ephemeral, hold, kernel_types, server, socket};
use skep_kernel::mounts;
use skep_runtime::{Dirs, Faults, Recovery, Runtime, RuntimeError};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list_faults {
        Faults::ALL.iter().for_each(|point| println!("{point}"));
        return ExitCode::SUCCESS;
    }
    if args.doctor {
        let findings = serde_json::to_string(&doctor::findings(&args));
        println!("{}", findings.unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    if args.ephemeral {
        return ephemeral::serve_standard_input(kernel_types::own(&args.config_dir));
    }
    if let Err(why) = log(&args.log) {
        eprintln!(
            "skepd: --log '{}' is no filter: {why}; give a level (info) or levels by module (skep_runtime=debug)",
            args.log
        );
        return ExitCode::from(2);
    }
    let ended = match args.hold {
        true => hold::run(&args.socket).context("can't hold attachments"),
        false => run(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skepd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    Ok(())
}

fn run(args: &Args) -> Result<()> {
    if !skep_kernel::process::is_root() {
        bail!("it loads programs into the kernel, which is root's: start it as root");
    }
    socket::check(&args.socket)?; // before anything is touched
    let config = Config::read(args)?;
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start threads")?;
    let entered = threads.enter();
    let end = ending::stopped().context("can't wait for signals")?; // of a start too: it is ended first
    drop(entered);
    let shelf = Shelf::open(&args.state_dir, &args.config_dir, config.clone())
        .map_err(|error| anyhow::anyhow!(error.text()))?;
    let faults = args.fault.as_deref().map_or(Ok(Faults::none()), Faults::arm)?;
    let (state, bpffs) = (args.state_dir.clone(), args.bpffs_dir.clone());
    let dirs = Dirs { state, bpffs, btf: kernel_types::own(&args.config_dir) };
    let me = std::env::current_exe().context("can't find this program's own path")?;
    let holder = hold::Client::new(&me, &args.socket);
    let opened = Runtime::open(dirs, Box::new(shelf.clone()), Some(Box::new(holder)), faults);
    let (runtime, recovery) = opened.map_err(explained)?;
    report(&recovery);
    let lasts = lasts(&args.bpffs_dir, recovery.mounted);
    let node = Node::new(runtime, shelf, config.hub);
    node.tell_recovery(&recovery);
    threads.block_on(async {
        let listener = socket::listen(&args.socket)?;
        tracing::info!(socket = %args.socket.display(), "skepd listens");
        tokio::spawn(server::go_on(node.clone()));
        let notify = Notify::from_environment();
        notify.tell("READY=1");
        let alive = tokio::spawn(notify.clone().be_alive());
        let end = async move {
            end.await;
            notify.tell("STOPPING=1");
        };
        let served = server::serve(listener, node, end).await.context("serve the socket");
        alive.abort();
        served
    })?;
    threads.shutdown_background(); // a name that is still looked up holds nobody up
    let _ = std::fs::remove_file(&args.socket);
    match lasts {
        true => tracing::info!("skepd ends; what is attached stays"),
        false => tracing::warn!("skepd ends; what is attached goes with this mount namespace"),
    }
    Ok(())
}

fn explained(error: RuntimeError) -> anyhow::Error {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    let text = format!("{:#}{hint}", anyhow::Error::from(error));
    anyhow::anyhow!(text)
}

fn report(recovery: &Recovery) {
    for service in &recovery.adopted {
        tracing::info!(%service, "adopted: it ran on");
    }
    for (service, why) in &recovery.lost {
        tracing::error!(%service, "lost: {why}; it is loaded again from its package, and what its maps held is gone");
    }
    for pin in &recovery.pinned_again {
        tracing::warn!(pin = %pin.display(), "pinned again: somebody had removed the pin, and nothing else was lost");
    }
    for service in &recovery.started {
        tracing::info!(%service, "started again");
    }
    for service in &recovery.stopped {
        tracing::info!(%service, "stopped: it waits for skep start");
    }
    for hook in &recovery.reattached {
        tracing::warn!(%hook, "attached again: nothing was attached there any more, and its events were lost until now");
    }
    for (service, why) in &recovery.failed {
        tracing::error!(%service, why, "does not run; each start tries again, and skep remove gives it up");
    }
    for (service, why) in &recovery.partly {
        tracing::error!(%service, why, "runs, but not as a whole; each start tries again");
    }
    for (service, generation) in &recovery.generations_lost {
        tracing::warn!(%service, "a generation that does not run is gone, and there is no way back to it: {generation}");
    }
    for (service, why) in &recovery.aside {
        tracing::error!(%service, why, "half done, and neither finished nor undone; each start tries again, and skep remove gives it up");
    }
    for interrupted in &recovery.interrupted {
        let outcome = if interrupted.finished { "finished" } else { "undone" };
        tracing::warn!(service = %interrupted.service, op = ?interrupted.op, outcome, "an interrupted operation");
    }
    let Recovery { adopted, started, stopped, partly, failed, aside, .. } = recovery;
    let (adopted, started, partly) = (adopted.len(), started.len(), partly.len());
    tracing::info!(
        adopted,
        started,
        stopped = stopped.len(),
        partly,
        failed = failed.len(),
        half_done = aside.len(),
        "services"
    );
}

/// Whether the bpffs stays when skepd ends, as far as can be known. Where it does not, that is said.
fn lasts(path: &Path, mounted: bool) -> bool {
    let bpffs = path.display();
    if !mounts::init_has(path).unwrap_or(true) {
        tracing::warn!(
            "the bpffs at {bpffs} is of this mount namespace alone, and all that is attached goes with the last process in it: \
             start skepd outside of it (nsenter --net=/run/netns/NAME skepd instead of ip netns exec NAME skepd), \
             or give a --bpffs-dir on a bpffs that process 1 has mounted too"
        );
        return false;
    }
    if mounted && !mounts::in_first_pid_namespace().unwrap_or(true) {
        tracing::warn!(
            "there was no bpffs in this container, and the one that skepd mounted goes with it, and with it all that is attached: \
             give the container the machine's own, such as --volume /sys/fs/bpf:/sys/fs/bpf"
        );
        return false;
    }
    true
}
