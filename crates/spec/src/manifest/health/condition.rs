//! Conditions of `[health]`: what a fact of a running service must be, so that whoever knows the facts can tell.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::share::{Share, decimal};
use crate::manifest::OutputKind;
use crate::param::parse_duration;

/// A name in brackets.
macro_rules! of {
    () => {
        r"\((?=[^)]{1,64}\))[a-z0-9]+([-_][a-z0-9]+)*\)"
    };
}

macro_rules! operator {
    () => {
        r" *(<=|>=|==|!=|<|>) *"
    };
}

/// How a condition is written, for schemas. What it names must be there besides.
#[rustfmt::skip]
pub const CONDITION_PATTERN: &str = concat!(
    r"^(attached", of!(),
    r"|(runs|events)", of!(), operator!(), r"[0-9]{1,15}",
    r"|value", of!(), operator!(), r"-?[0-9]{1,15}",
    r"|(runs|events|value)", of!(), operator!(), r"[0-9]{1,15}(\.[0-9]{1,9})? */[smh]",
    r"|lost", of!(), operator!(),
    r"(0(\.[0-9]{1,9})?|1(\.0{1,9})?|([0-9]{1,2}(\.[0-9]{1,7})?|100(\.0{1,7})?) *%)",
    r"|time", of!(), operator!(), r"[0-9]{1,15}(\.[0-9]{1,9})? *(ns|us|ms|s|m|h))$",
);

/// A condition, as it is written and as what it asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    text: String,
    asks: Asks,
}

crate::text_schema!(Condition, "pattern": CONDITION_PATTERN);

/// What a condition asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `attached(all)`: whether every program is attached that the activation attached.
    AllAttached,
    /// `attached(NAME)`: whether that program is, or a member of those alternatives.
    Attached(String),
    /// Whether a fact is less than a threshold, or more.
    Compares {
        /// Which fact.
        fact: Fact,
        /// Of what: a program or alternatives for `runs` and `time`, else an output.
        of: String,
        /// How it must be.
        operator: Operator,
        /// To this.
        threshold: Threshold,
    },
}

/// A number that a node has of a service, since its activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// How often a program ran.
    Runs,
    /// How long a run took, on average.
    Time,
    /// Records of an output of events.
    Events,
    /// The share of those that were lost.
    Lost,
    /// What a counter grew by, or a gauge shows.
    Value,
}

/// How a fact must be to its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Other,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

/// What a fact is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// A number: of `runs`, `events` and `value`.
    Count(i64),
    /// The same facts per unit of time.
    Rate {
        /// Billionths of one.
        billionths: u128,
        /// In each of these.
        per: Per,
    },
    /// Of `lost`.
    Share(Share),
    /// Of `time`, in nanoseconds; a part of one is cut off.
    Time(u128),
}

/// Units of time of rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Per {
    Second,
    Minute,
    Hour,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no condition: {why}")]
pub struct ConditionError {
    text: String,
    why: String,
}

const FACTS: [(&str, Fact); 5] = [
    ("runs", Fact::Runs),
    ("time", Fact::Time),
    ("events", Fact::Events),
    ("lost", Fact::Lost),
    ("value", Fact::Value),
];

/// Those of two characters first: each begins with one of one.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Other),
    ("<", Operator::Less),
    (">", Operator::More),
];

const UNITS: [(&str, Per); 3] = [("/s", Per::Second), ("/m", Per::Minute), ("/h", Per::Hour)];

impl Condition {
    /// What it asks.
    #[must_use]
    pub const fn asks(&self) -> &Asks {
        &self.asks
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let text = text.to_owned();
        match asks(&text) {
            Ok(asks) => Ok(Self { text, asks }),
            Err(why) => Err(ConditionError { text, why }),
        }
    }
}

impl TryFrom<String> for Condition {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Self, ConditionError> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn asks(text: &str) -> Result<Asks, String> {
    let forms = "it should be attached(all), attached(NAME), or runs(NAME), time(NAME), events(OUTPUT), lost(OUTPUT) or \
                 value(OUTPUT), an operator and what the fact is compared with, such as lost(requests) < 1%";
    let (word, rest) = text.split_once('(').ok_or(forms)?;
    let (name, rest) = rest.split_once(')').ok_or(forms)?;
    if !crate::source::is_label(name) {
        return Err(format!("'{name}' is no name of a program, alternatives or an output"));
    }
    if word == "attached" {
        let asks = if name == "all" { Asks::AllAttached } else { Asks::Attached(name.to_owned()) };
        return if rest.is_empty() {
            Ok(asks)
        } else {
            Err("nothing comes behind attached(…)".to_owned())
        };
    }
    let fact = FACTS.into_iter().find(|(known, _)| *known == word);
    let (_, fact) = fact.ok_or(forms)?;
    let rest = rest.trim_start_matches(' ');
    let operator = OPERATORS.into_iter().find(|(known, _)| rest.starts_with(known));
    let (sign, operator) =
        operator.ok_or("an operator should stand behind the fact: <, <=, ==, !=, >= or >")?;
    let value = rest.strip_prefix(sign).unwrap_or(rest).trim_start_matches(' ');
    let threshold = fact
        .threshold(value)
        .ok_or_else(|| format!("{word} is compared with {}, not '{value}'", fact.takes()))?;
    Ok(Asks::Compares { fact, of: name.to_owned(), operator, threshold })
}

impl Fact {
    /// The kinds of the outputs that have it; none where programs have.
    #[must_use]
    pub const fn outputs(self) -> Option<&'static [OutputKind]> {
        match self {
            Self::Runs | Self::Time => None,
            Self::Events | Self::Lost => Some(&[OutputKind::Event]),
            Self::Value => Some(&[OutputKind::Counter, OutputKind::Gauge]),
        }
    }

    fn threshold(self, text: &str) -> Option<Threshold> {
        match self {
            Self::Lost => {
                Share::fraction(text).or_else(|| Share::percent(text)).map(Threshold::Share)
            }
            Self::Time => time(text).map(Threshold::Time),
            Self::Runs | Self::Events => count(text).or_else(|| rate(text)),
            Self::Value => match text.strip_prefix('-').map(count) {
                Some(Some(Threshold::Count(number))) => Some(Threshold::Count(-number)),
                Some(_) => None,
                None => count(text).or_else(|| rate(text)),
            },
        }
    }

    const fn takes(self) -> &'static str {
        match self {
            Self::Lost => "a share from 0 to 1 or 0% to 100%, such as 0.01 or 1%",
            Self::Time => "a duration, such as 5us",
            Self::Runs | Self::Events | Self::Value => {
                "an integer of at most 15 digits, or a number per s, m or h, such as 100/s"
            }
        }
    }
}

const DIGITS: usize = 15;

fn count(text: &str) -> Option<Threshold> {
    let number = decimal(text, DIGITS, 0)?;
    i64::try_from(number).ok().filter(|_| !text.contains('.')).map(Threshold::Count)
}

fn rate(text: &str) -> Option<Threshold> {
    let (number, per) =
        UNITS.into_iter().find_map(|(unit, per)| Some((text.strip_suffix(unit)?, per)))?;
    let billionths = decimal(number.trim_end_matches(' '), DIGITS, 9)?;
    Some(Threshold::Rate { billionths, per })
}

fn time(text: &str) -> Option<u128> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase()).trim_end_matches(' ');
    decimal(number, DIGITS, 9)?;
    parse_duration(text).and_then(|nanoseconds| nanoseconds.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asks, ConditionError> {
        text.parse::<Condition>().map(|condition| condition.asks)
    }

    fn threshold(text: &str) -> Threshold {
        match read(text).unwrap() {
            Asks::Compares { threshold, .. } => threshold,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_condition_is_read_for_what_it_asks() {
        assert_eq!(read("attached(all)"), Ok(Asks::AllAttached));
        assert_eq!(read("attached(on-exec)"), Ok(Asks::Attached("on-exec".to_owned())));
        assert_eq!(
            read("runs(start)  >=0"),
            Ok(Asks::Compares {
                fact: Fact::Runs,
                of: "start".to_owned(),
                operator: Operator::AtLeast,
                threshold: Threshold::Count(0),
            })
        );
        let billion = 1_000_000_000;
        for (text, wanted) in [
            ("events(a) != 999999999999999", Threshold::Count(999_999_999_999_999)),
            ("value(a) == -5", Threshold::Count(-5)),
            ("value(a) < 0.5 /m", Threshold::Rate { billionths: billion / 2, per: Per::Minute }),
            ("runs(a)<100/s", Threshold::Rate { billionths: 100 * billion, per: Per::Second }),
            ("lost(a) < 0.01", Threshold::Share(Share::percent("1%").unwrap())),
            ("lost(a) < 1 %", Threshold::Share(Share::fraction("0.01").unwrap())),
            ("lost(a) <= 1", Threshold::Share(Share::percent("100%").unwrap())),
            ("time(a) < 1.5 us", Threshold::Time(1500)),
            ("time(a) < 0.5ns", Threshold::Time(0)),
        ] {
            assert_eq!(threshold(text), wanted, "{text}");
        }
    }

    #[rustfmt::skip]
    const NONE: [&str; 39] = [
        "", "all", "attached", "attached()", "attached(all", "attached(all) ",
        "attached(all) > 0", "attached(A)", "errors ?? 2", "runs(a)", "runs(a) >", "runs(a) => 1",
        "runs(a) > x", "runs(a) > 1.5", "runs(a) > 1.", "runs(a) > -1",
        "runs(a) > 1000000000000000", "runs(a) > 1/d", "runs(a) > 1 / s", "runs(a) > 1%",
        "runs( a ) > 1", " runs(a) > 1", "runs(a) > 1 ", "runs(a)\t> 1", "lost(a) < 2",
        "lost(a) < 1.5", "lost(a) < 101%", "lost(a) < 00.1", "lost(a) < 1/s", "time(a) < 5",
        "time(a) < 0.0000000001s", "time(a) < 5 weeks", "time(a) < 1_0us", "value(a) < -1/s",
        "value(a) < --1", "runs(a) > 1 && runs(b) > 1", "run(a) > 1", "runs(a-) > 1",
        "runs (a) > 1",
    ];

    #[test]
    fn what_is_no_condition_is_told_why() {
        for text in NONE {
            assert!(read(text).is_err(), "{text}");
        }
        let said = |text| read(text).unwrap_err().to_string();
        insta::assert_snapshot!(said("lost(a) < 2"), @"'lost(a) < 2' is no condition: lost is compared with a share from 0 to 1 or 0% to 100%, such as 0.01 or 1%, not '2'");
        insta::assert_snapshot!(said("runs(a) ?? 2"), @"'runs(a) ?? 2' is no condition: an operator should stand behind the fact: <, <=, ==, !=, >= or >");
    }
}
