//! An HTTP server of a test's own, which answers as no registry should.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep_oci::registry::{Credentials, Options, Registry, RegistryError, TimeLimits};
use skep_spec::{Digest, PackageRef};

/// What the server does with a request, given its head.
type Answering = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// An HTTP server of one answer a connection, which keeps the head of each request.
pub struct Server {
    pub host: String,
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn new(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer): (_, Arc<Answering>) = (heads.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen, answer) = (stream.unwrap(), seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    let head = head(&mut stream);
                    seen.lock().unwrap().push(head.clone());
                    answer(&head, &mut stream);
                });
            }
        });
        Self { host, heads }
    }

    /// A server that answers everything with these bytes.
    pub fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::new(move |_, stream| drop(stream.write_all(&bytes)))
    }

    /// As patient as ours are, so that a busy machine fails no test.
    pub fn registry(&self) -> Registry {
        self.registry_with(Credentials::Anonymous)
    }

    pub fn registry_with(&self, credentials: Credentials) -> Registry {
        let time = TimeLimits { back_off: Duration::from_millis(5), ..TimeLimits::default() };
        let options = Options { credentials, time, ..Options::default() };
        Registry::new(&self.host, options).unwrap()
    }

    /// For servers that hang: gives up within a second.
    pub fn hasty_registry(&self) -> Registry {
        let time = TimeLimits {
            connect: Duration::from_millis(500),
            idle: Duration::from_millis(300),
            gap: Duration::from_millis(300),
            list: Duration::from_millis(900),
            document: Duration::from_millis(900),
            blob: Duration::from_millis(900),
            back_off: Duration::from_millis(5),
        };
        Registry::new(&self.host, Options { time, ..Options::default() }).unwrap()
    }

    pub fn reference(&self) -> PackageRef {
        format!("{}/acme/exec:1.0.0", self.host).parse().unwrap()
    }

    pub async fn resolve(&self) -> Result<Digest, RegistryError> {
        self.registry().resolve(&self.reference()).await
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// An error's text with the server's port taken out.
    pub fn said(&self, error: &RegistryError) -> String {
        error.to_string().replace(&self.host, "REGISTRY")
    }
}

pub fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}
