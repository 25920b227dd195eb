//! Programs, as a client asks for them.

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::ServiceName;

use crate::{Client, ClientError};

/// Which programs are listed: the query of `GET /v1/programs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Programs {
    /// Every program of the machine instead of those of services.
    #[serde(default)]
    pub all: bool,
    /// Those of this service.
    #[serde(default)]
    pub service: Option<ServiceName>,
}

/// Whose runs are counted, and how long: the query of `GET /v1/programs/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Every program of the machine instead of those of services.
    #[serde(default)]
    pub all: bool,
    /// Those of this service.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// How long; a second without it.
    #[serde(default)]
    pub milliseconds: Option<u64>,
}

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramRow {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What kind of program.
    pub kind: String,
    /// A hash of its instructions, in hex.
    pub tag: String,
    /// The service whose program it is.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// The service's generation that it is of.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Ids of the maps that it uses.
    pub maps: Vec<u32>,
    /// Instructions as the verifier left them.
    pub instructions: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
    /// Instructions that the verifier went through.
    pub verified: u32,
    /// How often it ran; none where nobody counts it.
    pub runs: Option<u64>,
    /// Nanoseconds that these runs took.
    pub run_ns: Option<u64>,
    /// The program whose runs these are, where it is another one: the stub on its hook, which calls it each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_by: Option<u32>,
    /// Why nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
    /// Runs that the kernel kept from it.
    pub missed: u64,
}

/// An instruction of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instruction {
    /// Its number.
    pub at: usize,
    /// Its bytes, in hex.
    pub bytes: String,
    /// As LLVM's assembler spells it.
    pub text: String,
    /// The map that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The query of `GET /v1/programs/{id}/code`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeOf {
    /// The machine code instead of the instructions.
    #[serde(default)]
    pub jited: bool,
}

/// A program's code as it is in the kernel's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// The bytes, in hexadecimal; none where the kernel has none or hides them.
    pub bytes: String,
}

/// `POST /v1/programs/{id}/run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestRun {
    /// The packet, in hex.
    #[serde(default)]
    pub data: String,
    /// How often.
    #[serde(default)]
    pub repeat: Option<u32>,
}

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestRunResult {
    /// What the program returned.
    pub returned: u32,
    /// Nanoseconds of one run, on the average.
    pub run_ns: u64,
    /// What a program of the kind `syscall` left of its context, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl Client {
    /// The programs that there are.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn programs(&self, asked: &Programs) -> Result<Vec<ProgramRow>, ClientError> {
        let service = asked.service.iter().map(|name| format!("&service={name}"));
        let path = format!("/v1/programs?all={}{}", asked.all, service.collect::<String>());
        self.ask(Method::GET, &path, &()).await
    }

    /// The same after a while, with the runs in between.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn program_stats(&self, asked: &Stats) -> Result<Vec<ProgramRow>, ClientError> {
        let service = asked.service.iter().map(|name| format!("&service={name}"));
        let time = asked.milliseconds.iter().map(|time| format!("&milliseconds={time}"));
        let more: String = service.chain(time).collect();
        let path = format!("/v1/programs/stats?all={}{more}", asked.all);
        self.ask(Method::GET, &path, &()).await
    }

    /// A program's instructions.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn instructions(&self, id: u32) -> Result<Vec<Instruction>, ClientError> {
        self.ask(Method::GET, &format!("/v1/programs/{id}/instructions"), &()).await
    }

    /// A program's code.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn code(&self, id: u32, of: CodeOf) -> Result<Code, ClientError> {
        let path = format!("/v1/programs/{id}/code?jited={}", of.jited);
        self.ask(Method::GET, &path, &()).await
    }

    /// Test-runs a program.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn test_run(&self, id: u32, run: &TestRun) -> Result<TestRunResult, ClientError> {
        self.ask(Method::POST, &format!("/v1/programs/{id}/run"), run).await
    }
}
