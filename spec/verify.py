#!/usr/bin/env python3
"""A second reader of the standard, written from this folder's text and schemas alone.

Needs Python 3.11 and the package `cryptography`. As a command of the conformance protocol: `verify.py`.
By hand: `verify.py LAYOUT TRUST.TOML NAME:VERSION [BUNDLE…]` checks a package in an OCI layout.
"""
import base64, hashlib, io, ipaddress, json, os, re, struct, sys, tarfile, tomllib, zlib
from datetime import date, datetime, time, timezone
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

HERE, EXACT, MIB = os.path.dirname(os.path.abspath(__file__)), 2**53 - 1, 1 << 20
sha = lambda data: hashlib.sha256(data).hexdigest()
unbase64 = lambda text: base64.b64decode(text, validate=True)
like = lambda pattern: lambda text: re.fullmatch(pattern, text) is not None

class Refused(Exception):
    """Its code, and why."""

def need(fine, code, why=""):
    if not fine:
        raise Refused(code, why)

def tried(code, action, *given):
    """What an action gives; where it fails, the code."""
    try:
        return action(*given)
    except (Refused, ValueError, KeyError, zlib.error, tarfile.TarError) as error:
        raise Refused(code, error)

def works(action, *given):
    try:
        return tried("", action, *given) is not False
    except Refused:
        return False

def read_file(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()

# JSON as parts 2 and 3 want it; what is no exact integer becomes a float
def members(pairs):
    need(len(dict(pairs)) == len(pairs), "json.duplicate")
    return dict(pairs)

def walk(value, level=0):
    yield level, value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner, level + 1)

def load(data, most):
    whole = lambda text: int(text) if text != "-0" and len(text) < 18 and abs(int(text)) <= EXACT else 0.5
    need(len(data) <= most, "json.size")
    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_constant=int, parse_int=whole)
    except (ValueError, RecursionError) as error:
        raise Refused("json.syntax", error)
    need(all(level < 127 or not isinstance(held, (dict, list)) for level, held in walk(value)), "json.syntax")
    return value

inexact = lambda value: any(isinstance(held, float) for _, held in walk(value))
canonical = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

# The schemas
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None)}
CHECKS = {  # of each keyword the type that it speaks of, and the check
    "required": (dict, lambda keys, value: all(key in value for key in keys)),
    "enum": (str, lambda words, text: text in words),
    "const": (object, lambda wanted, value: value == wanted),
    "minimum": (int, lambda least, number: number >= least),
    "maximum": (int, lambda most, number: number <= most),
    "minItems": (list, lambda least, items: len(items) >= least),
    "maxItems": (list, lambda most, items: len(items) <= most),
    "pattern": (str, lambda pattern, text: re.search(re.sub(r"\$$", r"\\Z", pattern), text)),
    "format": (str, lambda word, text: works(FORMATS.get(word, str), text)),
}

def member(schema, key):
    if any(re.search(pattern, key) for pattern in schema.get("patternProperties", ())):
        return True
    return schema.get("properties", {}).get(key, schema.get("additionalProperties", True))

def broken(schema, value):
    """The keyword by which a schema refuses a value, or None."""
    if schema is True:
        return None
    if schema.get("format") == "date-time" and isinstance(value, (date, time)):  # of TOML
        return None if isinstance(value, datetime) and value.tzinfo else "format"
    kinds = schema.get("type", list(KINDS))
    kinds = [KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if not isinstance(value, tuple(kinds)) or (isinstance(value, bool) and bool not in kinds):
        return "type"
    pairs = value.items() if isinstance(value, dict) else ()
    if any(member(schema, key) is False for key, _ in pairs):
        return "additionalProperties"
    for keyword, (kind, check) in CHECKS.items():
        if keyword in schema and isinstance(value, kind) and not check(schema[keyword], value):
            return keyword
    found = [broken(schema.get("items", True), item) for item in value] if isinstance(value, list) else []
    found += [broken(schema.get("propertyNames", True), key) for key, _ in pairs]
    found += [broken(member(schema, key), inner) for key, inner in pairs]
    return next(filter(None, found), None)

SCHEMAS = {document: json.loads(read_file(HERE, "schema", document + ".schema.json")) for document in
           "names skep manifest index image-manifest trust bundle statement channel keys".split()}

def hold(document, value):
    keyword, codes = broken(SCHEMAS[document], value), SCHEMAS[document]["x-codes"]
    need(keyword is None, codes.get(keyword, codes["*"]), keyword)
    return value

shaped = lambda document, data, most=4 * MIB: hold(document, load(data, most))

# Part 1: names
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
NUM, PRE = r"(0|[1-9][0-9]*)", r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = rf"{NUM}\.{NUM}\.{NUM}(-{PRE}(\.{PRE})*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
REFERENCE = (r"((?P<registry>(?=localhost/|[^/]*[.:])([A-Za-z0-9.][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])"
             r"(:(?P<port>[0-9]+))?)/)?+(?P<path>([a-z0-9]([a-z0-9._-]*[a-z0-9])?/)*)"
             r"(?P<package>[^/:@]*/[^/:@]*)(:(?P<version>[^@]*))?(@((?P<digest>.*:.*)|(?P<channel>.*)))?")
is_name = lambda kind, text: broken(SCHEMAS["names"]["$defs"][kind], text) is None

def is_version(text):
    found = re.fullmatch(SEMVER, text)
    return found is not None and all(int(number) < 2**64 for number in found.group(1, 2, 3))

def name(kind, text):
    need(is_name(kind, text), "name." + kind.replace("goarch", "architecture"), text)
    return text

def reference(text):
    found = re.fullmatch(REFERENCE, text)
    need(found and int(found["port"] or 0) < 65536, "name.reference", text)
    need(found["registry"] or not found["path"], "name.reference", text)
    pins = {kind: found[kind] for kind in ("package", "version", "digest", "channel")}
    need(all(part is None or is_name(kind, part) for kind, part in pins.items()), "name.reference", text)
    return {**pins, "name": pins["package"], "registry": found["registry"], "path": found["path"][:-1]}

# Part 2: the manifest. What cannot read a text raises ValueError or Refused
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
         "": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
PARAMETER = r"\$\{param\.([^}]*)\}"

def match(pattern, text):
    found = re.fullmatch(pattern, text, re.S)
    need(found, "param.type", text)
    return found.groups()

def integer(text, low=1 - 2**64, high=2**64):
    match("-?(0x[0-9a-fA-F_]+|[0-9_]+)", text)
    number = int(text.replace("_", ""), 16 if "x" in text else 10)
    need(low <= number < high, "param.type", text)
    return number

def size(text):
    number, unit = match("(.*?) *(|B|[KMGT]iB)", text)
    return integer(number, 0, 2**60 + 1) * UNITS[unit]

def duration(text):
    number, part, unit = match(r"([0-9_]+)(?:\.([0-9]{0,18}))? *(ns|us|ms|s|m|h)", text)
    return int(number.replace("_", "")) * UNITS[unit] + int(part or 0) * UNITS[unit] // 10 ** len(part or "")

def device(text):
    major, minor = map(int, match("([0-9]+):([0-9]+)", text))
    need(major < 1 << 12 and minor < 1 << 20, "param.type", text)
    return major << 20 | minor

def is_license(text):
    """Joins what may be joined, until one licence is left: `x` stands for one, `p` for one with a plus."""
    word = lambda token: like("[A-Za-z0-9.-]+")(token) and token not in ("AND", "OR", "WITH")
    kind = lambda token: "x" if word(token) else "p" if token[-1] == "+" and word(token[:-1]) else token
    text, last = " ".join(map(kind, re.findall(r"[()]|[^ ()]+", text))), None
    text = re.sub("[xp] WITH x", "x", text).replace("p", "x")
    while text != last:
        last, text = text, re.sub(r"\( x \)|x (AND|OR) x", "x", text)
    return text == "x"

def template(text, values=None):
    """The names of the parameters in a text, or the text with their values."""
    need("${" not in re.sub(PARAMETER, "\0", text), "param.reference")
    names = re.findall(PARAMETER, text)
    need(values is None or set(names) <= set(values), "param.no-value")
    return names if values is None else re.sub(PARAMETER, lambda found: values[found[1]], text)

def known(schema, value):
    """What a reader knows of a manifest, without what is empty and optional; large integers as text."""
    if isinstance(value, list):
        return [known(schema["items"], held) for held in value]
    if not isinstance(value, dict):
        return str(value) if isinstance(value, int) and abs(value) > EXACT else value
    shapes = {key: member(schema, key) for key in value}
    empty = lambda key: value[key] == [] or value[key] == {} and "properties" not in shapes[key]
    return {key: known(shapes[key], value[key]) for key in value if shapes[key] is not True
            and (key in schema.get("required", ()) or not empty(key))}

def knows(schema, path):
    first, _, rest = path.partition(".")
    shape = member(schema, first) if schema["type"] == "object" else True
    while shape is not True and "items" in shape:
        shape = shape["items"]
    return shape is not True and (rest == "" or knows(shape, rest))

def read_manifest(data):
    value = load(data, MIB)
    need(not inexact(value), "json.number")
    need(isinstance(value, dict), "manifest.type")
    spec = value["spec"] if isinstance(value.get("spec"), str) else "1.0"
    need(like(r"[0-9]+\.[0-9]+")(spec), "manifest.spec")
    need(int(spec.split(".")[0]) <= 1, "manifest.later")
    keys = [key for _, key in walk(value.get("critical")) if isinstance(key, str)]
    need(all(knows(SCHEMAS["manifest"], key) for key in keys), "manifest.critical")
    return hold("manifest", value)

def resolved(value):
    found = known(SCHEMAS["manifest"], value)
    for one in found.get("program", {}).values():
        one.setdefault("optional", False)
    for one in found.get("alternatives", {}).values():
        one.setdefault("otherwise", "refuse")
    return {"canonical": canonical(found)}

def resolve(text, objects={}):
    need(len(text.encode()) <= 256 << 10, "toml.size")
    value = hold("skep", tried("toml.syntax", tomllib.loads, text))
    sources, params, programs = value["object"], value.get("param", {}), value.get("program", {})
    need(sources, "manifest.missing")
    for one in sources.values():
        need(one.get("sources") or one.get("file"), "manifest.missing")
        need(not (one.get("sources") and one.get("file")), "manifest.conflict")
        need(one.get("file") or one.get("arch") != [], "manifest.value")
    for one in programs.values():
        need("object" in one or len(sources) == 1, "manifest.missing")
        names = template(one.get("target", "")) + [one[key] for key in one if key == "requires-param"]
        need(one.get("object", [*sources][0]) in sources and set(names) <= set(params), "manifest.reference")
    for group in value.get("alternatives", {}).values():
        need(all(set(programs) >= set(each) for each in group["try"]), "manifest.reference")
    for one in params.values():
        bound = [key for key in ("rodata", "data") if key in one]
        need(len(bound) < 2 and not (bound and one["type"] in ("cidr", "cpus")), "manifest.conflict")
        need(len(one.get("range", "12")) == 2, "manifest.value")
        default = one.get("default")
        text = str(default).lower() if isinstance(default, bool) else str(default)
        need(default is None or works(value_of, one, text), "manifest.value")
    for one in value.get("map", {}).values():
        merges = one.get("fields") or one.get("rename")
        need(one.get("upgrade") == "migrate" or not merges, "manifest.conflict")
        entries = str(one.get("max_entries", 0))
        need(works(template if "${" in entries else size, entries), "manifest.value")
        need(set(template(entries)) <= set(params), "manifest.reference")
    return resolved({**value, "objects": {label: {"sha256": arches} for label, arches in objects.items()}})

READERS = {"bool": {"true": 1, "1": 1, "false": 0, "0": 0}.__getitem__, "int": integer, "enum": integer,
           "uint": lambda text: integer(text, 0), "pid": lambda text: integer(text, 0), "device": device,
           "size": size, "duration": duration, "ip": lambda text: ipaddress.ip_address(text).packed,
           "mac": lambda text: bytes.fromhex("".join(match(":".join(["([0-9a-fA-F]{2})"] * 6), text))),
           "cidr": lambda text: None, "cpus": lambda text: None}

def value_of(param, text):
    """The number or the bytes of a parameter's value; None of what no variable takes."""
    string = lambda text: match("([^\0]*)", text)[0].encode() + b"\0"
    found = tried("param.type", READERS.get(param["type"], string), text)
    found = found // UNITS[param.get("unit") or "ns"] if param["type"] == "duration" else found
    if isinstance(found, int) and param.get("range"):
        low, high = (value_of({**param, "range": None}, str(end)) for end in param["range"])
        need(low <= found <= high, "param.range")
    return found

def encode(q):
    found, room, order = value_of(q, q["text"]), q["size"], "big" if q.get("big_endian") else "little"
    need(found is not None, "param.unwritable")
    if isinstance(found, int):
        need(1 <= room <= 8 and -(1 << room * 8 - 1) <= found < 1 << room * 8, "param.size")
        found = (found % (1 << room * 8)).to_bytes(room, order)
    need(len(found) <= room, "param.size")
    return {"hex": found.ljust(room, b"\0").hex()}

GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")

def license_check(q):
    table = read_file(HERE, "12-registries.md").decode().split("## GPL-only helpers")[1].split("## ")[0]
    asks = set(re.findall("`([a-z_0-9]+)`", table)) & set(q.get("helpers", ())) or q.get("kfuncs")
    need(q.get("license") in GPL or not asks, "license.object")

# Part 3: OCI
OCI = "application/vnd.oci.image."
INDEX, MANIFEST = OCI + "index.v1+json", OCI + "manifest.v1+json"
DOCUMENTS = {"index": "index", "manifest": "image-manifest", INDEX: "index", MANIFEST: "image-manifest"}

def write_document(q):
    size = lambda one: {"digest": one["digest"], "size": one["size"]}
    entry = lambda one, kind, **more: {"mediaType": OCI + kind, **size(one), **more}
    mark = lambda one: {"org.opencontainers.image.title": one["title"], "vnd.skep.role": one["role"]}
    notes = dict(sorted(q.get("annotations", q.get("labels")).items()))
    if q["kind"] == "config":
        value = {"architecture": q["architecture"], "config": {"Labels": notes}, "os": "linux",
                 "rootfs": {"type": "layers", "diff_ids": q["diff_ids"]}}
    elif q["kind"] == "index":
        found = [entry(one, "manifest.v1+json", platform={"architecture": one["architecture"], "os": "linux"})
                 for one in sorted(q["manifests"], key=lambda one: one["architecture"])]
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found, "annotations": notes}
    else:
        layers = [entry(one, "layer.v1.tar+gzip", annotations=mark(one)) for one in q["layers"]]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.skep.package.v1",
                 "config": entry(q["config"], "config.v1+json"), "layers": layers, "annotations": notes}
    return {"text": json.dumps(value, separators=(",", ":"), ensure_ascii=False)}

def write_tar(files):
    out = b""
    for name, data in files:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        head = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
        head[329:345], head[148:156] = b"0000000\0" * 2, b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        out += head + data + bytes(-len(data) % 512)
    return out + bytes(1024)

def write_layer(name, data):
    need(like("[!-~]{1,100}")(name), "layer.name")
    tar, gz = write_tar([(name, unbase64(data))]), bytes.fromhex("1f8b08000000000000ff")
    for at in range(0, len(tar), 65535):
        block = tar[at:at + 65535]
        gz += struct.pack("<BHH", at + 65535 >= len(tar), len(block), len(block) ^ 0xFFFF) + block
    return {"sha256": sha(gz + struct.pack("<II", zlib.crc32(tar), len(tar))), "diff_id": sha(tar)}

def read_tar(data):
    """The entries of a tar archive with what there is of their bytes, and where they end."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(entry, data[entry.offset_data:][:entry.size]) for entry in tar], tar.offset

def read_layer(data, most):
    reader = zlib.decompressobj(31)
    tar = tried("layer.gzip", reader.decompress, data, most + MIB + 1)
    need(len(tar) <= most + MIB, "layer.too-large")
    need(reader.eof, "layer.gzip", "cut off")
    need(not reader.unused_data, "layer.trailing")
    found, end = tried("layer.tar", read_tar, tar)
    need(all(entry.type in b"0\0" for entry, _ in found), "layer.not-regular")
    need(not any(tar[end:end + 512]), "layer.tar")
    need(len(found) == 1, "layer.count")
    entry, body = found[0]
    need(entry.size <= most, "layer.too-large")
    need(len(body) == entry.size, "layer.tar")
    return {"name": entry.name, "body": body, "sha256": sha(body)}

blob_path = lambda layout, digest: os.path.join(layout, "blobs", "sha256", digest[7:])

def blob(layout, digest, length=None, most=64 * MIB):
    path = blob_path(layout, digest)
    need(length is None or length <= most, "oci.too-large")
    need(os.path.exists(path), "oci.missing", digest)
    need(length in (None, os.path.getsize(path)), "oci.size")
    need("sha256:" + sha(read_file(path)) == digest, "oci.altered", digest)
    return read_file(path)

def read_package(q):
    layout, asked, room = q["layout"], reference(q["reference"]), 128 * MIB
    part = lambda one, most=64 * MIB: blob(layout, one["digest"], one["size"], most)
    there = lambda one: os.path.exists(blob_path(layout, one["digest"]))
    index = shaped("index", blob(layout, q["digest"]))
    platform = {"architecture": ARCH[q["arch"]], "os": "linux"}
    found = [one for one in index["manifests"] if one.get("platform") == platform]
    need(found, "oci.no-platform")
    manifest = shaped("image-manifest", part(found[0], 4 * MIB))
    need(manifest.get("artifactType") == "application/vnd.skep.package.v1", "oci.not-a-package")
    role = lambda one: one.get("annotations", {}).get("vnd.skep.role")
    of = lambda wanted: [one for one in manifest["layers"] if role(one) == wanted]
    for one in filter(there, [manifest["config"]]):
        part(one, 4 * MIB)
    need(len(of("manifest")) == 1 and 1 <= len(of("object")) <= 64, "oci.layers")
    data = read_layer(part(of("manifest")[0]), MIB)["body"]
    said, held = read_manifest(data), set()
    need(said["package"]["name"] == asked["name"], "oci.name")
    need(asked["version"] in (None, said["package"]["version"]), "oci.version")
    for one in of("object"):
        elf = read_layer(part(one), min(64 * MIB, room))
        room -= len(elf["body"])
        held.add(elf["sha256"])
    objects = {label: one["sha256"].get(q["arch"]) for label, one in said["objects"].items()}
    need(set(objects.values()) == held, "oci.object")
    for one in filter(there, of("readme")[:1]):
        tried("oci.readme", read_layer(part(one), MIB)["body"].decode)
    return {"manifest": sha(data), "objects": objects}

# Part 6: permissions, by the tables of its text
ALIAS = {"tp": "tracepoint", "tc": "tcx", "classifier": "tcx", "raw_tracepoint": "raw_tp"}
ROWS = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", read_file(HERE, "06-permissions.md").decode(), re.M)
LISTS = {what: rf"{what}s? ((?:`\w+`(?:, )?)+)" for what in ("hook", "helper")}
POWERS = {power: [set(re.findall("`(.*?)`", "".join(re.findall(LISTS[what], row)))) for what in LISTS]
          for power, row in ROWS}
POWERS["reads-traffic"][0] |= POWERS["controls-traffic"][0]
NAMED = set().union(*(hooks for hooks, _ in POWERS.values()))

def kind_of(hook):
    kind = re.split("[/.]", hook.removeprefix("?"))[0]
    return ALIAS.get(kind, kind)

def powers(q):
    kinds = {kind_of(hook) for hook in q["hooks"]}
    more = {"calls-kernel-functions": q["kfuncs"], "observes": kinds - NAMED}
    return [power for power, (hooks, helpers) in POWERS.items()
            if kinds & hooks or set(q["helpers"]) & helpers or more.get(power)]

def covered(patterns, name):
    return any(name.startswith(one[:-1]) if one.endswith("*") else one == name for one in patterns)

def permissions(q):
    given = {"hooks": [], "helpers": [], "kfuncs": [], **q["permissions"]}
    for hook in q["hooks"]:
        kinds = {kind_of(hook), kind_of(hook).replace("tcx", "tc")}
        need(covered(given["hooks"], hook) or kinds & set(given["hooks"]), "permission.hook")
    for what in ("helper", "kfunc"):
        need(all(covered(given[what + "s"], one) for one in q[what + "s"]), "permission." + what)
    need("map-memory" not in given or q["map_memory"] <= size(given["map-memory"]), "permission.memory")

def compare(q):
    old, new = ({**q[version], "powers": powers(q[version])} for version in ("old", "new"))
    order = {"powers": list(POWERS).index}
    only = lambda a, b: {key: sorted(set(a[key]) - set(b[key]), key=order.get(key))
                         for key in ("hooks", "helpers", "kfuncs", "powers")}
    wider = any(only(new, old).values()) or new["map_memory"] > old["map_memory"]
    return {"added": only(new, old), "removed": only(old, new), "wider": wider}

# Part 9: trust
IN_TOTO, UTC = "application/vnd.in-toto+json", "%Y-%m-%dT%H:%M:%SZ"
SIGN, CHANNEL, KEYS = "https://sigstore.dev/cosign/sign/v1", "urn:skep:channel:v1", "urn:skep:keys:v1"

class Key:
    def __init__(self, text):
        try:
            self.der = unbase64(text)
            self.key = serialization.load_der_public_key(self.der)
        except Exception:  # the crypto package raises many kinds
            raise Refused("key.spki")
        self.how = () if isinstance(self.key, ed25519.Ed25519PublicKey) else (ec.ECDSA(hashes.SHA256()),)
        need(not self.how or isinstance(getattr(self.key, "curve", None), ec.SECP256R1), "key.spki")
        encoding = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        need(self.key.public_bytes(*encoding) == self.der and len(self.der) in (44, 91), "key.spki")
        self.id = sha(self.der)

    def signed(self, bundle):
        payload = bundle["payload"]
        message = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
        try:
            return self.key.verify(bundle["sig"], message, *self.how) is None
        except InvalidSignature:
            return False

def parse_bundle(data):
    value = tried("trust.malformed", shaped, "bundle", data, MIB)
    material, envelope = value["verificationMaterial"], value["dsseEnvelope"]
    key = material.get("publicKey")
    certificate = any(material.get(kind) is not None for kind in ("certificate", "x509CertificateChain"))
    need((key is None) == certificate, "trust.malformed")
    return {"payload": unbase64(envelope["payload"]), "sig": unbase64(envelope["signatures"][0]["sig"]),
            "hint": None if key is None else key.get("hint", "")}

def parse_statement(payload):
    value = tried("trust.malformed", shaped, "statement", payload, MIB)
    subjects = [(one.get("name", ""), one["digest"].get("sha256")) for one in value["subject"]]
    return value["predicateType"], [one for one in subjects if one[1] is not None], value.get("predicate")

def moment(text):
    return datetime.strptime(match("(.{20})", text)[0], UTC).replace(tzinfo=timezone.utc)

def is_pattern(text):
    return is_name("package", re.sub(r"\*\Z", "x" if "/" in text else "x/x", text))

FORMATS = {"skep-version": is_version, "skep-license": is_license, "skep-size": size, "skep-time": moment,
           "skep-duration": duration, "skep-pattern": is_pattern, "skep-base64": unbase64, "skep-spki": Key}

def policy(text):
    need(len(text.encode()) <= MIB, "policy.syntax")
    value, rules = hold("trust", tried("policy.syntax", tomllib.loads, text)), []
    for one in value.get("rule", []):
        keys = [(Key(key["spki"]), key.get("not_after")) for key in one.get("keys", [])]
        packages, registries = set(one["packages"]), set(one.get("registries", [])) or {None}
        need((keys or one.get("keyless")) and len({key.id for key, _ in keys}) == len(keys), "policy.rule")
        need(one.get("keyless") or one.get("threshold", 1) <= len(keys), "policy.rule")
        clashes = [theirs for theirs, others, *_ in rules if registries & others and packages & theirs]
        need(not clashes, "policy.rule")
        rules.append((packages, registries, one.get("threshold", 1), keys))
    revoked = value.get("revoked", {})
    return rules, set(revoked.get("keys", [])), set(revoked.get("digests", []))

def rule_for(rules, name, registry):
    found = [((not pattern.endswith("*"), len(pattern), registries != {None}), threshold, keys)
             for packages, registries, threshold, keys in rules for pattern in packages
             if registries & {None, registry} and covered([pattern], name)]
    need(found, "trust.no-rule")
    _, threshold, keys = max(found, key=lambda one: one[0])
    need(keys, "trust.keyless")
    return threshold, keys

def counted(data, keys, revoked, now, predicate):
    bundle = parse_bundle(data)
    need(bundle["hint"] is not None, "trust.keyless")
    found = [one for one in keys if one[0].signed(bundle)]
    if not found:
        claimed = unbase64(bundle["hint"]).hex() if works(unbase64, bundle["hint"]) else ""
        need(claimed not in {key.id for key, _ in keys}, "trust.altered")
        raise Refused("trust.revoked-key" if claimed in revoked else "trust.another-key")
    key, end = found[0]
    need(key.id not in revoked, "trust.revoked-key")
    need(end is None or now <= end, "trust.expired")
    statement = parse_statement(bundle["payload"])
    need(statement[0] == predicate, "trust.another-predicate")
    return key.id, statement, bundle["payload"]

def signers(q, rules, revoked, predicate, wanted=None):
    """What enough keys said, each with its keys; of a digest that is wanted, whatever was said beside it."""
    threshold, keys = rule_for(rules, q["name"], q["registry"])
    need(q["bundles"], "trust.unsigned")
    said, codes = {}, []
    for text in q["bundles"][:64]:
        try:
            key, statement, payload = counted(unbase64(text), keys, revoked, moment(q["now"]), predicate)
            need(wanted is None or wanted in dict(statement[1]).values(), "trust.another-digest")
            said.setdefault(wanted or payload, (statement, set()))[1].add(key)
        except Refused as error:
            codes.append(error.args[0])
    enough = [one for one in said.values() if len(one[1]) >= threshold]
    need(enough, (codes + ["trust.not-enough"])[0])
    return enough

def verify(q):
    rules, revoked, digests = policy(q["policy"])
    need(q["digest"] not in digests, "trust.revoked-digest")
    return {"keys": sorted(signers(q, rules, revoked, SIGN, q["digest"][7:])[0][1])}

def channel(q):
    rules, revoked, digests = policy(q["policy"])
    found = [statement for statement, _ in signers(q, rules, revoked, CHANNEL)]
    found = [one for one in found if broken(SCHEMAS["channel"], one[2]) is None and not inexact(one[2])]
    need(found, "channel.malformed")
    _, subjects, said = max(found, key=lambda one: one[2]["sequence"])
    need(len(subjects) == 1 and moment(said["issued"]) < moment(said["expires"]), "channel.malformed")
    need((said["name"], said["channel"]) == (q["name"], q["channel"]), "channel.another")
    digest, seen = "sha256:" + subjects[0][1], q["known"] or {"sequence": 0, "digest": None}
    need(digest not in digests, "trust.revoked-digest")
    need(said["sequence"] >= seen["sequence"], "channel.older")
    need(said["sequence"] > seen["sequence"] or digest == seen["digest"], "channel.equivocation")
    need(moment(q["now"]) <= moment(said["expires"]), "channel.expired")
    return {"digest": digest, "sequence": said["sequence"]}

def rotation(q):
    version, threshold = q["trusted"]["version"], q["trusted"]["threshold"]
    keys, bad = [Key(text) for text in q["trusted"]["keys"]], "rotation.malformed"
    for document in q["documents"]:
        bundles = [parse_bundle(data) for data in map(unbase64, document) if works(parse_bundle, data)]
        count = lambda keys, payload: sum(key.id not in q.get("revoked", []) and any(
            one["payload"] == payload and key.signed(one) for one in bundles) for key in keys)
        need(bundles, bad)
        payload = max((one["payload"] for one in bundles), key=lambda payload: count(keys, payload))
        need(count(keys, payload) >= threshold, "rotation.threshold")
        kind, subjects, said = tried(bad, parse_statement, payload)
        need(kind == KEYS and subjects == [("keys", sha(canonical(said).encode()))], bad)
        new = [Key(text) for text in hold("keys", said)["keys"]]
        need(said["threshold"] <= len(new) == len({key.id for key in new}) and not inexact(said), bad)
        need(said["publisher"] == q["publisher"], "rotation.publisher")
        need(said["version"] == version + 1, "rotation.version")
        need(count(new, payload) >= said["threshold"], "rotation.threshold")
        version, threshold, keys = said["version"], said["threshold"], new
    return {"version": version, "keys": sorted(key.id for key in keys)}

# Part 11: archives
def read_archive(data):
    files, at = {}, 0
    while any(data[at:at + 512]):
        head = data[at:at + 512]
        entry = tried("archive.tar", tarfile.TarInfo.frombuf, head, "utf-8", "replace")
        need(head[257:265] == b"ustar\x0000", "archive.tar")
        need(head[156:157] == b"0" and not any(head[345:500]), "archive.entry")
        need(entry.size <= (4 if entry.name == "index.json" else 64) * MIB, "archive.limit")
        blob = like("blobs/sha256/[0-9a-f]{64}")(entry.name) and entry.name > max([*files][2:], default="")
        need(blob or entry.name in ("oci-layout", "index.json")[len(files):], "archive.entry")
        files[entry.name] = data[at + 512:at + 512 + entry.size]
        at += 512 + entry.size + -entry.size % 512
        need(at <= len(data), "archive.tar")
    need(data[at:] == bytes(1024), "archive.tar")
    return files

def archive(data):
    files, bad = read_archive(data), "archive.layout"
    need([*files][:2] == ["oci-layout", "index.json"], bad)
    need(re.search(rb'"imageLayoutVersion"\s*:\s*"1\.0\.0"', files.pop("oci-layout")), bad)
    index = tried(bad, shaped, "index", files.pop("index.json"))
    blobs = {"sha256:" + name[13:]: body for name, body in files.items()}
    need(all("sha256:" + sha(body) == digest for digest, body in blobs.items()), "archive.altered")
    packages = [one.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
                for one in index["manifests"] if one["mediaType"] == INDEX]
    need(all(like("[^/]*/[^/@]*:[^@]*")(text) and works(reference, text) for text in packages), bad)
    seen, todo = set(), list(index["manifests"])
    while todo:
        one = todo.pop()
        need(one["digest"] in blobs and len(blobs[one["digest"]]) == one["size"], "archive.missing")
        if one["digest"] not in seen and one["mediaType"] in DOCUMENTS:
            held = tried(bad, shaped, DOCUMENTS[one["mediaType"]], blobs[one["digest"]])
            todo += [each for each in held.get("manifests", []) if each["digest"] in blobs]
            todo += held.get("layers", []) + [held[key] for key in ("config",) if key in held]
        seen.add(one["digest"])
    need(set(blobs) == seen, "archive.stray")
    return {"packages": sorted(packages), "blobs": len(blobs)}

def write_archive(layout):
    blobs = sorted(os.listdir(os.path.join(layout, "blobs", "sha256")))
    names = ["oci-layout", "index.json"] + ["blobs/sha256/" + name for name in blobs]
    return {"sha256": sha(write_tar((name, read_file(layout, name)) for name in names))}

OPS = {
    "name": lambda q: name(q["kind"], q["text"]) and {},
    "tag": lambda q: {"tag": q["version"].replace("+", "_")}, "reference": lambda q: reference(q["text"]),
    "version": lambda q: {"version": name("version", q["tag"].replace("_", "+", 1))},
    "source.resolve": lambda q: resolve(**q), "param.encode": encode, "license.check": license_check,
    "manifest.read": lambda q: resolved(read_manifest(q["text"].encode())),
    "param.substitute": lambda q: {"text": template(q["template"], q["values"])},
    "document.read": lambda q: shaped(DOCUMENTS[q["kind"]], q["text"].encode()) and {},
    "document.write": write_document, "layer.write": lambda q: write_layer(**q), "package.read": read_package,
    "layer.read": lambda q: {**read_layer(unbase64(q["layer"]), q["max"]), "body": None},
    "permissions.check": permissions, "permissions.compare": compare,
    "permissions.powers": lambda q: {"powers": powers(q)},
    "key.read": lambda q: {"id": Key(q["spki"]).id}, "policy.read": lambda q: policy(q["text"]) and {},
    "signature.verify": verify, "rotation.follow": rotation, "channel.follow": channel,
    "archive.read": lambda q: archive(unbase64(q["archive"])), "archive.write": lambda q: write_archive(**q)}

def by_hand(layout, trust, package, *bundles):
    """Checks each platform of a package; a signature's bundles are files."""
    asked, index = reference(package), shaped("index", read_file(layout, "index.json"))
    names = {one.get("annotations", {}).get("org.opencontainers.image.ref.name"): one["digest"]
             for one in index["manifests"]}
    need(package in names, "oci.missing", package)
    bundles = [base64.b64encode(read_file(path)).decode() for path in bundles]
    now = datetime.now(timezone.utc).strftime(UTC)
    signed = verify({**asked, "policy": read_file(trust).decode(), "digest": names[package], "now": now,
                     "bundles": bundles})
    for one in shaped("index", blob(layout, names[package]))["manifests"]:
        arch = {go: arch for arch, go in ARCH.items()}[one["platform"]["architecture"]]
        asked = {"layout": layout, "digest": names[package], "arch": arch, "reference": package}
        print(arch, read_package(asked))
    print("signed by", *signed["keys"])

def answer(question):
    if question["op"] not in OPS:
        return {"unsupported": True}
    try:
        return {"ok": OPS[question["op"]](question["input"]) or {}}
    except Refused as error:
        return {"error": error.args[0], "message": " ".join(map(str, error.args[1:]))}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        by_hand(*sys.argv[1:])
    else:
        for line in sys.stdin:
            print(json.dumps({"id": json.loads(line)["id"], **answer(json.loads(line))}), flush=True)
