//! A hub in a folder of its own, and plain requests to it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

pub const HUB: &str = env!("CARGO_BIN_EXE_skep-hub");

/// A running hub; it is killed when dropped.
pub struct Server {
    process: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
    http: reqwest::Client,
}

impl Server {
    /// Starts a hub over `data` and waits until it says that it is ready.
    pub fn start(data: &Path) -> Self {
        let mut process = Command::new(HUB)
            .args(["serve", "--log", "warn", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the hub starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.trim().rsplit('/').next().expect("a URL").to_owned();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { process, address, http }
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }

    /// Asks the process to end and waits; true if it ended well.
    pub fn terminate(&mut self) -> bool {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill").success());
        self.process.wait().expect("reaped").success()
    }

    /// A request to `path` of the hub.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// The URL of `path`, which may be one already.
    pub fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}{path}", self.address)
        }
    }

    /// A client that pushes with `token`.
    pub fn pusher(&self, token: &str) -> Pusher<'_> {
        Pusher { server: self, token: token.to_owned(), until: None, requests: AtomicUsize::new(0) }
    }

    /// One at whose request number `last` the hub is killed, while it works on it.
    pub fn pusher_until(&self, token: &str, last: usize) -> Pusher<'_> {
        Pusher { until: Some(last), ..self.pusher(token) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with a token.
pub struct Pusher<'a> {
    /// The hub.
    pub server: &'a Server,
    token: String,
    until: Option<usize>,
    requests: AtomicUsize,
}

impl Pusher<'_> {
    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        if self.until == Some(self.requests.fetch_add(1, Ordering::Relaxed)) {
            let pid = self.server.process.id().to_string();
            std::thread::spawn(move || Command::new("kill").args(["-9", &pid]).status());
        }
        self.server.request(method, path).basic_auth("anybody", Some(&self.token))
    }

    /// Pushes a blob in one request.
    pub async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.request(Method::POST, &path).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        digest
    }

    /// Pushes a manifest or index.
    pub async fn manifest(&self, repository: &str, reference: &str, json: &Value) -> Response {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let kind = json["mediaType"].as_str().expect("a media type").to_owned();
        let request = self.request(Method::PUT, &path).header("content-type", kind);
        request.body(json.to_string()).send().await.expect("an answer")
    }

    /// Begins an upload and gives the session's path.
    pub async fn begin(&self, repository: &str) -> String {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.request(Method::POST, &path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.headers()["location"].to_str().expect("text").to_owned()
    }
}

/// Makes a token, by the command line, whether or not a hub runs. Where none ever did, one is served first.
pub fn token(data: &Path, publisher: &str) -> String {
    if !data.join("hub.sqlite").exists() {
        assert!(Server::start(data).terminate());
    }
    let out = Command::new(HUB)
        .args(["token", "new", "--publisher", publisher, "--data"])
        .arg(data)
        .output()
        .expect("skep-hub runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

/// Runs the hub's command line.
pub fn command(arguments: &[&str], data: &Path) -> std::process::Output {
    Command::new(HUB).args(arguments).arg("--data").arg(data).output().expect("skep-hub runs")
}

/// `sha256:…` of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    skep_spec::Digest::of(bytes).to_string()
}

/// The code and message of an answer that refuses.
pub async fn refusal(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let json: Value = answer.json().await.expect("the error JSON of OCI");
    let error = &json["errors"][0];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}
