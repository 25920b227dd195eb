//! What skepd answers, or why it does not, as the command's error.

use skep_api::{ClientError, ErrorBody};

use super::{Error, Kind};

/// What became of a request.
pub fn of_daemon(error: ClientError) -> Error {
    match error {
        ClientError::NoDaemon { ref socket, .. } => {
            Error::caused(Kind::NoDaemon, format!("no skepd listens on {}", socket.display()), cause(&error))
                .hint("start it as root: skepd & (or systemctl start skepd); SKEP_SOCKET names another socket")
        }
        ClientError::Forbidden { ref socket, .. } => {
            Error::caused(Kind::NoDaemon, format!("may not talk to skepd on {}", socket.display()), cause(&error))
                .hint("run the command as root, with sudo for instance")
        }
        ClientError::Silent { .. } => {
            Error::new(Kind::Failed, error.to_string())
                .hint("it is stopped, or at work that holds up all else: systemctl status skepd (or its process's state in ps) says which, and its log what it does")
        }
        ClientError::Broken { .. } => {
            Error::caused(Kind::Failed, error.to_string(), cause(&error))
                .hint("see with systemctl status skepd whether it runs, start it if not, and ask again")
        }
        ClientError::Unreadable { .. } => {
            Error::caused(Kind::Failed, error.to_string(), cause(&error))
                .hint("skep and skepd seem to be of different versions: compare skep --version with skepd --version, and restart skepd if it was replaced since it started")
        }
        ClientError::Ended { .. } => {
            Error::caused(Kind::Failed, error.to_string(), cause(&error))
                .hint("start it again as root (systemctl start skepd, or skepd &): its start finishes what had switched and undoes what had not, and what ran runs on till then; skep list and skep show SERVICE say what came of it")
        }
        ClientError::Unknown { .. } => {
            Error::caused(Kind::Failed, error.to_string(), cause(&error))
                .hint("it was started again, which finished what had switched and undid what had not, or more than 256 operations came after; skep list and skep show SERVICE say what came of it")
        }
        ClientError::TooLarge { .. } => {
            Error::new(Kind::Failed, error.to_string())
                .hint("what was asked for is done or refused all the same: skep list and skep show SERVICE say how it stands")
        }
        ClientError::Answered(body) => answered(body),
    }
}

fn cause(error: &ClientError) -> &(dyn std::error::Error + 'static) {
    std::error::Error::source(error).unwrap_or(error)
}

fn answered(body: ErrorBody) -> Error {
    let kind = kind(&body.code);
    let hint = body.hint.or_else(|| {
        (body.code == "refused").then(|| {
            "trust its key in skepd's trust.toml (/etc/skep, or its --config-dir; skep key trust prints a rule), or take the risk: --allow-unsigned".to_owned()
        })
    });
    let error = Error::new(kind, body.message).known_as(body.code).coded(body.standard);
    let error = body.causes.into_iter().fold(error, Error::because);
    hint.into_iter().fold(error, Error::hint)
}

/// What kind of failure skepd's word for it is.
pub fn kind(code: &str) -> Kind {
    match code {
        "refused" | "refused-channel" | "not-admitted" | "not-permitted" => Kind::Refused,
        "not-root" => Kind::NoDaemon,
        "name" | "request" | "filter" => Kind::Usage,
        _ => Kind::Failed,
    }
}
