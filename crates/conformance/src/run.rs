//! Asks an implementation each case, and holds the answers against the vectors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::tokens;
use crate::vectors::{Case, Part};

/// What is held against the vectors: our own code, or another program.
pub trait Implementation {
    /// The answer to one question.
    ///
    /// # Errors
    /// None came, in words.
    fn answer(&mut self, op: &str, input: &Value) -> Result<Answer, String>;
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Accepted, with what came out.
    Ok(Value),
    /// Refused.
    Refused {
        /// The standard's code.
        code: String,
        /// Why, for people.
        message: String,
        /// Line and column, where they are known.
        at: Option<[usize; 2]>,
    },
    /// There is no such operation.
    Unsupported,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the vector says.
    Passed,
    /// The implementation has no such operation.
    LeftOut,
    /// Not as the vector says, and how not.
    Failed(String),
}

/// What became of all cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By part: passed, failed, left out.
    pub parts: BTreeMap<u32, Counts>,
    /// Each failure: file, case, and how it differs.
    pub failures: Vec<String>,
}

/// How many cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// As the vectors say.
    pub passed: usize,
    /// Not so.
    pub failed: usize,
    /// Not asked.
    pub left_out: usize,
}

/// Asks every case. One without an answer has failed, and with it all that a broken implementation is asked later.
pub fn run(parts: &[Part], implementation: &mut dyn Implementation) -> Report {
    let mut report = Report::default();
    for part in parts {
        for case in &part.cases {
            let outcome = match implementation.answer(&case.op, &case.input) {
                Ok(answer) => judge(case, &answer),
                Err(why) => Outcome::Failed(why),
            };
            report.add(part, case, outcome);
        }
    }
    report
}

impl Report {
    fn add(&mut self, part: &Part, case: &Case, outcome: Outcome) {
        let counts = self.parts.entry(part.part).or_default();
        match outcome {
            Outcome::Passed => counts.passed += 1,
            Outcome::LeftOut => counts.left_out += 1,
            Outcome::Failed(why) => {
                counts.failed += 1;
                self.failures.push(format!("{}, '{}': {why}", part.file, case.name));
            }
        }
    }
}

/// Holds an answer against a case.
#[must_use]
pub fn judge(case: &Case, answer: &Answer) -> Outcome {
    let failed = |why: String| Outcome::Failed(why);
    match (answer, &case.ok, &case.error) {
        (Answer::Unsupported, _, _) => Outcome::LeftOut,
        (Answer::Ok(found), Some(wanted), _) => match differs(found, wanted, "ok", &case.op) {
            None => Outcome::Passed,
            Some(why) => failed(why),
        },
        (Answer::Ok(found), None, wanted) => {
            let wanted = wanted.as_deref().unwrap_or_default();
            failed(format!("accepted with {found}, it should be refused with {wanted}"))
        }
        (Answer::Refused { code, message, at }, _, Some(wanted)) => match (at, case.at) {
            _ if code != wanted => {
                failed(format!("refused with {code} ({message}), it should be {wanted}"))
            }
            (Some(found), Some(wanted)) if *found != wanted => {
                failed(format!("the mistake is said to be at {found:?}, it is at {wanted:?}"))
            }
            _ => Outcome::Passed,
        },
        (Answer::Refused { code, message, .. }, _, None) => {
            failed(format!("refused with {code} ({message}), it should be accepted"))
        }
    }
}

/// How an answer differs from what is wanted. It is held against the vector whole: what else an implementation tells is
/// a mistake, but for the facts of an object, of which a vector names those that it is about.
fn differs(found: &Value, wanted: &Value, path: &str, op: &str) -> Option<String> {
    match (found, wanted) {
        (Value::String(found), Value::String(wanted)) if op == "event.decode" => {
            let other = || format!("{path} is {found}, it should be {wanted}");
            (!tokens::is_same(found, wanted)).then(other)
        }
        (Value::Object(found), Value::Object(wanted)) => {
            let named = wanted.iter().find_map(|(key, wanted)| {
                let path = format!("{path}.{key}");
                match found.get(key) {
                    Some(found) => differs(found, wanted, &path, op),
                    None => Some(format!("{path} is not there, it should be {wanted}")),
                }
            });
            let more =
                || found.keys().find(|key| !wanted.contains_key(*key) && !is_extra(op, path));
            named.or_else(|| more().map(|key| format!("{path}.{key} is there, it should not be")))
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let pairs = found.iter().zip(wanted).enumerate();
            pairs.into_iter().find_map(|(at, (found, wanted))| {
                differs(found, wanted, &format!("{path}[{at}]"), op)
            })
        }
        (found, wanted) if found == wanted => None,
        (found, wanted) => Some(format!("{path} is {found}, it should be {wanted}")),
    }
}

/// Whether an object of an answer, at `path`, may have members that the vector does not have.
fn is_extra(op: &str, path: &str) -> bool {
    op == "object.facts" && !path.ends_with(".writes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(ok: Option<Value>, error: Option<&str>) -> Case {
        let error = error.map(str::to_owned);
        let (name, op) = ("x".to_owned(), "name".to_owned());
        Case { name, musts: vec![], op, input: Value::Null, ok, error, at: Some([1, 2]) }
    }

    #[test]
    fn of_an_object_a_vector_names_what_it_is_about_and_maps_whole() {
        let wanted = json!({"programs": [{"name": "a", "writes": {}}]});
        let facts = Case { op: "object.facts".to_owned(), ..case(Some(wanted), None) };
        let ok = |program| judge(&facts, &Answer::Ok(json!({"programs": [program], "maps": []})));
        assert_eq!(ok(json!({"name": "a", "section": "xdp", "writes": {}})), Outcome::Passed);
        let writes = json!({"name": "a", "writes": {"counts": "plain"}});
        assert!(matches!(ok(writes), Outcome::Failed(_)));
    }

    fn refused(code: &str, at: Option<[usize; 2]>) -> Answer {
        Answer::Refused { code: code.to_owned(), message: String::new(), at }
    }

    #[test]
    fn only_what_the_vector_says_passes() {
        let accepts = case(Some(json!({"a": [1, {"b": 2}]})), None);
        let ok = |value| judge(&accepts, &Answer::Ok(value));
        assert_eq!(ok(json!({"a": [1, {"b": 2}]})), Outcome::Passed);
        let more = [json!({"a": [1, {"b": 2, "c": 3}]}), json!({"a": [1, {"b": 2}], "c": 4})];
        let other = [json!({"a": [1]}), json!({"a": [1, {"b": 3}]}), json!({}), json!(null)];
        for wrong in more.into_iter().chain(other) {
            assert!(matches!(ok(wrong), Outcome::Failed(_)));
        }
        assert!(matches!(judge(&accepts, &refused("x", None)), Outcome::Failed(_)));
        let refuses = case(None, Some("a.b"));
        assert_eq!(judge(&refuses, &refused("a.b", None)), Outcome::Passed);
        assert_eq!(judge(&refuses, &refused("a.b", Some([1, 2]))), Outcome::Passed);
        for wrong in [refused("a.c", None), refused("a.b", Some([9, 9])), Answer::Ok(json!({}))] {
            assert!(matches!(judge(&refuses, &wrong), Outcome::Failed(_)));
        }
        assert_eq!(judge(&refuses, &Answer::Unsupported), Outcome::LeftOut);
    }
}
