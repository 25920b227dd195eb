#!/usr/bin/env python3
"""A second reader of the standard, written from this folder's text and schemas alone.

Needs Python 3.11 and the package `cryptography`. As a command of the conformance protocol: `verify.py`.
By hand: `verify.py LAYOUT TRUST.TOML NAME:VERSION [BUNDLE…]` checks a package in an OCI layout.
"""
import base64, hashlib, io, ipaddress, json, os, re, struct, sys, tarfile, tomllib, zlib
from datetime import date, datetime, time, timezone
from functools import reduce
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE, EXACT, MIB = os.path.dirname(os.path.abspath(__file__)), 2**53 - 1, 1 << 20
sha = lambda data: hashlib.sha256(data).hexdigest()
unbase64 = lambda text: base64.b64decode(text, validate=True)
like = lambda pattern, text: re.fullmatch(pattern, text) is not None

class Refused(Exception):
    """Its code, and why."""

def need(found, code, why=""):
    """What is found; where it is nothing, a refusal."""
    if not found:
        raise Refused(code, why)
    return found

def tried(code, action, *given):
    """What an action gives; where it fails, a refusal, or False if there is no code."""
    try:
        return action(*given)
    except (Refused, ValueError, KeyError, InvalidSignature, zlib.error, tarfile.TarError) as error:
        return need(code is None, code, error) and False

works = lambda action, *given: tried(None, action, *given) is not False

def read_file(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()

# JSON as parts 2 and 3 want it; what is no exact integer becomes a float
def members(pairs):
    need(len(dict(pairs)) == len(pairs), "json.duplicate")
    return dict(pairs)

def load(data, most):
    whole = lambda text: int(text) if text != "-0" and len(text) < 18 and abs(int(text)) <= EXACT else 0.5
    need(len(data) <= most, "json.size")
    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_constant=int, parse_int=whole)
        deep = any(level > 126 and isinstance(held, (dict, list)) for held, _, level in walk(value))
    except (ValueError, RecursionError) as error:
        raise Refused("json.syntax", error)
    need(not deep, "json.syntax", "nested too deep")
    return value

inexact = lambda value: any(isinstance(held, float) for held, _, _ in walk(value))
canonical = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

# The schemas
KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type(None): "null",
         datetime: "string", date: "string", time: "string"}  # the last three of TOML
CHECKS = {  # of each keyword the type that it speaks of, and the check
    "type": (object, lambda kinds, value: KINDS.get(type(value), "number") in kinds),
    "required": (dict, lambda keys, value: all(key in value for key in keys)),
    "enum": (str, lambda words, text: text in words),
    "const": (object, lambda wanted, value: value == wanted),
    "minimum": (int, lambda least, number: number >= least),
    "maximum": (int, lambda most, number: number <= most),
    "minProperties": (dict, lambda least, value: len(value) >= least),
    "minItems": (list, lambda least, items: len(items) >= least),
    "maxItems": (list, lambda most, items: len(items) <= most),
    "pattern": (str, lambda pattern, text: re.search(re.sub(r"\$$", r"\\Z", pattern), text)),
    "format": ((str, date, time), lambda word, text: works(FORMATS.get(word, str), text)),
    "anyOf": (object, lambda shapes, value: not all(broken(shape, value) for shape in shapes)),
    "not": (object, lambda shape, value: broken(shape, value)),
}

def member(schema, key):
    """The schema of what stands at a key, or in a list: `{}` takes all, False nothing."""
    if any(re.search(pattern, key) for pattern in schema.get("patternProperties", ())):
        return {}
    return schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))

def walk(value, schema={}, level=0):
    """A value and all that it holds, keys too, each with its schema and its depth."""
    schema = {} if schema is True else schema
    yield value, schema, level
    for key in value if isinstance(value, dict) else ():
        yield key, schema.get("propertyNames", {}), level + 1
        yield from walk(value[key], member(schema, key), level + 1)
    for held in value if isinstance(value, list) else ():
        yield from walk(held, schema.get("items", {}), level + 1)

def broken(schema, value):
    """The first keyword by which a schema refuses a value or what it holds, or None."""
    for held, shape, _ in walk(value, schema):
        if isinstance(held, dict) and False in [member(shape, key) for key in held]:
            return "additionalProperties"
        for keyword in (word for word in CHECKS if word in shape and isinstance(held, CHECKS[word][0])):
            if not CHECKS[keyword][1](shape[keyword], held):
                return keyword

def hold(document, value):
    keyword, codes = broken(SCHEMAS[document], value), SCHEMAS[document]["x-codes"]
    need(keyword is None, codes.get(keyword, codes["*"]), keyword)
    return value

SCHEMAS = {file.split(".")[0]: json.loads(read_file(HERE, "schema", file))
           for file in os.listdir(os.path.join(HERE, "schema"))}
shaped = lambda document, data, most=4 * MIB: hold(document, load(data, most))
is_name = lambda kind, text: broken(SCHEMAS["names"]["$defs"][kind], text) is None

# Part 1: names
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
REFERENCE = (r"((?P<registry>(?=localhost/|[^/]*[.:])([A-Za-z0-9.][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])"
             r"(:(?P<port>[0-9]+))?)/)?+(?P<path>([a-z0-9]([a-z0-9._-]*[a-z0-9])?/)*)"
             r"(?P<package>[^/:@]*/[^/:@]*)(:(?P<version>[^@]*))?(@((?P<digest>.*:.*)|(?P<channel>.*)))?")

def name(kind, text):
    return need(is_name(kind, text) and text, "name." + kind.replace("goarch", "architecture"), text)

def read_reference(text):
    found = re.fullmatch(REFERENCE, text)
    need(found and int(found["port"] or 0) < 65536 and (found["registry"] or not found["path"]),
         "name.reference", text)
    pins = {kind: found[kind] for kind in ("package", "version", "digest", "channel")}
    need(all(part is None or is_name(kind, part) for kind, part in pins.items()), "name.reference", text)
    return {**pins, "name": pins["package"], "registry": found["registry"], "path": found["path"][:-1]}

# Part 2: the manifest. What cannot read a text raises ValueError or Refused
GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
         "": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
PARAMETER = r"\$\{param\.([^}]*)\}"

def integer(text, low=1 - 2**64, high=2**64):
    number = int(text.replace("_", ""), 16 if "x" in text else 10)
    return number if low <= number < high else need(None, "param.type", text)

def decimal(number, part, unit):
    return int(number.replace("_", "")) * UNITS[unit] + int(part or 0) * UNITS[unit] // 10 ** len(part or "")

NUMBER, TEXT = "(-?(?:0x[0-9a-fA-F_]+|[0-9_]+))", ("([^\0]*)", lambda text: text.encode() + b"\0")
TYPES = {  # of each type of parameters the pattern of a value, and what it is; texts are not here
    "bool": ("(true|1|false|0)", lambda word: int(word in ("true", "1"))),
    "int": (NUMBER, integer), "enum": (NUMBER, integer),
    "uint": (NUMBER, lambda text: integer(text, 0)), "pid": (NUMBER, lambda text: integer(text, 0)),
    "size": (NUMBER + " *(|B|[KMGT]iB)", lambda text, unit: integer(text, 0, 2**60 + 1) * UNITS[unit]),
    "duration": (r"([0-9_]+)(?:\.([0-9]{0,18}))? *(ns|us|ms|s|m|h)", decimal),
    "device": ("([0-9]+):([0-9]+)", lambda major, minor: integer(major, 0, 1 << 12) << 20
                                                         | integer(minor, 0, 1 << 20)),
    "ip": ("(.*)", lambda text: ipaddress.ip_address(text).packed),
    "mac": (":".join(["([0-9a-fA-F]{2})"] * 6), lambda *bytes_: bytes.fromhex("".join(bytes_))),
    "cidr": (".*", lambda: None), "cpus": (".*", lambda: None)}

read = lambda kind, text: value_of({"type": kind}, text)

def is_license(text):
    """Puts `#` for each licence, and for what joins two or stands around one, until one is left."""
    word, last = r"(?<![^ (])(?!(AND|OR|WITH)\b(?![.-]))[A-Za-z0-9.-]+", "#"
    text = re.sub(rf"{word}\+?( +WITH +{word})?(?![^ )])", "#", text.replace("#", "?"))
    while text != last:
        last, text = text, re.sub(r"\( *# *\)|# *(AND|OR) *#", "#", text)
    return text.strip(" ") == "#"

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
    found = {key: one["default"] for key, one in schema.get("properties", {}).items() if "default" in one}
    for key, shape in ((key, member(schema, key)) for key in value):
        empty = value[key] == [] or value[key] == {} and "properties" not in shape
        if shape and (key in schema.get("required", ()) or not empty):
            found[key] = known(shape, value[key])
    return found

resolved = lambda value: {"canonical": canonical(known(SCHEMAS["manifest"], value))}

def read_manifest(data):
    value = load(data, MIB)
    need(not inexact(value), "json.number")
    need(isinstance(value, dict), "manifest.type")
    spec = value["spec"] if isinstance(value.get("spec"), str) else "1.0"
    need(int(need(re.fullmatch(r"([0-9]+)\.[0-9]+", spec), "manifest.spec")[1]) < 2, "manifest.later")
    for path in (path for path, *_ in walk(value.get("critical")) if isinstance(path, str)):
        need(reduce(member, path.split("."), SCHEMAS["manifest"]), "manifest.critical", path)
    return hold("manifest", value)

def resolve(text, objects={}):
    need(len(text.encode()) <= 256 << 10, "toml.size")
    value = hold("skep", tried("toml.syntax", tomllib.loads, text))
    for held, shape, _ in walk(value, SCHEMAS["skep"]):
        kind = shape.get("x-refers", "") if isinstance(held, str) else ""
        names = template(held) if "$" in kind else [held] if kind else []
        need(set(names) <= set(value.get(kind.strip("${}"), ())), "manifest.reference")
    alone = len(value["object"]) == 1
    need(all(alone or "object" in one for one in value.get("program", {}).values()), "manifest.missing")
    for one in (one for one in value.get("param", {}).values() if "default" in one):
        written = str(one["default"])
        written = written.lower() if isinstance(one["default"], bool) else written
        need(works(value_of, one, written), "manifest.value")
    return resolved({**value, "objects": {label: {"sha256": arches} for label, arches in objects.items()}})

def value_of(param, text):
    """The number or the bytes of a parameter's value; None of what no variable takes."""
    pattern, action = TYPES.get(param["type"], TEXT)
    groups = need(re.fullmatch(pattern, text, re.S), "param.type", text).groups()
    found = tried("param.type", action, *groups)
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

def license_check(q):
    table = read_file(HERE, "12-registries.md").decode().split("## GPL-only helpers")[1].split("## ")[0]
    asks = [*re.findall("`([a-z_0-9]+)`", table), "lsm", "struct_ops"]
    asked = {*q.get("helpers", ()), *q.get("programs", ())} & set(asks) or q.get("kfuncs")
    need(q.get("license") in GPL or not asked, "license.object")

# Part 3: OCI
OCI, PACKAGE = "application/vnd.oci.image.", "application/vnd.skep.package.v1"
INDEX, MANIFEST = OCI + "index.v1+json", OCI + "manifest.v1+json"
DOCUMENTS = {"index": "index", "manifest": "image-manifest", INDEX: "index", MANIFEST: "image-manifest"}

def write_document(q):
    entry = lambda one, kind: {"mediaType": OCI + kind, "digest": one["digest"], "size": one["size"]}
    mark = lambda one: {"org.opencontainers.image.title": one["title"], "vnd.skep.role": one["role"]}
    platform = lambda one: {"architecture": one["architecture"], "os": "linux"}
    notes = dict(sorted(q.get("annotations", q.get("labels")).items()))
    if q["kind"] == "config":
        value = {"architecture": q["architecture"], "config": {"Labels": notes}, "os": "linux",
                 "rootfs": {"type": "layers", "diff_ids": q["diff_ids"]}}
    elif q["kind"] == "index":
        found = sorted(q["manifests"], key=lambda one: one["architecture"])
        found = [{**entry(one, "manifest.v1+json"), "platform": platform(one)} for one in found]
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found, "annotations": notes}
    else:
        layers = [{**entry(one, "layer.v1.tar+gzip"), "annotations": mark(one)} for one in q["layers"]]
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": PACKAGE,
                 "config": entry(q["config"], "config.v1+json"), "layers": layers, "annotations": notes}
    return {"text": json.dumps(value, separators=(",", ":"), ensure_ascii=False)}

def write_tar(files):
    out = b""
    for name, data in files:
        head = struct.pack("100s8s16s12s12s8s101s8s64s16s167x", name.encode(), b"0000644", b"0000000\0" * 2,
                           b"%011o" % len(data), b"0" * 11, b" " * 8, b"0", b"ustar\00000", b"",
                           b"0000000\0" * 2)
        out += head[:148] + b"%06o\0 " % sum(head) + head[156:] + data + bytes(-len(data) % 512)
    return out + bytes(1024)

def write_layer(name, data):
    need(like("[!-~]{1,100}", name), "layer.name")
    tar, gz = write_tar([(name, unbase64(data))]), bytes.fromhex("1f8b08000000000000ff")
    for at in range(0, len(tar), 65535):
        block = tar[at:at + 65535]
        gz += struct.pack("<BHH", at + 65535 >= len(tar), len(block), len(block) ^ 0xFFFF) + block
    return {"sha256": sha(gz + struct.pack("<II", zlib.crc32(tar), len(tar))), "diff_id": sha(tar)}

def read_layer(data, most):
    reader = zlib.decompressobj(31)
    tar = tried("layer.gzip", reader.decompress, data, most + MIB + 1)
    need(len(tar) <= most + MIB, "layer.too-large")
    need(reader.eof, "layer.gzip", "cut off")
    need(not reader.unused_data, "layer.trailing")
    opened = tried("layer.tar", tarfile.open, None, "r:", io.BytesIO(tar))
    entries = tried("layer.tar", list, opened)
    need(all(entry.type in b"0\0" for entry in entries), "layer.not-regular")
    need(not any(tar[opened.offset:][:512]), "layer.tar")
    need(len(entries) == 1, "layer.count")
    name, length, body = entries[0].name, entries[0].size, tar[entries[0].offset_data:][:entries[0].size]
    need(length <= most, "layer.too-large")
    need(len(body) == length, "layer.tar")
    return {"name": name, "body": body, "sha256": sha(body)}

blob_path = lambda layout, digest: os.path.join(layout, "blobs", "sha256", digest[7:])

def blob(layout, one, most=64 * MIB):
    path = blob_path(layout, one["digest"])
    need(one.get("size", 0) <= most, "oci.too-large")
    need(os.path.exists(path), "oci.missing", path)
    need(os.path.getsize(path) == one.get("size", os.path.getsize(path)), "oci.size", path)
    need("sha256:" + sha(read_file(path)) == one["digest"], "oci.altered", path)
    return read_file(path)

def read_package(layout, digest, arch, reference):
    asked, room, held = read_reference(reference), 128 * MIB, set()
    platform = {"architecture": ARCH[arch], "os": "linux"}
    there = lambda ones: [one for one in ones if os.path.exists(blob_path(layout, one["digest"]))]
    index = shaped("index", blob(layout, {"digest": digest}))
    found = need([one for one in index["manifests"] if one.get("platform") == platform], "oci.no-platform")
    manifest = shaped("image-manifest", blob(layout, found[0], 4 * MIB))
    need(manifest.get("artifactType") == PACKAGE, "oci.not-a-package")
    of = {role: [one for one in manifest["layers"] if one.get("annotations", {}).get("vnd.skep.role") == role]
          for role in ("manifest", "object", "readme")}
    need(len(of["manifest"]) == 1 and 1 <= len(of["object"]) <= 64, "oci.layers")
    for one in there([manifest["config"]]):
        blob(layout, one, 4 * MIB)
    data = read_layer(blob(layout, of["manifest"][0]), MIB)["body"]
    said = read_manifest(data)
    need(said["package"]["name"] == asked["name"], "oci.name")
    need(asked["version"] in (None, said["package"]["version"]), "oci.version")
    for one in of["object"]:
        elf = read_layer(blob(layout, one), min(64 * MIB, room))
        room, held = room - len(elf["body"]), held | {elf["sha256"]}
    objects = {label: one["sha256"].get(arch) for label, one in said["objects"].items()}
    need(set(objects.values()) == held, "oci.object")
    for one in there(of["readme"][:1]):
        tried("oci.readme", read_layer(blob(layout, one), MIB)["body"].decode)
    return {"manifest": sha(data), "objects": objects}

# Part 6: permissions, by the tables of its text
ALIAS = {"tp": "tracepoint", "tc": "tcx", "classifier": "tcx", "raw_tracepoint": "raw_tp"}
ROWS = re.findall(r"^\| `([a-z-]+)` \|(.*)\|(.*)\|$", read_file(HERE, "06-permissions.md").decode(), re.M)
POWERS = {power: [set(re.findall("`(.*?)`", cell)) for cell in cells] for power, *cells in ROWS}
NAMED = set().union(*(hooks for hooks, _ in POWERS.values()))
covered = lambda patterns, name: any(
    name.startswith(one[:-1]) if one.endswith("*") else one == name for one in patterns)

def kind_of(hook):
    kind = re.split("[/.]", hook.removeprefix("?"))[0]
    return ALIAS.get(kind, kind)

def powers(q):
    kinds = {kind_of(hook) for hook in q["hooks"]}
    more = {"calls-kernel-functions": q["kfuncs"], "observes": kinds - NAMED}
    return [power for power, (hooks, helpers) in POWERS.items()
            if kinds & hooks or set(q["helpers"]) & helpers or more.get(power)]

def permissions(q):
    given = {"hooks": [], "helpers": [], "kfuncs": [], "map-memory": "1048576TiB", **q["permissions"]}
    for hook in q["hooks"]:
        kinds = {kind_of(hook), kind_of(hook).replace("tcx", "tc")}
        need(covered(given["hooks"], hook) or kinds & set(given["hooks"]), "permission.hook")
    for what in ("helper", "kfunc"):
        need(all(covered(given[what + "s"], one) for one in q[what + "s"]), "permission." + what)
    need(q["map_memory"] <= read("size", given["map-memory"]), "permission.memory")

def compare(q):
    old, new = ({**q[version], "powers": powers(q[version])} for version in ("old", "new"))
    order = {"powers": list(POWERS).index}
    only = lambda a, b: {key: sorted(set(a[key]) - set(b[key]), key=order.get(key))
                         for key in ("hooks", "helpers", "kfuncs", "powers")}
    wider = any(only(new, old).values()) or new["map_memory"] > old["map_memory"]
    return {"added": only(new, old), "removed": only(old, new), "wider": wider}

# Part 9: trust. Keys are a dict of their ids, each with what checks a bundle's signature and with its end
IN_TOTO, UTC = "application/vnd.in-toto+json", "%Y-%m-%dT%H:%M:%SZ"
SIGN, CHANNEL, KEYS = "https://sigstore.dev/cosign/sign/v1", "urn:skep:channel:v1", "urn:skep:keys:v1"
SPKI = (bytes.fromhex("302a300506032b6570032100"),
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"))

def read_key(text, end=None):
    der = tried("key.spki", unbase64, text)
    need(der.startswith(SPKI) and len(der) in (44, 91), "key.spki")
    key = tried("key.spki", serialization.load_der_public_key, der)
    how = () if der.startswith(SPKI[0]) else (ec.ECDSA(hashes.SHA256()),)
    return sha(der), (lambda bundle: works(key.verify, bundle["sig"], bundle["message"], *how), end)

def parse_bundle(data):
    value = tried("trust.malformed", shaped, "bundle", data, MIB)
    envelope, key = value["dsseEnvelope"], value["verificationMaterial"].get("publicKey")
    payload = unbase64(envelope["payload"])
    message = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    return {"payload": payload, "message": message, "sig": unbase64(envelope["signatures"][0]["sig"]),
            "hint": None if key is None else key.get("hint", "")}

def parse_statement(payload):
    value = tried("trust.malformed", shaped, "statement", payload, MIB)
    subjects = [(one.get("name", ""), one["digest"].get("sha256")) for one in value["subject"]]
    return value["predicateType"], [one for one in subjects if one[1] is not None], value.get("predicate")

moment = lambda text: datetime.strptime(text, UTC).replace(tzinfo=timezone.utc)
is_pattern = lambda text: is_name("package", re.sub(r"\*\Z", "x" if "/" in text else "x/x", text))
FORMATS = {"skep-entries": lambda text: template(text) if "${" in text else read("size", text),
           "skep-size": lambda text: read("size", text), "skep-duration": lambda text: read("duration", text),
           "skep-license": is_license, "skep-time": moment, "skep-spki": read_key, "skep-base64": unbase64,
           "skep-pattern": is_pattern,
           "date-time": lambda moment: isinstance(moment, datetime) and moment.tzinfo is not None}

def policy(text):
    """Rules by registry and pattern, revoked keys, revoked digests."""
    need(len(text.encode()) <= MIB, "policy.syntax")
    value, rules = hold("trust", tried("policy.syntax", tomllib.loads, text)), {}
    for one in value.get("rule", []):
        keys = dict(read_key(key["spki"], key.get("not_after")) for key in one.get("keys", []))
        enough = one.get("keyless") or one.get("threshold", 1) <= len(keys)
        places = {(where, pattern) for where in one.get("registries", [None]) for pattern in one["packages"]}
        need(enough and len(keys) == len(one.get("keys", [])) and not places & set(rules), "policy.rule")
        rules |= dict.fromkeys(places, (one.get("threshold", 1), keys))
    revoked = value.get("revoked", {})
    return rules, revoked.get("keys", []), revoked.get("digests", [])

def counted(data, keys, revoked, now, predicate):
    bundle = parse_bundle(data)
    need(bundle["hint"] is not None, "trust.keyless")
    key = next((key for key, (signed, _) in keys.items() if signed(bundle)), None)
    claimed = key or unbase64(bundle["hint"] if works(unbase64, bundle["hint"]) else "").hex()
    need(key or claimed not in keys, "trust.altered")
    need(claimed not in revoked, "trust.revoked-key")
    need(key, "trust.another-key")
    need(keys[key][1] is None or now <= keys[key][1], "trust.expired")
    statement = parse_statement(bundle["payload"])
    need(statement[0] == predicate, "trust.another-predicate")
    return key, statement, bundle["payload"]

def signers(q, predicate, wanted=None):
    """What enough keys said, each with its keys; of a digest that is wanted, whatever was said beside it."""
    rules, revoked, digests = policy(q["policy"])
    need(wanted not in digests, "trust.revoked-digest")
    found = [place for place in rules if place[0] in (None, q["registry"]) and covered(place[1:], q["name"])]
    closest = lambda place: (place[1][-1] != "*", len(place[1]), place[0] is not None)
    threshold, keys = rules[max(need(found, "trust.no-rule"), key=closest)]
    need(keys, "trust.keyless")
    need(q["bundles"], "trust.unsigned")
    said, codes = {}, []
    for text in q["bundles"][:64]:
        try:
            key, statement, payload = counted(unbase64(text), keys, revoked, moment(q["now"]), predicate)
            need(wanted is None or wanted[7:] in dict(statement[1]).values(), "trust.another-digest")
            said.setdefault(wanted or payload, (statement, set()))[1].add(key)
        except Refused as error:
            codes.append(error.args[0])
    return need([one for one in said.values() if len(one[1]) >= threshold], (codes + ["trust.not-enough"])[0])

verify = lambda q: {"keys": sorted(signers(q, SIGN, q["digest"])[0][1])}

def channel(q):
    found = [statement for statement, _ in signers(q, CHANNEL)]
    found = [one for one in found if broken(SCHEMAS["channel"], one[2]) is None and not inexact(one[2])]
    _, subjects, said = max(need(found, "channel.malformed"), key=lambda one: one[2]["sequence"])
    need(len(subjects) == 1 and moment(said["issued"]) < moment(said["expires"]), "channel.malformed")
    need((said["name"], said["channel"]) == (q["name"], q["channel"]), "channel.another")
    digest, seen = "sha256:" + subjects[0][1], q["known"] or {"sequence": 0, "digest": None}
    need(digest not in policy(q["policy"])[2], "trust.revoked-digest")
    need(said["sequence"] >= seen["sequence"], "channel.older")
    need(said["sequence"] > seen["sequence"] or digest == seen["digest"], "channel.equivocation")
    need(moment(q["now"]) <= moment(said["expires"]), "channel.expired")
    return {"digest": digest, "sequence": said["sequence"]}

def rotation(q):
    version, threshold = q["trusted"]["version"], q["trusted"]["threshold"]
    keys, bad = dict(map(read_key, q["trusted"]["keys"])), "rotation.malformed"
    for document in q["documents"]:
        bundles = [parse_bundle(data) for data in map(unbase64, document) if works(parse_bundle, data)]
        says = lambda signed, payload: any(one["payload"] == payload and signed(one) for one in bundles)
        count = lambda keys, payload: sum(
            says(keys[key][0], payload) for key in keys if key not in q.get("revoked", []))
        need(bundles, bad)
        payload = max((one["payload"] for one in bundles), key=lambda payload: count(keys, payload))
        need(count(keys, payload) >= threshold, "rotation.threshold")
        kind, subjects, said = tried(bad, parse_statement, payload)
        need(kind == KEYS and subjects == [("keys", sha(canonical(said).encode()))], bad)
        new = dict(map(read_key, hold("keys", said)["keys"]))
        need(said["threshold"] <= len(said["keys"]) == len(new) and not inexact(said), bad)
        need(said["publisher"] == q["publisher"], "rotation.publisher")
        need(said["version"] == version + 1, "rotation.version")
        need(count(new, payload) >= said["threshold"], "rotation.threshold")
        version, threshold, keys = said["version"], said["threshold"], new
    return {"version": version, "keys": sorted(keys)}

# Part 11: archives
name_of = lambda one: one.get("annotations", {}).get("org.opencontainers.image.ref.name", "")

def read_archive(data):
    files, at, bad = [], 0, "archive.layout"
    while any(data[at:at + 512]):
        entry = tried("archive.tar", tarfile.TarInfo.frombuf, data[at:at + 512], "utf-8", "replace")
        need(entry.type == b"0", "archive.entry")
        need(entry.size <= (4 if entry.name == "index.json" else 64) * MIB, "archive.limit")
        files.append((entry.name, data[at + 512:][:entry.size]))
        at += 512 + len(files[-1][1]) + -entry.size % 512
    need(data[at:] == bytes(1024), "archive.tar")
    names = [name for name, _ in files]
    hexes = sorted({name[13:] for name in names if like("blobs/sha256/[0-9a-f]{64}", name)})
    first = [name for name in ("oci-layout", "index.json") if name in names]
    need(names == first + ["blobs/sha256/" + hex for hex in hexes], "archive.entry")
    need(len(first) == 2, bad)
    need(all(sha(body) == name[13:] for name, body in files[2:]), "archive.altered")
    tried(bad, shaped, "oci-layout", files[0][1])
    index = tried(bad, shaped, "index", files[1][1])
    blobs = {"sha256:" + name[13:]: body for name, body in files[2:]}
    packages = [name_of(one) for one in index["manifests"] if one["mediaType"] == INDEX]
    need(all(like("[^/]*/[^/@]*:[^@]*", text) and works(read_reference, text) for text in packages), bad)
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
    "tag": lambda q: {"tag": q["version"].replace("+", "_")},
    "version": lambda q: {"version": name("version", q["tag"].replace("_", "+", 1))},
    "reference": lambda q: read_reference(q["text"]), "source.resolve": lambda q: resolve(**q),
    "manifest.read": lambda q: resolved(read_manifest(q["text"].encode())), "param.encode": encode,
    "param.substitute": lambda q: {"text": template(q["template"], q["values"])},
    "license.check": license_check, "document.write": write_document,
    "document.read": lambda q: shaped(DOCUMENTS[q["kind"]], q["text"].encode()) and {},
    "layer.write": lambda q: write_layer(**q), "package.read": lambda q: read_package(**q),
    "layer.read": lambda q: {**read_layer(unbase64(q["layer"]), q["max"]), "body": None},
    "permissions.check": permissions, "permissions.compare": compare,
    "permissions.powers": lambda q: {"powers": powers(q)},
    "key.read": lambda q: {"id": read_key(q["spki"])[0]}, "policy.read": lambda q: policy(q["text"]) and {},
    "signature.verify": verify, "rotation.follow": rotation, "channel.follow": channel,
    "archive.read": lambda q: read_archive(unbase64(q["archive"])),
    "archive.write": lambda q: write_archive(**q)}

def by_hand(layout, trust, package, *bundles):
    """Checks each platform of a package; a signature's bundles are files."""
    index = shaped("index", read_file(layout, "index.json"))
    names = {name_of(one): one for one in index["manifests"]}
    one = need(names.get(package), "oci.missing", package)
    asked = {**read_reference(package), "policy": read_file(trust).decode(), "digest": one["digest"],
             "bundles": [base64.b64encode(read_file(path)).decode() for path in bundles],
             "now": datetime.now(timezone.utc).strftime(UTC)}
    print("signed by", *verify(asked)["keys"])
    for platform in shaped("index", blob(layout, one))["manifests"]:
        arch = next(arch for arch, go in ARCH.items() if go == platform["platform"]["architecture"])
        print(arch, read_package(layout, one["digest"], arch, package))

def answer(question):
    try:
        known = question["op"] in OPS
        return {"ok": OPS[question["op"]](question["input"]) or {}} if known else {"unsupported": True}
    except Refused as error:
        return {"error": error.args[0], "message": " ".join(map(str, error.args[1:]))}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        by_hand(*sys.argv[1:])
    for line in sys.stdin if len(sys.argv) == 1 else ():
        print(json.dumps({"id": json.loads(line)["id"], **answer(json.loads(line))}), flush=True)
