"""Plays a keyless signer with authorities of its own: `keyless.py FOLDER < STATEMENT` writes FOLDER/trusted_root.json,
FOLDER/key.id, of the key in the certificate, and FOLDER/bundle.json, in which an identity signs the in-toto statement as `cosign sign` does: a certificate of ten minutes with
its timestamp of a certificate log, and an entry of a transparency log. `--key=value` sets what Signer has."""

import base64, json, struct, sys
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
PAYLOAD = "application/vnd.in-toto+json"

b64 = lambda data: base64.b64encode(data).decode()
der = lambda key: key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
new_key = lambda: ec.generate_private_key(ec.SECP256R1())
sign = lambda key, data: key.sign(data, ec.ECDSA(hashes.SHA256()))
named = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
text_of = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Signer:
    issuer = "https://accounts.example"
    identity = "https://ci.example/acme/release"
    at = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=1)
    spoil = ""  # sct, set, proof, checkpoint, signature, late: what is not as it should be

    def __init__(self, **told):
        for name, value in told.items():
            setattr(self, name, value)
        self.ca, self.log, self.ct, self.key = new_key(), new_key(), new_key(), new_key()
        self.start = self.at - timedelta(days=1)
        self.root = self.certificate(named("authority"), self.ca, 3650, [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
            (x509.SubjectKeyIdentifier.from_public_key(self.ca.public_key()), False)])

    def certificate(self, subject, key, days, extensions, minutes=0, start=None):
        start = start or self.start
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(named("authority")).public_key(key.public_key())
        made = made.serial_number(int.from_bytes(sha256(der(key)).digest()[:8], "big") >> 1).not_valid_before(start)
        made = made.not_valid_after(start + timedelta(days=days, minutes=minutes))
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(self.ca, hashes.SHA256())

    def leaf(self):
        name = x509.UniformResourceIdentifier if "://" in self.identity else x509.RFC822Name
        claim = self.issuer.encode()
        extensions = [
            (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca.public_key()), False),
            (x509.SubjectAlternativeName([name(self.identity)]), True),
            (x509.UnrecognizedExtension(ISSUER, b"\x0c" + bytes([len(claim)]) + claim), False)]
        made = lambda more: self.certificate(x509.Name([]), self.key, 0, extensions + more, 10, self.at)
        body = made([]).tbs_certificate_bytes
        stamp = struct.pack(">Q", int(self.at.timestamp() * 1000))
        entry = b"\0\0" + stamp + b"\0\x01" + sha256(der(self.ca)).digest() + len(body).to_bytes(3, "big") + body + b"\0\0"
        signed = sign(new_key() if self.spoil == "sct" else self.ct, entry)
        sct = b"\0" + sha256(der(self.ct)).digest() + stamp + b"\0\0\x04\x03" + struct.pack(">H", len(signed)) + signed
        listed = struct.pack(">HH", len(sct) + 2, len(sct)) + sct
        return made([(x509.UnrecognizedExtension(SCTS, b"\x04" + self.length(listed) + listed), False)])

    @staticmethod
    def length(data):
        return bytes([len(data)]) if len(data) < 128 else bytes([0x81, len(data)]) if len(data) < 256 else b"\x82" + struct.pack(">H", len(data))

    def entry(self, envelope, certificate):
        """What the log says of the envelope, as its only entry."""
        payload = base64.b64decode(envelope["payload"])
        digest = lambda data: {"algorithm": "sha256", "value": sha256(data).hexdigest()}
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": digest(json.dumps(envelope, separators=(",", ":")).encode()), "payloadHash": digest(payload),
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": b64(pem)}]}}, separators=(",", ":")).encode()
        at = int((self.at + timedelta(minutes=20 if self.spoil == "late" else 0, seconds=5)).timestamp())
        promised = json.dumps({"body": b64(body), "integratedTime": at, "logID": sha256(der(self.log)).hexdigest(), "logIndex": 0},
                              separators=(",", ":"), sort_keys=True).encode()
        root = sha256(b"\0" + body).digest()
        note = f"log.example - 1\n1\n{b64(root)}\n"
        hint = sha256(der(self.log)).digest()[:4]
        signed = sign(new_key() if self.spoil == "checkpoint" else self.log, note.encode())
        return {
            "logIndex": "0", "logId": {"keyId": b64(sha256(der(self.log)).digest())}, "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": b64(sign(new_key() if self.spoil == "set" else self.log, promised))},
            "inclusionProof": {"logIndex": "0", "rootHash": b64(root), "treeSize": "1",
                               "hashes": [b64(root)] if self.spoil == "proof" else [],
                               "checkpoint": {"envelope": f"{note}\n\u2014 log.example {b64(hint + signed)}\n"}},
            "canonicalizedBody": b64(body)}

    def bundle(self, statement):
        certificate = self.leaf()
        pae = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(statement), statement)
        signed = sign(new_key() if self.spoil == "signature" else self.key, pae)
        envelope = {"payload": b64(statement), "payloadType": PAYLOAD, "signatures": [{"sig": b64(signed)}]}
        return {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {
            "certificate": {"rawBytes": b64(certificate.public_bytes(serialization.Encoding.DER))},
            "tlogEntries": [self.entry(envelope, certificate)]}, "dsseEnvelope": envelope}

    def trusted_root(self):
        since = {"start": text_of(self.start)}
        log = lambda key, url: {"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": {"keyId": b64(sha256(der(key)).digest())},
                                "publicKey": {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}}
        chain = {"certificates": [{"rawBytes": b64(self.root.public_bytes(serialization.Encoding.DER))}]}
        return {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log, "https://log.example")], "ctlogs": [log(self.ct, "https://ct.example")],
                "certificateAuthorities": [{"subject": {"organization": "example", "commonName": "authority"},
                                            "uri": "https://authority.example", "certChain": chain, "validFor": since}],
                "timestampAuthorities": []}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    signer = Signer(**dict(told.removeprefix("--").split("=", 1) for told in sys.argv[2:]))
    (folder / "bundle.json").write_text(json.dumps(signer.bundle(sys.stdin.buffer.read())))
    (folder / "trusted_root.json").write_text(json.dumps(signer.trusted_root()))
    (folder / "key.id").write_text(sha256(der(signer.key)).hexdigest())
