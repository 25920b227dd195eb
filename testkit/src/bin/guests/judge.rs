//! Whether a guest passed.

use skep_kit::guest::Outcome;

/// What became of the tests in one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub passed: usize,
    pub failed: usize,
    /// Why it is not good; empty if it is.
    pub faults: Vec<String>,
}

/// A guest passes if its program did, counted at least one test, and the kernel kept quiet.
pub fn judge(outcome: &Outcome) -> Verdict {
    let mut verdict = Verdict::default();
    for line in outcome.output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        verdict.passed += number(line, " passed");
        verdict.failed += number(line, " failed");
    }
    verdict.faults = match outcome.status {
        Some(0) if verdict.passed == 0 => vec!["it counted no test".to_owned()],
        Some(0) => Vec::new(),
        Some(status) => vec![format!("exit status {status}")],
        None => vec![format!(
            "it ended, or ran into its time limit after {:.0} s, before the program did",
            (outcome.boot + outcome.run).as_secs_f64()
        )],
    };
    verdict.faults.extend(outcome.splats.iter().map(|splat| format!("a splat:\n{splat}")));
    if !verdict.faults.is_empty() {
        verdict.failed = verdict.failed.max(1);
    }
    verdict
}

/// The number before `what`.
fn number(line: &str, what: &str) -> usize {
    let before = line.split(what).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(status: Option<i32>, output: &str, splats: &[&str]) -> Outcome {
        Outcome {
            status,
            output: output.to_owned(),
            splats: splats.iter().map(|splat| (*splat).to_owned()).collect(),
            retries: 0,
            boot: Duration::ZERO,
            run: Duration::ZERO,
        }
    }

    #[test]
    fn only_what_ran_and_was_quiet_passes() {
        let good = "test a ... ok\ntest result: ok. 12 passed; 0 failed; 0 ignored\n";
        let bad = "test result: FAILED. 10 passed; 2 failed; 0 ignored\n";
        let counts = |status, output, splats| {
            let verdict = judge(&outcome(status, output, splats));
            (verdict.passed, verdict.failed, verdict.faults.len())
        };
        assert_eq!(counts(Some(0), good, &[]), (12, 0, 0));
        assert_eq!(counts(Some(0), good, &["WARNING: x"]), (12, 1, 1));
        assert_eq!(counts(Some(1), bad, &[]), (10, 2, 1));
        assert_eq!(counts(None, "test a ... ok\n", &["Kernel panic"]), (0, 1, 2));
        assert_eq!(counts(Some(0), "", &[]), (0, 1, 1));
    }
}
