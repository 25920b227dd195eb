//! Splats: what a kernel prints when something in it went wrong.

/// What a splat's first line has.
const MARKS: [&str; 21] = [
    "WARNING: ",
    "BUG: ",
    "Oops",
    "Call Trace",
    "Call trace",
    "Kernel panic",
    "general protection",
    "Unable to handle",
    "soft lockup",
    "hard LOCKUP",
    "stall on",
    "stalls on",
    "stalled on",
    "blocked for more than",
    "cut here",
    "UBSAN",
    "KASAN",
    "KCSAN",
    "list_add corruption",
    "list_del corruption",
    "refcount_t",
];

/// Lines shown with each.
const LINES: usize = 14;

/// The splats of a console's text, from the line that has `from` on (all, without one).
pub fn find(console: &str, from: &str) -> Vec<String> {
    let lines: Vec<&str> = console.lines().collect();
    let first = lines.iter().position(|line| line.contains(from)).unwrap_or(0);
    let mut splats = Vec::new();
    let mut at = first;
    while at < lines.len() {
        if MARKS.iter().any(|mark| lines[at].contains(mark)) && !is_of_a_limit(&lines, at) {
            let end = (at + LINES).min(lines.len());
            splats.push(lines[at..end].join("\n"));
            at = end;
        } else {
            at += 1;
        }
    }
    splats
}

/// Whether a trace tells of a process that its cgroup had no memory for, which is no mistake of the kernel's.
fn is_of_a_limit(lines: &[&str], at: usize) -> bool {
    const BETWEEN: usize = 4; // the processor, the hardware
    let before = &lines[at.saturating_sub(BETWEEN)..at];
    let killed = lines[at..].iter().find(|line| line.contains("ut of memory: Killed process"));
    lines[at].contains("Call Trace")
        && before.iter().any(|line| line.contains("invoked oom-killer"))
        && killed.is_some_and(|line| line.contains("Memory cgroup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_splat_counts_from_the_start_of_the_command_on() {
        let console = "[1] WARNING: early\n[2] quiet\n[3] <start>\n[4] fine\n[5] Oops: int3\n[6] Call Trace:\n[7] x\n";
        assert_eq!(find(console, "<start>"), ["[5] Oops: int3\n[6] Call Trace:\n[7] x"]);
        assert_eq!(find(console, "absent").len(), 1);
        assert!(find("[1] all is well\n", "x").is_empty());
    }

    #[test]
    fn a_cgroup_that_is_full_is_no_splat_and_a_machine_that_is_is_one() {
        let console = |whose: &str| {
            format!(
                "[1] a invoked oom-killer: order=0\n[2] CPU: 0\n[3] Call Trace:\n[4]  dump_stack\n\
                 [5] {whose} of memory: Killed process 7 (a)\n"
            )
        };
        assert!(find(&console("Memory cgroup out"), "x").is_empty());
        assert_eq!(find(&console("Out"), "x").len(), 1);
        assert_eq!(
            find("[1] Call Trace:\n[2] Memory cgroup out of memory: Killed process 7\n", "x").len(),
            1
        );
    }
}
