//! The steps, a line for each.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::numbered::{Generator, PARENT};
use crate::proof::{Bitmap, Tally};
use crate::stage::Stage;

/// Numbered events that pass while the upgrade happens.
const EVENTS: usize = 4000;

/// Plays the main job from a C file to a removed service.
pub async fn whole_way(stage: &mut Stage) -> Result<()> {
    let clock = Instant::now();
    let hub = stage.start_hub().await?;
    say("hub", &format!("skep-hub serves http://{hub} from SQLite and files in one folder"));
    publisher(stage, &hub).await?;
    stage.start_daemon().await?;
    say("node", "skepd listens on its Unix socket and trusts that key for skep/*");

    publish(stage, "examples/exec", "1.0.0").await?;
    let line = stage.skep(&["install", "skep/exec:1.0.0"]).await?;
    say("install", first_line(&line));
    watch(stage).await?;

    publish(stage, "examples/exec-2", "2.0.0").await?;
    let switch = upgrade(stage).await?;
    let line = stage.skep(&["rollback", "exec"]).await?;
    say("rollback", first_line(&line));
    check_counter(stage, "after the rollback").await?;

    let memory = stage.daemon_memory().unwrap_or_default();
    let line = stage.skep(&["remove", "exec"]).await?;
    say("remove", first_line(&line));
    nothing_left(stage)?;
    say("measured", &format!("{switch}; skepd {:.1} MB of its own", memory as f64 / 1e6));
    say("done", &format!("{:.1} s for the whole way", clock.elapsed().as_secs_f64()));
    Ok(())
}

/// A token to push with, a key to sign with, and a node that trusts it.
async fn publisher(stage: &Stage, hub: &str) -> Result<()> {
    let data = stage.folder.join("hub");
    let token =
        stage.hub_command(&["token", "new", "--publisher", "skep", "--data", text(&data)?]).await?;
    let token = token.lines().last().context("skep-hub printed no token")?;
    let login = serde_json::json!({"auths": {hub: {"username": "skep", "password": token,
        "auth": base64(&format!("skep:{token}"))}}});
    std::fs::write(stage.folder.join("docker/config.json"), login.to_string())?;
    let key = stage.folder.join("demo");
    stage.skep(&["key", "new", "-o", text(&key)?]).await?;
    let rule = stage
        .skep(&["key", "trust", "--packages", "skep/*", text(&stage.folder.join("demo.pub"))?])
        .await?;
    std::fs::write(stage.folder.join("config/trust.toml"), rule)?;
    say("publisher", "a push token for skep/*, and a new Ed25519 key");
    Ok(())
}

async fn publish(stage: &Stage, example: &str, version: &str) -> Result<()> {
    let clock = Instant::now();
    let project = stage.folder.join(version);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(example), &project)?;
    let layout = stage.folder.join(format!("{version}.oci"));
    let (project, layout, reference) =
        (text(&project)?, text(&layout)?, format!("skep/exec:{version}"));
    stage.skep(&["build", "--btf", "host", project]).await?;
    let built = clock.elapsed();
    stage.skep(&["pack", project, "-o", layout]).await?;
    let key = stage.folder.join("demo.key");
    stage.skep(&["sign", "--key", text(&key)?, layout]).await?;
    stage.skep(&["push", layout, &reference]).await?;
    let took = format!("built in {} ms, packed, signed and pushed in {} ms", built.as_millis(), {
        (clock.elapsed() - built).as_millis()
    });
    say("publish", &format!("{reference} from {example}: {took}"));
    Ok(())
}

/// Ten real process events, as a person would see them.
async fn watch(stage: &Stage) -> Result<()> {
    let mut command = stage.skep_command(&["events", "-f", "exec", "--events", "10"]);
    let events = command.kill_on_drop(true).output();
    let some = async {
        loop {
            tokio::process::Command::new("/bin/true").status().await?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let output = tokio::select! {
        output = events => output.context("run skep events")?,
        failed = some => return failed,
    };
    ensure!(
        output.status.success(),
        "skep events failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    say("events", "ten programs that started just now");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        print_line(&format!("             {line}"));
    }
    Ok(())
}

async fn upgrade(stage: &Stage) -> Result<String> {
    let generator = Generator::start(EVENTS)?;
    until(&generator, EVENTS / 3).await;
    let clock = Instant::now();
    let line = stage.skep(&["upgrade", "exec", "skep/exec:2.0.0"]).await?;
    let took = clock.elapsed();
    let still = generator.started() < EVENTS;
    until(&generator, EVENTS).await;
    let numbers = generator.finish()?;
    ensure!(still, "the upgrade outlasted the generator, so it proves nothing");
    say("upgrade", first_line(&line));
    let maps = stage.bpffs.join("exec/maps");
    let tally = Tally::of(
        &numbers,
        &Bitmap::read(&maps.join("seen@1"))?,
        &Bitmap::read(&maps.join("seen@2"))?,
    );
    say(
        "proof",
        &format!("{} events, {} lost, {} doubled", numbers.len(), tally.lost, tally.doubled),
    );
    say(
        "",
        &format!(
            "{} by version 1, {} by version 2, from a bitmap per version",
            tally.first, tally.second
        ),
    );
    ensure!(tally.lost == 0 && tally.doubled == 0, "the upgrade was not exact");
    ensure!(tally.first > 0 && tally.second > 0, "one of the two versions saw nothing");
    check_counter(stage, "after the upgrade").await?;
    Ok(format!("upgrade command {} ms while events ran", took.as_millis()))
}

/// The counter must hold exactly the numbered events.
async fn check_counter(stage: &Stage, when: &str) -> Result<()> {
    let shown: Value =
        serde_json::from_str(&stage.skep(&["show", "exec", "--output", "json"]).await?)?;
    let count = counter(&shown).with_context(|| format!("no count for {PARENT} in {shown}"))?;
    say("counter", &format!("{count} programs started by '{PARENT}' {when}: exact"));
    if count != EVENTS as u64 {
        bail!("the counter should be {EVENTS}, not {count}, {when}");
    }
    Ok(())
}

fn counter(shown: &Value) -> Option<u64> {
    let rows = shown.pointer("/counters/execs")?.as_array()?;
    let row =
        rows.iter().find(|row| row.pointer("/key/comm").and_then(Value::as_str) == Some(PARENT))?;
    row.pointer("/value/execs")?.as_u64()
}

async fn until(generator: &Generator, count: usize) {
    while generator.started() < count && generator.running() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

fn nothing_left(stage: &Stage) -> Result<()> {
    let left = stage.bpffs.join("exec");
    ensure!(!left.exists(), "{} is still there", left.display());
    say("", "no pin, program, map or link of it is left");
    Ok(())
}

fn say(step: &str, what: &str) {
    print_line(&format!("{step:>10}   {what}"));
}

/// A reader that went away is no reason to stop halfway.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let (entry, to) = (entry?, to.to_owned());
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
