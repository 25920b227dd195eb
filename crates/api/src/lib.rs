//! What skepd and its clients say to each other: HTTP with JSON over a Unix socket, and the client.

mod client;
mod counter;
mod desired;
mod doctor;
mod escaped;
mod event;
mod life;
mod map;
mod metric;
mod next_kernel;
mod outdated;
mod program;
mod rows;
mod run;
mod settings;
mod wire;

pub use client::{Client, ClientError, Events};
pub use counter::{cells, counter_table};
pub use desired::{
    Applied, Desired, DesiredState, Step, StepKind, StepState, Trouble, Wanted, WantedState,
};
pub use doctor::{Finding, FindingState};
pub use event::{EVENT_TAIL, csv_line, event_head, event_json};
pub use life::{Committed, Deed, Past, Standing, Start, Stop, Touched};
pub use map::{MapDump, MapEnd, MapEntry, MapKey, MapRef, MapRow, MapUpdate, MapWrite, Maps};
pub use metric::{Bucket, Metric, MetricRow, open_metrics};
pub use next_kernel::{NextKernel, ServiceOutlook, WillRun};
pub use outdated::{Newest, Outdated, Which};
pub use program::{Code, CodeOf, Instruction, ProgramRow, Programs, Stats, TestRun, TestRunResult};
pub use rows::Rows;
pub use run::{Mode, Run};
pub use settings::{ParamChange, ParamValue, ParamsSet, SetParams};
pub use skep_adapt::Report;
pub use skep_spec::life::{
    Exactness, GenerationDetail, HookChange, HookDetail, HookPlan, MapChange, MapDetail, MapPlan,
    Mechanism, Previous, ServiceState,
};
pub use wire::{
    CounterRow, Detail, ErrorBody, EventLine, Install, Member, MemberChange, Metrics, Node,
    Operation, OperationState, PackageSource, Plan, Removed, Status, Upgrade, Watch,
};

/// Most bytes of a request.
pub const MAX_BODY: usize = 4 << 20;
/// Most bytes of an answer that the client reads, but for streams.
pub const MAX_ANSWER: usize = 64 << 20;
