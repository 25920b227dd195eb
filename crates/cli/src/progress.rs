//! How far a transfer is, on standard error while it goes on: a bar on a terminal, a line now and then elsewhere.

use std::time::Duration;

use skep_oci::registry::Progress;
use tokio::time::Instant;

use crate::output::{Output, bytes};

/// How often a bar moves.
const BAR: Duration = Duration::from_millis(100);
/// How often a line is printed: whoever waits, or reads a log later, sees that it goes on.
const LINE: Duration = Duration::from_secs(10);
/// Characters of a bar, at most.
const BAR_MAX: usize = 40;

/// Does `work`, and shows meanwhile how far it is; `what` begins the line: `Pulling acme/exec:1.0.0`. Programs, and whoever
/// wants quiet, see nothing.
pub async fn shown<T>(
    output: &Output,
    progress: &Progress,
    what: &str,
    work: impl Future<Output = T>,
) -> T {
    if output.is_quiet() || output.is_json() {
        return work.await;
    }
    let view = output.watcher().map_or(View::Lines, |width| View::Bar { width });
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval_at(view.first(), view.pace());
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                output.passing(&view.end());
                return done;
            }
            _ = ticks.tick() => output.passing(&view.text(what, progress)),
        }
    }
}

/// Where it is shown.
enum View {
    /// On a terminal with lines of so many characters.
    Bar {
        width: usize,
    },
    Lines,
}

impl View {
    fn first(&self) -> Instant {
        match self {
            Self::Bar { .. } => Instant::now(),
            Self::Lines => Instant::now() + LINE,
        }
    }

    const fn pace(&self) -> Duration {
        match self {
            Self::Bar { .. } => BAR,
            Self::Lines => LINE,
        }
    }

    fn text(&self, what: &str, progress: &Progress) -> String {
        let (expected, done) = (progress.expected(), progress.done());
        match self {
            Self::Bar { width } => over(&bar(what, done, expected, *width), *width),
            Self::Lines => format!("{what}{}\n", so_far(done, expected)),
        }
    }

    /// A bar leaves nothing behind.
    fn end(&self) -> String {
        match self {
            Self::Bar { width } => over("", *width) + "\r",
            Self::Lines => String::new(),
        }
    }
}

/// A line over the last one.
fn over(line: &str, width: usize) -> String {
    format!("\r{line:0$}", width.saturating_sub(1))
}

/// `: 12 MiB of 64 MiB`, or nothing while nobody knows.
fn so_far(done: u64, expected: u64) -> String {
    match expected {
        0 => String::new(),
        _ => format!(": {} of {}", bytes(done.min(expected)), bytes(expected)),
    }
}

/// One line of at most `width` characters; as long as it is not full, the cursor stays in it.
fn bar(what: &str, done: u64, expected: u64, width: usize) -> String {
    let text = format!("{what}{}", so_far(done, expected));
    let room = width.saturating_sub(text.chars().count() + " []".len() + 1).min(BAR_MAX);
    if expected == 0 || room < 8 {
        return text.chars().take(width.saturating_sub(1)).collect();
    }
    let share = u128::from(done.min(expected)) * room as u128 / u128::from(expected);
    let full = usize::try_from(share).unwrap_or(room);
    format!("{text} [{}{}]", "#".repeat(full), "-".repeat(room - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_it_is_and_fits() {
        let shown = |done: u64, width| bar("Pulling acme/exec:1.0.0", done << 20, 64 << 20, width);
        assert_eq!(
            shown(0, 70),
            "Pulling acme/exec:1.0.0: 0 B of 64 MiB [----------------------------]"
        );
        assert_eq!(
            shown(32, 70),
            "Pulling acme/exec:1.0.0: 32 MiB of 64 MiB [############-------------]"
        );
        assert_eq!(shown(99, 56), "Pulling acme/exec:1.0.0: 64 MiB of 64 MiB [###########]");
        for width in 0..300 {
            assert!(shown(40, width).chars().count() <= width.saturating_sub(1), "{width}");
        }
        assert!(shown(40, 300).ends_with(&format!("[{}{}]", "#".repeat(25), "-".repeat(15))));
        assert_eq!(shown(40, 46), "Pulling acme/exec:1.0.0: 40 MiB of 64 MiB");
        assert_eq!(bar("Pulling x", 0, 0, 80), "Pulling x", "nobody knows yet");
    }
}
