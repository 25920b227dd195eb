//! Errors as people and programs see them: what failed, on what, why, what to do next, and by which code. Converted here and nowhere
//! else.

mod daemon;
mod libraries;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::Display;
use std::process::ExitCode;

use skep_api::ErrorBody;
use skep_object::shown_lines;
use skep_spec::causes_as;

pub use self::daemon::of_daemon;
pub use self::libraries::{
    failed, misnamed, not_chosen, not_followed, of_image, refused, unfit, untrusted,
};
use self::libraries::{said, standard};
use crate::output;

/// The exit status of a command that a signal stopped, as shells have it of Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// What kind of failure it is, which is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was tried and failed: 1.
    Failed,
    /// The command line or a file that it names is wrong: 2.
    Usage,
    /// No daemon, or no permission to talk to it: 3.
    NoDaemon,
    /// Refused: not signed as this machine's policy asks: 4.
    Refused,
    /// A signal stopped it: [`INTERRUPTED`].
    Interrupted,
}

impl Kind {
    /// For programs, of an error that has no code of its own.
    const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NoDaemon => "no-daemon",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A stable word for an error.
#[derive(Clone, Debug)]
enum Code {
    /// The standard's, which people are shown, too.
    Standard(Cow<'static, str>),
    /// For programs alone: skepd's, or one that the message has already.
    Silent(Cow<'static, str>),
}

/// A failed command.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    code: Option<Code>,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// What this machine's kernel refused, which nobody far away said.
    errno: Option<i32>,
}

/// What a command gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure with a message of its own.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, causes, hints) = (message.into(), Vec::new(), Vec::new());
        Self { kind, code: None, message, causes, hints, errno: None }
    }

    /// A failure that another error caused.
    pub fn caused(
        kind: Kind,
        message: impl Into<String>,
        cause: &(dyn StdError + 'static),
    ) -> Self {
        let causes = std::iter::once(said(cause)).chain(causes_as(cause, &said)).collect();
        let error = Self { causes, errno: errno(cause), ..Self::new(kind, message) };
        error.coded(standard(cause))
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same with the standard's code, where it has one for that.
    #[must_use]
    pub fn coded(mut self, code: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.code = code.map(|code| Code::Standard(code.into())).or(self.code);
        self
    }

    /// The same with a code that its message has already, or that is for programs alone.
    #[must_use]
    pub fn known_as(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(Code::Silent(code.into()));
        self
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with one more reason.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The same as the cause of what was tried.
    #[must_use]
    pub fn of(mut self, message: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, cause);
        self
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What failed, without why.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why, from the outside in.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do next.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The text, as it is printed: names in it may be a stranger's.
    #[must_use]
    pub fn text(&self) -> String {
        let code = match &self.code {
            Some(Code::Standard(code)) => format!(" ({code})"),
            _ => String::new(),
        };
        let mut text = format!("error: {}{code}\n", self.message);
        for cause in &self.causes {
            text.push_str(&format!(
                "  because {}\n",
                cause.trim_end().replace('\n', "\n          ")
            ));
        }
        for hint in self.all_hints() {
            text.push_str(&format!("hint: {}\n", hint.trim_end().replace('\n', "\n      ")));
        }
        shown_lines(&text).into_owned()
    }

    /// The same for programs: what `docs/reference/api.md` has of an error, in a line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let code = match &self.code {
            Some(Code::Standard(code) | Code::Silent(code)) => code,
            None => self.kind.word(),
        };
        let hints: Vec<&str> = self.all_hints().collect();
        let body = ErrorBody {
            code: code.to_owned(),
            standard: None,
            message: self.message.clone(),
            causes: self.causes.clone(),
            hint: Some(hints.join("\n")).filter(|hint| !hint.is_empty()),
        };
        body.line()
    }

    fn all_hints(&self) -> impl Iterator<Item = &str> {
        let own = self.hints.iter().map(String::as_str);
        own.chain(self.of_the_system().filter(|_| self.hints.is_empty()))
    }

    /// What helps against what the system refused, where nothing better is said.
    fn of_the_system(&self) -> Option<&'static str> {
        // include/uapi/asm-generic/errno-base.h, errno.h
        Some(match self.errno? {
            1 | 13 => "run it as a user who may do that, or name a place that is yours", // EPERM, EACCES
            23 | 24 => "raise the limit of open files (ulimit -n)", // ENFILE, EMFILE
            28 | 122 => "make room there, or name a place with room", // ENOSPC, EDQUOT
            30 => "it is mounted read-only: name a place that can be written", // EROFS
            _ => return None,
        })
    }

    /// Prints it and gives the exit status.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        output::error(self);
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NoDaemon => 3,
            Kind::Refused => 4,
            Kind::Interrupted => INTERRUPTED,
        })
    }
}

/// The last error of the chain, if it is one of the kernel's.
fn errno(error: &(dyn StdError + 'static)) -> Option<i32> {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.downcast_ref::<std::io::Error>()?.raw_os_error()
}

/// Says what was tried when an error comes up.
pub trait Context<T> {
    /// `message` becomes what failed, the error its cause.
    ///
    /// # Errors
    /// The same, converted.
    fn context<M: Display>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: StdError + 'static> Context<T> for std::result::Result<T, E> {
    fn context<M: Display>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::caused(Kind::Failed, message().to_string(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = Error::caused(Kind::Failed, "can't read skep.toml", &cause)
            .hint("skep new NAME makes one");
        insta::assert_snapshot!(error.text(), @r"
        error: can't read skep.toml
          because No such file or directory (os error 2)
        hint: skep new NAME makes one
        ");
        let full = std::io::Error::from_raw_os_error(28);
        let error = Error::caused(Kind::Failed, "can't write 'x'", &full);
        assert!(error.text().ends_with("hint: make room there, or name a place with room\n"));
        let told = Error::usage("skepd says no").because(full.to_string());
        assert!(
            told.text().ends_with("(os error 28)\n"),
            "another's disk is no matter of this place"
        );
        let text = error.hint("write elsewhere").text();
        assert!(text.ends_with("(os error 28)\nhint: write elsewhere\n"), "{text}");
        let coded = Error::new(Kind::Refused, "no").coded(Some("trust.unsigned"));
        assert_eq!(coded.text(), "error: no (trust.unsigned)\n");
        let silent = Error::usage("line 1 (manifest.value)").known_as("manifest.value");
        assert_eq!(silent.text(), "error: line 1 (manifest.value)\n");
        let hostile = Error::usage("no \u{1b}[31mname\rlike this").because("two\nlines");
        let text = hostile.text();
        assert_eq!(
            text,
            "error: no \\u{1b}[31mname\\u{d}like this\n  because two\n          lines\n"
        );
    }

    #[test]
    fn a_program_reads_the_same_as_people() {
        let cause = std::io::Error::from_raw_os_error(28);
        let error = Error::caused(Kind::Failed, "can't write 'x'", &cause);
        let line = r#"{"error":{"code":"failed","message":"can't write 'x'","causes":["No space left on device (os error 28)"],"hint":"make room there, or name a place with room"}}"#;
        assert_eq!(error.json(), line);
        let error = Error::new(Kind::Refused, "no").coded(Some("oci.altered")).hint("a").hint("b");
        let line = r#"{"error":{"code":"oci.altered","message":"no","causes":[],"hint":"a\nb"}}"#;
        assert_eq!(error.json(), line);
        let of_skepd = Error::new(Kind::Failed, "no").known_as("held").coded(None::<&str>);
        assert_eq!(of_skepd.json().split('"').nth(5), Some("held"));
    }
}
