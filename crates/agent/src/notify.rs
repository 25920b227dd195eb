//! What systemd is told: that skepd answers, that it is alive, that it ends (sd_notify(3)).

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who started skepd, if it wants to be told.
#[derive(Clone, Debug)]
pub struct Notify {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// By `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let own = |pid: u64| pid == u64::from(std::process::id());
        let watched = number("WATCHDOG_PID").is_none_or(own);
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && watched);
        let watchdog = watchdog.map(Duration::from_micros);
        Self { socket: env::var_os("NOTIFY_SOCKET"), watchdog }
    }

    /// Tells it; where that fails, the log says so.
    pub fn tell(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket.as_bytes(), what) {
            let socket = socket.display();
            tracing::warn!("NOTIFY_SOCKET ({socket}) was not told {what}: {error}");
        }
    }

    /// Says again and again that this thread goes on, which is the one that answers; for ever.
    pub async fn be_alive(self) {
        let Some(watchdog) = self.watchdog else { return };
        loop {
            tokio::time::sleep(watchdog / 2).await;
            self.tell("WATCHDOG=1");
        }
    }
}

/// Sends one datagram; a name that begins with `@` is of the abstract namespace.
fn send(socket: &[u8], what: &str) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let sent = UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address)?;
    match sent == what.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@skep-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        for (socket, listener) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (name.into(), UnixDatagram::bind_addr(&abstract_name).unwrap()),
        ] {
            let notify = Notify { socket: Some(socket), watchdog: None };
            notify.tell("READY=1");
            assert_eq!(heard(&listener), "READY=1");
        }
    }

    #[test]
    fn nobody_there_is_no_error() {
        Notify { socket: None, watchdog: None }.tell("READY=1");
        Notify { socket: Some("/nothing/there".into()), watchdog: None }.tell("READY=1");
        assert!(send(b"/nothing/there", "READY=1").is_err());
    }

    #[tokio::test]
    async fn who_watches_hears_that_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let watchdog = Some(Duration::from_millis(20));
        let notify = Notify { socket: Some(path.into_os_string()), watchdog };
        tokio::spawn(notify.be_alive());
        let twice = tokio::task::spawn_blocking(move || [heard(&listener), heard(&listener)]);
        assert_eq!(twice.await.unwrap(), ["WATCHDOG=1", "WATCHDOG=1"]);
    }
}
