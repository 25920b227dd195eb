"""Plays the authority and the log of `keyless.py` over HTTP, and a runner's tokens, for `cosign sign` itself: `authority.py FOLDER
[--key=value…]` writes FOLDER/trusted_root.json and FOLDER/signing.json, prints its address, and answers until its input ends."""

import base64, json, sys, threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from keyless import Signer, text_of


UUID = "0" * 64


class Foreign:
    """A key of which the public half alone is here."""

    def __init__(self, pem):
        self.public = serialization.load_pem_public_key(pem)

    def public_key(self):
        return self.public


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        # A runner's own token, as GitHub gives it to a job: nobody here asks who signed it.
        part = lambda said: base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
        at = int(datetime.now(timezone.utc).timestamp())
        said = {"iss": signer.issuer, "sub": "repo:acme/exec", "aud": "sigstore", "iat": at, "exp": at + 300}
        self.answer(200, {"value": ".".join([part({"alg": "RS256"}), part(said), "c2ln"])})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/signingCert"):
            key = asked["publicKeyRequest"]["publicKey"]["content"]
            signer.key = Foreign(key.encode())
            signer.certified = signer.leaf()
            pem = lambda one: one.public_bytes(serialization.Encoding.PEM).decode()
            chain = {"chain": {"certificates": [pem(signer.certified), pem(signer.root)]}}
            return self.answer(200, {"signedCertificateEmbeddedSct": chain})
        envelope = json.loads(asked["spec"]["proposedContent"]["envelope"])
        entry = signer.entry(envelope, signer.certified)
        proof = entry["inclusionProof"]
        self.answer(201, {UUID: {
            "body": entry["canonicalizedBody"], "integratedTime": int(entry["integratedTime"]), "logIndex": 0,
            "logID": base64.b64decode(entry["logId"]["keyId"]).hex(), "verification": {
                "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
                "inclusionProof": {"logIndex": 0, "treeSize": 1, "hashes": [], "rootHash": base64.b64decode(proof["rootHash"]).hex(),
                                   "checkpoint": proof["checkpoint"]["envelope"]}}}})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", UUID)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    signer = Signer(**dict(told.removeprefix("--").split("=", 1) for told in sys.argv[2:]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    url = f"http://127.0.0.1:{server.server_port}"
    service = [{"url": url, "majorApiVersion": 1, "validFor": {"start": text_of(signer.start)}, "operator": "example"}]
    (folder / "trusted_root.json").write_text(json.dumps(signer.trusted_root()))
    (folder / "signing.json").write_text(json.dumps({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": service, "oidcUrls": service,
        "rekorTlogUrls": service, "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {}}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(url, flush=True)
    sys.stdin.read()
