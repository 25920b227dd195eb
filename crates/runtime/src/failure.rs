//! Services that do not run, or not as a whole: what can be asked of them still.

use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::recover::Recovery;
use crate::runtime::Runtime;
use crate::state::{Generation, Service};

/// What is wrong with a service, until the next start.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It does not run.
    Down(String),
    /// It runs, but for what this says: it can be read, and not changed.
    Partly(String),
}

impl Failure {
    pub(crate) fn why(&self) -> &str {
        let (Self::Down(why) | Self::Partly(why)) = self;
        why
    }
}

impl Runtime {
    /// Keeps in mind, and says, that a service does not run as it should. Each start tries again.
    pub(crate) fn fail(&mut self, name: &ServiceName, failure: Failure, recovery: &mut Recovery) {
        let list = match &failure {
            Failure::Down(_) => &mut recovery.failed,
            Failure::Partly(_) => &mut recovery.partly,
        };
        list.push((name.clone(), failure.why().to_owned()));
        self.failures.insert(name.clone(), failure);
    }

    /// A service that runs, if only in part.
    pub(crate) fn running(&self, name: &ServiceName) -> Result<&Service, RuntimeError> {
        let service = self.service_state(name)?;
        match self.failures.get(name) {
            Some(Failure::Down(why)) => {
                Err(RuntimeError::NotRunning { service: name.clone(), why: why.clone() })
            }
            _ => Ok(service),
        }
    }

    /// A service that runs as a whole, as far as the kernel says, so that it can be changed.
    pub(crate) fn whole(&self, name: &ServiceName) -> Result<&Service, RuntimeError> {
        let service = self.running(name)?;
        if service.stopped {
            return Err(RuntimeError::Stopped { service: name.clone() });
        }
        match self.partly(name, service) {
            Some(why) => Err(RuntimeError::Partly { service: name.clone(), why }),
            None => Ok(service),
        }
    }

    /// What is missing of a service that runs: what a start could not put back, or else what is detached now.
    fn partly(&self, name: &ServiceName, service: &Service) -> Option<String> {
        match self.failures.get(name) {
            Some(failure) => Some(failure.why().to_owned()),
            None => self.detached(name, service),
        }
    }

    /// The generation of a service that runs.
    pub(crate) fn active(&self, name: &ServiceName) -> Result<Generation, RuntimeError> {
        let active = self.running(name)?.active().cloned();
        active.ok_or_else(|| RuntimeError::NotRunning {
            service: name.clone(),
            why: "its generation is gone".to_owned(),
        })
    }
}
