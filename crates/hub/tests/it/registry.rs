//! The OCI API, as far as it is ours to decide; the conformance suite has the rest.

use reqwest::Method;
use serde_json::{Value, json};
use skep_spec::media;

use super::server::{Pusher, Server, command, refusal, sha256, token};

const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

struct Fixture {
    data: tempfile::TempDir,
    server: Server,
    token: String,
}

impl Fixture {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        let token = token(data.path(), "acme");
        Self { data, server, token }
    }

    fn pusher(&self) -> Pusher<'_> {
        self.server.pusher(&self.token)
    }

    fn files(&self, folder: &str) -> usize {
        std::fs::read_dir(self.data.path().join(folder)).unwrap().count()
    }
}

/// A small artifact whose config `{}` must have been pushed.
fn artifact(kind: &str, subject: Option<&str>) -> Value {
    let config = json!({"mediaType": media::EMPTY, "digest": EMPTY, "size": 2});
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": kind,
        "config": config.clone(), "layers": [config],
    });
    if let Some(digest) = subject {
        manifest["subject"] = json!({"mediaType": media::MANIFEST, "digest": digest, "size": 1});
    }
    manifest
}

fn digest_of(json: &Value) -> String {
    sha256(json.to_string().as_bytes())
}

#[tokio::test]
async fn everybody_pulls_and_only_a_publishers_token_pushes() {
    let f = Fixture::new();
    let acme = f.pusher();
    let digest = acme.blob("acme/exec", b"{}").await;
    let path = format!("/v2/acme/exec/blobs/{digest}");
    assert_eq!(f.server.get(&path).await.bytes().await.unwrap(), "{}");

    let begin = "/v2/acme/exec/blobs/uploads/";
    let anonymous = f.server.request(Method::POST, begin).send().await.unwrap();
    let challenge = anonymous.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer realm=\"http://127.0.0.1:"), "{challenge}");
    assert!(challenge.ends_with("scope=\"repository:acme/exec:pull,push\""), "{challenge}");
    assert_eq!(refusal(anonymous).await.1, "UNAUTHORIZED");

    let wrong = f.server.pusher("skep_wrong").request(Method::POST, begin).send().await.unwrap();
    let (status, _, message) = refusal(wrong).await;
    assert_eq!((status, message.as_str()), (401, "this token is unknown or revoked"));

    let other = token(f.data.path(), "other");
    let other = f.server.pusher(&other).request(Method::POST, begin).send().await.unwrap();
    let (status, code, message) = refusal(other).await;
    assert_eq!((status, code.as_str()), (403, "DENIED"));
    assert_eq!(message, "this token publishes below other/, and acme/exec is not there");
}

#[tokio::test]
async fn a_revoked_token_counts_no_more_at_once() {
    let f = Fixture::new();
    f.pusher().blob("acme/exec", b"1").await;
    let listed = command(&["token", "list"], f.data.path());
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("acme") && !listed.contains(&f.token[5..]), "{listed}");
    assert!(command(&["token", "revoke", "1"], f.data.path()).status.success());
    let begin = f.pusher().request(Method::POST, "/v2/acme/exec/blobs/uploads/").send();
    assert_eq!(refusal(begin.await.unwrap()).await.0, 401);
    let again = command(&["token", "revoke", "1"], f.data.path());
    assert!(!again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("there is no token 1 to revoke"));
    let bad = command(&["token", "new", "--publisher", "../x"], f.data.path());
    assert!(String::from_utf8(bad.stderr).unwrap().contains("a publisher is a-z"));
}

#[tokio::test]
async fn the_token_flow_of_docker_works_and_tells_wrong_passwords() {
    let f = Fixture::new();
    let ping = f.server.get("/v2/").await;
    assert_eq!(ping.status(), 401);
    let anonymous: Value = f.server.get("/token").await.json().await.unwrap();
    let bearer = |token: &Value| {
        let token = token["token"].as_str().unwrap().to_owned();
        f.server.request(Method::GET, "/v2/").bearer_auth(token).send()
    };
    assert_eq!(bearer(&anonymous).await.unwrap().status(), 200);
    let path = "/token?service=skep-hub&scope=repository:acme/exec:pull,push";
    let ours: Value =
        f.pusher().request(Method::GET, path).send().await.unwrap().json().await.unwrap();
    assert_eq!(bearer(&ours).await.unwrap().status(), 200);
    let wrong = f.server.pusher("wrong").request(Method::GET, path).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
}

#[tokio::test]
async fn versions_never_change_not_even_after_they_are_deleted() {
    let f = Fixture::new();
    let acme = f.pusher();
    acme.blob("acme/exec", b"{}").await;
    let (one, two) = (artifact("a/one", None), artifact("a/two", None));
    assert_eq!(acme.manifest("acme/exec", "1.0.0", &one).await.status(), 201);
    assert_eq!(acme.manifest("acme/exec", "1.0.0", &one).await.status(), 201, "the same again");
    let (status, code, message) = refusal(acme.manifest("acme/exec", "1.0.0", &two).await).await;
    assert_eq!((status, code.as_str()), (409, "DENIED"));
    let is = digest_of(&one);
    assert_eq!(
        message,
        format!(
            "version 1.0.0 of acme/exec is {is} and stays so: publish the change under a new version"
        )
    );
    let path = "/v2/acme/exec/manifests/1.0.0";
    assert_eq!(acme.request(Method::DELETE, path).send().await.unwrap().status(), 202);
    assert_eq!(f.server.get(path).await.status(), 404);
    assert_eq!(acme.manifest("acme/exec", "1.0.0", &two).await.status(), 409);
    for other in ["latest", "stable"] {
        assert_eq!(acme.manifest("acme/exec", other, &one).await.status(), 201);
        assert_eq!(acme.manifest("acme/exec", other, &two).await.status(), 201, "{other} may move");
    }
}

#[tokio::test]
async fn a_manifest_needs_its_parts_and_keeps_them() {
    let f = Fixture::new();
    let acme = f.pusher();
    let manifest = artifact("a/one", None);
    let (status, code, message) = refusal(acme.manifest("acme/exec", "x", &manifest).await).await;
    assert_eq!((status, code.as_str()), (404, "MANIFEST_BLOB_UNKNOWN"));
    assert!(message.starts_with(EMPTY), "{message}");
    assert_eq!(f.server.get("/v2/acme/exec/manifests/x").await.status(), 404);

    acme.blob("acme/exec", b"{}").await;
    assert_eq!(acme.manifest("acme/exec", "x", &manifest).await.status(), 201);
    let blob = format!("/v2/acme/exec/blobs/{EMPTY}");
    let kept = acme.request(Method::DELETE, &blob).send().await.unwrap();
    assert_eq!(refusal(kept).await.0, 409);
    let manifest_path = format!("/v2/acme/exec/manifests/{}", digest_of(&manifest));
    assert_eq!(acme.request(Method::DELETE, &manifest_path).send().await.unwrap().status(), 202);
    assert_eq!(f.server.get("/v2/acme/exec/manifests/x").await.status(), 404, "its tag went too");
    assert_eq!(acme.request(Method::DELETE, &blob).send().await.unwrap().status(), 202);
    assert_eq!(f.files("blobs/sha256"), 0);
}

#[tokio::test]
async fn a_blob_stays_while_another_repository_shows_it() {
    let f = Fixture::new();
    let acme = f.pusher();
    let digest = acme.blob("acme/exec", b"shared").await;
    let mount = format!("/v2/acme/other/blobs/uploads/?mount={digest}&from=acme/exec");
    assert_eq!(acme.request(Method::POST, &mount).send().await.unwrap().status(), 201);
    let missing = mount.replace("from=acme/exec", "from=acme/none");
    assert_eq!(acme.request(Method::POST, &missing).send().await.unwrap().status(), 202);
    let first = format!("/v2/acme/exec/blobs/{digest}");
    assert_eq!(acme.request(Method::DELETE, &first).send().await.unwrap().status(), 202);
    assert_eq!(f.server.get(&first).await.status(), 404);
    let second = format!("/v2/acme/other/blobs/{digest}");
    assert_eq!(f.server.get(&second).await.text().await.unwrap(), "shared");
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let f = Fixture::new();
    let acme = f.pusher();
    acme.blob("acme/exec", b"{}").await;
    let subject = artifact("a/subject", None);
    let digest = digest_of(&subject);
    let list = async |query: &str| {
        let path = format!("/v2/acme/exec/referrers/{digest}{query}");
        let answer = f.server.get(&path).await;
        assert_eq!(answer.headers()["content-type"], media::INDEX);
        let filtered = answer.headers().contains_key("oci-filters-applied");
        (answer.json::<Value>().await.unwrap()["manifests"].as_array().unwrap().clone(), filtered)
    };
    assert_eq!(list("").await.0.len(), 0, "nothing yet, and the subject may come later");
    for kind in ["a/signature", "a/sbom"] {
        let referrer = artifact(kind, Some(&digest));
        let answer = acme.manifest("acme/exec", &digest_of(&referrer), &referrer).await;
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["oci-subject"], digest.as_str());
    }
    acme.manifest("acme/exec", "x", &subject).await;
    assert_eq!(list("").await.0.len(), 2);
    let (filtered, applied) = list("?artifactType=a%2Fsbom").await;
    assert!(applied);
    assert_eq!(filtered.len(), 1);
    assert_eq!(filtered[0]["artifactType"], "a/sbom");
}

#[tokio::test]
async fn referrers_come_in_pages() {
    let f = Fixture::new();
    let acme = f.pusher();
    acme.blob("acme/exec", b"{}").await;
    let digest = digest_of(&artifact("a/subject", None));
    let mut all = Vec::new();
    for (at, note) in [1, 1, 1 << 20, 3 << 19, 1, 1].into_iter().enumerate() {
        let kind = if at == 0 { "a/sbom" } else { "a/signature+json" };
        let mut referrer = artifact(kind, Some(&digest));
        referrer["annotations"] = json!({"at": at.to_string(), "note": "x".repeat(note)});
        let answer = acme.manifest("acme/exec", &digest_of(&referrer), &referrer).await;
        assert_eq!(answer.status(), 201);
        all.push(digest_of(&referrer));
    }
    let pages = async |query: &str| {
        let mut path = format!("/v2/acme/exec/referrers/{digest}{query}");
        let mut pages: Vec<Vec<String>> = Vec::new();
        loop {
            let answer = f.server.get(&path).await;
            let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            let page = answer.json::<Value>().await.unwrap();
            let page = page["manifests"].as_array().unwrap().iter();
            pages.push(page.map(|one| one["digest"].as_str().unwrap().to_owned()).collect());
            let Some(link) = link else { return pages };
            path =
                link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
    };
    assert_eq!(pages("").await, [all[..3].to_vec(), all[3..].to_vec()], "long ones come apart");
    assert_eq!(pages("?n=4").await.concat(), all);
    let of_two = pages("?n=2&artifactType=a%2Fsignature%2Bjson").await;
    assert_eq!(of_two.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(of_two.concat(), all[1..]);
    let wrong = f.server.get(&format!("/v2/acme/exec/referrers/{digest}?last=x")).await;
    assert_eq!(refusal(wrong).await.0, 400);
}

#[tokio::test]
async fn tags_come_in_pages() {
    let f = Fixture::new();
    let acme = f.pusher();
    acme.blob("acme/exec", b"{}").await;
    for tag in ["b", "a", "D", "c"] {
        acme.manifest("acme/exec", tag, &artifact("a/a", None)).await;
    }
    let page = f.server.get("/v2/acme/exec/tags/list?n=3").await;
    let link = page.headers()["link"].to_str().unwrap().to_owned();
    assert_eq!(page.json::<Value>().await.unwrap()["tags"], json!(["D", "a", "b"]));
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let page = f.server.get(next).await;
    assert!(!page.headers().contains_key("link"));
    assert_eq!(page.json::<Value>().await.unwrap()["tags"], json!(["c"]));
    let none = f.server.get("/v2/acme/exec/tags/list?n=0").await;
    assert_eq!(none.json::<Value>().await.unwrap()["tags"], json!([]));
    let bad = f.server.get("/v2/acme/exec/tags/list?n=x").await;
    assert_eq!(bad.status(), 400);
    let unknown = f.server.get("/v2/acme/none/tags/list").await;
    assert_eq!(refusal(unknown).await.1, "NAME_UNKNOWN");
}

#[tokio::test]
async fn chunks_come_in_order_and_whole() {
    let f = Fixture::new();
    let acme = f.pusher();
    let session = acme.begin("acme/exec").await;
    let chunk = |bytes: &'static str, range: &str| {
        let request = acme.request(Method::PATCH, &session).header("content-range", range);
        request.body(bytes).send()
    };
    assert_eq!(chunk("abc", "0-2").await.unwrap().headers()["range"], "0-2");
    for range in ["0-2", "4-6", "3-9", "x-y", "5-3", "3-18446744073709551615"] {
        assert_eq!(chunk("abc", range).await.unwrap().status(), 416, "{range}");
    }
    assert_eq!(chunk("def", "3-5").await.unwrap().status(), 202);
    let status = acme.request(Method::GET, &session).send().await.unwrap();
    assert_eq!(
        (status.status().as_u16(), &status.headers()["range"]),
        (204, &"0-5".parse().unwrap())
    );

    let finish = format!("{session}?digest={}", sha256(b"abcdef"));
    let done = acme.request(Method::PUT, &finish).send().await.unwrap();
    assert_eq!(done.status(), 201);
    let again = acme.request(Method::PUT, &finish).send().await.unwrap();
    assert_eq!(refusal(again).await.1, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(f.files("uploads"), 0);
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    let f = Fixture::new();
    let acme = f.pusher();
    let said = sha256(b"good");
    let path = format!("/v2/acme/exec/blobs/uploads/?digest={said}");
    let bad = acme.request(Method::POST, &path).body("evil").send().await.unwrap();
    let (status, code, message) = refusal(bad).await;
    assert_eq!((status, code.as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(message, format!("the bytes have the digest {}, not {said}", sha256(b"evil")));
    let manifest = artifact("a/a", None);
    let bad = acme.manifest("acme/exec", &said, &manifest).await;
    assert_eq!(refusal(bad).await.1, "DIGEST_INVALID");
    assert_eq!(f.files("uploads") + f.files("blobs/sha256"), 0);
}

#[tokio::test]
async fn sessions_belong_to_their_repository_and_can_be_cancelled() {
    let f = Fixture::new();
    let acme = f.pusher();
    let session = acme.begin("acme/exec").await;
    let elsewhere = session.replace("acme/exec", "acme/other");
    let stolen = acme.request(Method::PATCH, &elsewhere).body("x").send().await.unwrap();
    assert_eq!(refusal(stolen).await.1, "BLOB_UPLOAD_UNKNOWN");
    for id in ["..", "%2e%2e", "../../hub.sqlite", "x", "%00"] {
        let path = format!("/v2/acme/exec/blobs/uploads/{id}");
        let answer = acme.request(Method::PATCH, &path).body("x").send().await.unwrap();
        assert!(answer.status().is_client_error(), "{id}");
    }
    assert_eq!(acme.request(Method::DELETE, &session).send().await.unwrap().status(), 204);
    let gone = acme.request(Method::GET, &session).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    assert_eq!(f.files("uploads"), 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let f = Fixture::new();
    let acme = f.pusher();
    let manifest = acme
        .request(Method::PUT, "/v2/acme/exec/manifests/x")
        .header("content-type", media::MANIFEST)
        .body(vec![b' '; (4 << 20) + 1])
        .send()
        .await
        .unwrap();
    let (status, code, message) = refusal(manifest).await;
    assert_eq!((status, code.as_str()), (413, "SIZE_INVALID"));
    assert_eq!(message, "a manifest has at most 4194304 bytes here");

    let session = acme.begin("acme/exec").await;
    let head = format!(
        "PATCH {session} HTTP/1.1\r\nConnection: close\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999999\r\n\r\n",
        f.token
    );
    assert!(raw(&f.server, head.as_bytes()).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn broken_requests_end_with_a_refusal() {
    let f = Fixture::new();
    let begin = |extra: &str| {
        format!(
            "POST /v2/acme/exec/blobs/uploads/ HTTP/1.1\r\nConnection: close\r\nHost: x\r\nAuthorization: Bearer {}\r\n{extra}\r\n\r\n",
            f.token
        )
    };
    for (request, status) in [
        (
            "GET /v2/\u{e9}/x/tags/list HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
                .to_owned(),
            "400",
        ),
        (
            "GET /v2/acme/exec/tags/list?n=%ff HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
                .to_owned(),
            "400",
        ),
        (
            "PUT /v2/acme/../../etc/manifests/x HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
                .to_owned(),
            "400",
        ),
        ("BREW /v2/ HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n".to_owned(), "405"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (begin("Content-Length: -1"), "400"),
        (begin("Content-Length: 1\r\nContent-Length: 2"), "400"),
    ] {
        let answer = raw(&f.server, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    let acme = f.pusher();
    for body in [&b"\xff\xfe"[..], b"null", b"{", b"[[[[[[[[[[", "[".repeat(100_000).as_bytes()] {
        let request = acme.request(Method::PUT, "/v2/acme/exec/manifests/x");
        let answer = request.header("content-type", media::MANIFEST).body(body.to_vec()).send();
        let (status, code, _) = refusal(answer.await.unwrap()).await;
        assert_eq!((status, code.as_str()), (400, "MANIFEST_INVALID"));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_counts_for_nothing() {
    let f = Fixture::new();
    let acme = f.pusher();
    let session = acme.begin("acme/exec").await;
    let head = format!(
        "PATCH {session} HTTP/1.1\r\nConnection: close\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\nabc",
        f.token
    );
    break_off(&f.server, head.as_bytes()).await;
    let whole = acme.request(Method::PATCH, &session).body("good");
    let answer = retry_while_busy(whole).await;
    assert_eq!(answer.headers()["range"], "0-3", "the broken chunk left nothing");
    // The hub may notice the broken request only now, and be busy with it.
    let finish = format!("{session}?digest={}", sha256(b"good"));
    assert_eq!(retry_while_busy(acme.request(Method::PUT, &finish)).await.status(), 201);
}

#[tokio::test]
async fn two_uploads_of_the_same_blob_at_once_both_succeed() {
    let f = Fixture::new();
    let acme = f.pusher();
    let bytes = vec![7; 3 << 20];
    let all = futures_util::future::join_all((0..6).map(|_| acme.blob("acme/exec", &bytes)));
    assert_eq!(all.await.len(), 6);
    assert_eq!((f.files("blobs/sha256"), f.files("uploads")), (1, 0));
    let path = format!("/v2/acme/exec/blobs/{}", sha256(&bytes));
    assert_eq!(f.server.get(&path).await.bytes().await.unwrap(), bytes);
    let part = f.server.request(Method::GET, &path).header("range", "bytes=10-19");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 10-19/3145728");
    assert_eq!(part.bytes().await.unwrap().len(), 10);
}

/// The session is busy until the server notices that the other connection broke.
async fn retry_while_busy(request: reqwest::RequestBuilder) -> reqwest::Response {
    loop {
        let answer = request.try_clone().unwrap().send().await.unwrap();
        if answer.status() != 400 {
            return answer;
        }
        let (_, _, message) = refusal(answer).await;
        assert_eq!(message, "another request is writing to this upload");
    }
}

/// Sends bytes as they are, and gives what comes back until the server closes.
async fn raw(server: &Server, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are and closes the connection.
async fn break_off(server: &Server, request: &[u8]) {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
}
