//! Attachments that no pin can hold: their fds are kept open by the holder, another process that outlives us.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use crate::error::RuntimeError;

/// Keeps fds open under names, in a process of its own (`skepd --hold`).
pub trait Holder: Send {
    /// Keeps a copy of `fd` under `key`, in place of one that it had under that key.
    ///
    /// # Errors
    /// The holder is gone.
    fn keep(&mut self, key: &str, fd: &OwnedFd) -> io::Result<()>;

    /// Closes what it keeps under `key`; nothing there is no error.
    ///
    /// # Errors
    /// The holder is gone.
    fn release(&mut self, key: &str) -> io::Result<()>;

    /// The keys of all that it keeps.
    ///
    /// # Errors
    /// The holder is gone.
    fn keys(&self) -> io::Result<Vec<String>>;
}

/// The holder; without one, fds are kept here and go with this process.
pub(crate) enum Held {
    There(Box<dyn Holder>),
    Here(BTreeMap<String, OwnedFd>),
}

impl Held {
    pub(crate) fn new(holder: Option<Box<dyn Holder>>) -> Self {
        holder.map_or_else(|| Self::Here(BTreeMap::new()), Self::There)
    }

    /// Whether what is kept outlives this process.
    pub(crate) fn outlives_us(&self) -> bool {
        matches!(self, Self::There(_))
    }

    pub(crate) fn keep(&mut self, key: &str, fd: OwnedFd) -> Result<(), RuntimeError> {
        match self {
            Self::There(holder) => holder.keep(key, &fd).map_err(failed("keep", key)),
            Self::Here(fds) => {
                fds.insert(key.to_owned(), fd);
                Ok(())
            }
        }
    }

    pub(crate) fn release(&mut self, key: &str) -> Result<(), RuntimeError> {
        match self {
            Self::There(holder) => holder.release(key).map_err(failed("release", key)),
            Self::Here(fds) => {
                fds.remove(key);
                Ok(())
            }
        }
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, RuntimeError> {
        match self {
            Self::There(holder) => holder.keys().map_err(failed("list", "all")),
            Self::Here(fds) => Ok(fds.keys().cloned().collect()),
        }
    }

    /// Why nothing is kept under `key` any more; none where something is, or the holder does not say.
    pub(crate) fn why_gone(&self, key: &str) -> Option<&'static str> {
        let keys = self.keys().ok()?;
        (!keys.iter().any(|kept| kept == key)).then_some(match self {
            Self::There(_) => "skepd --hold, which kept it, has ended or let go of it",
            Self::Here(_) => "nothing keeps it open",
        })
    }
}

fn failed(action: &'static str, key: &str) -> impl FnOnce(io::Error) -> RuntimeError {
    let key = key.to_owned();
    move |source| RuntimeError::Holder { action, key, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Keys(io::Result<Vec<String>>);

    impl Holder for Keys {
        fn keep(&mut self, _: &str, _: &OwnedFd) -> io::Result<()> {
            Ok(())
        }

        fn release(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }

        fn keys(&self) -> io::Result<Vec<String>> {
            self.0.as_ref().map(Clone::clone).map_err(|error| error.kind().into())
        }
    }

    #[test]
    fn what_is_not_kept_any_more_is_gone_unless_the_holder_says_nothing() {
        let held = |keys| Held::new(Some(Box::new(Keys(keys))));
        assert_eq!(held(Ok(vec!["a/b".to_owned()])).why_gone("a/b"), None);
        let gone = "skepd --hold, which kept it, has ended or let go of it";
        assert_eq!(held(Ok(vec!["a/c".to_owned()])).why_gone("a/b"), Some(gone));
        assert_eq!(held(Err(io::ErrorKind::TimedOut.into())).why_gone("a/b"), None);
        assert!(Held::new(None).why_gone("a/b").is_some());
    }
}
