#!/usr/bin/env python3
"""A second reader of the standard, written from this folder's text alone.

Needs Python 3.11 and the package `cryptography`. As a command of the conformance protocol: `verify.py`. By hand:
`verify.py LAYOUT TRUST.TOML NAME:VERSION [BUNDLE…]` checks a package in an OCI layout.
"""
import base64, binascii, hashlib, ipaddress, json, os, re, struct, sys, tomllib, zlib
from datetime import datetime, timezone
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

HERE = os.path.dirname(os.path.abspath(__file__))
EXACT = 2**53 - 1
MIB = 1 << 20

class Refused(Exception):
    def __init__(self, code, why=""):
        super().__init__(why)
        self.code = code

def need(fine, code, why=""):
    if not fine:
        raise Refused(code, why)

def sha(data):
    return hashlib.sha256(data).hexdigest()

# Part 1: names
LABEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
NUM = r"(0|[1-9][0-9]*)"
PRE = r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = re.compile(rf"{NUM}\.{NUM}\.{NUM}(-{PRE}(\.{PRE})*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")

def is_label(text):
    return len(text) <= 64 and LABEL.fullmatch(text) is not None

def is_package(text):
    halves = text.split("/")
    return len(halves) == 2 and all(map(is_label, halves))

def is_version(text):
    found = SEMVER.fullmatch(text)
    return found is not None and all(int(n) < 2**64 for n in found.group(1, 2, 3))

def is_channel(text):
    return re.fullmatch(r"[a-z][a-z0-9-]{0,31}", text) is not None

def is_digest(text):
    return re.fullmatch(r"sha256:[0-9a-f]{64}", text) is not None

NAMES = {"package": is_package, "service": is_label, "channel": is_channel, "version": is_version,
         "digest": is_digest, "architecture": lambda t: t in ARCH, "goarch": lambda t: t in ARCH.values()}

def name(q):
    code = "architecture" if q["kind"] == "goarch" else q["kind"]
    need(NAMES[q["kind"]](q["text"]), "name." + code)
    return {}

def reference(text):
    def check(fine):
        need(fine, "name.reference", text)
    rest, at, pin = text.partition("@")
    digest, channel = (pin, None) if ":" in pin else (None, pin)
    check(not at or (is_digest(digest) if digest is not None else is_channel(channel)))
    first, slash, after = rest.partition("/")
    registry = None
    if slash and ("." in first or ":" in first or first == "localhost"):
        host = re.fullmatch(r"([A-Za-z0-9.][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:([0-9]+))?", first)
        check(host and int(host.group(3) or 0) <= 65535)
        registry, rest = first, after
    repository, colon, version = rest.rpartition(":") if ":" in rest else (rest, "", None)
    check(not colon or is_version(version))
    parts = repository.split("/")
    path, package = parts[:-2], "/".join(parts[-2:])
    check(is_package(package) and (registry is not None or not path))
    check(all(re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", part) for part in path))
    return {"registry": registry, "path": "/".join(path), "name": package, "version": version,
            "digest": digest if at else None, "channel": channel if at else None}

# JSON as parts 2 and 3 want it
class Twice(Exception):
    pass

def members(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Twice()
    return found

def deepest(data):
    depth = most = 0
    for token in re.finditer(rb'"(?:\\.|[^"\\])*"|[\[{]|[\]}]', data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group(), 0)
        most = max(most, depth)
    return most

def bad_constant(_):
    raise ValueError("not a number of JSON")

class Inexact(float):
    """A number that is no exact integer."""

def load(data, most, exact=False):
    need(len(data) <= most, "json.size")
    need(deepest(data) <= 127, "json.syntax", "too deep")
    whole = lambda text: int(text) if text != "-0" and len(text) < 18 and abs(int(text)) <= EXACT else Inexact(text)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_constant=bad_constant,
                           parse_float=Inexact, parse_int=whole)
    except Twice:
        raise Refused("json.duplicate")
    except (ValueError, RecursionError) as error:
        raise Refused("json.syntax", str(error))
    need(not (exact and inexact(value)), "json.number")
    return value

def inexact(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, float) or any(map(inexact, inner))

def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

# Part 2: the manifest
def integer(text):
    found = re.fullmatch(r"(-?)(0x[0-9a-fA-F_]+|[0-9_]+)", text)
    if not found or not found.group(2).replace("_", "").removeprefix("0x"):
        return None
    digits = found.group(2).replace("_", "")
    number = int(digits, 16) if digits.startswith("0x") else int(digits)
    return None if number >= 2**64 else -number if found.group(1) else number

def size(text):
    found = re.fullmatch(r"(.*?) *(B|KiB|MiB|GiB|TiB)?", text)
    number = integer(found.group(1)) if found else None
    scale = 1 << {None: 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[found.group(2)] if found else 0
    return None if number is None or not 0 <= number <= 1 << 60 else number * scale

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

def duration(text):
    found = re.fullmatch(r"([0-9_]+)(?:\.([0-9]{0,18}))? *(ns|us|ms|s|m|h)", text)
    if not found:
        return None
    whole, part, unit = found.groups()
    return int(whole.replace("_", "")) * UNITS[unit] + int(part or 0) * UNITS[unit] // 10 ** len(part or "")

def is_line(text):
    return text != "" and not re.search(r"[\x00-\x1f\x7f-\x9f]", text)

def is_license(text):
    tokens = re.findall(r"[()]|[^ ()]+", text)

    def term():
        if not tokens:
            return False
        token = tokens.pop(0)
        if token == "(":
            return expression() and bool(tokens) and tokens.pop(0) == ")"
        word = lambda t: re.fullmatch(r"[A-Za-z0-9.-]+", t) and t not in ("AND", "OR", "WITH")
        if not word(token.removesuffix("+")):
            return False
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            return bool(tokens) and bool(word(tokens.pop(0)))
        return True

    def expression():
        while term():
            if not tokens or tokens[0] not in ("AND", "OR"):
                return True
            tokens.pop(0)
        return False
    return expression() and not tokens

def template(text, values=None):
    """Names of the parameters, or the text with their values."""
    names, out, rest = [], "", text
    while "${" in rest:
        before, _, rest = rest.partition("${")
        inside, end, rest = rest.partition("}")
        need(end and inside.startswith("param."), "param.reference")
        names.append(inside[6:])
        need(values is None or inside[6:] in values, "param.no-value")
        out += before + (values[inside[6:]] if values is not None else "")
    return names if values is None else out + rest

def is_template(text):
    try:
        template(text)
    except Refused:
        return False
    return is_line(text)

def is_path(text):
    return is_line(text) and not text.startswith("/") and all(p not in ("", "..") for p in text.split("/"))

def is_name(text):
    return len(text) <= 64 and re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", text) is not None

def is_symbol(text):
    return re.fullmatch(r"[A-Za-z0-9_.$]{1,256}", text) is not None

def is_mode(text):
    return re.fullmatch(r"[0-7]+", text) is not None and int(text, 8) <= 0o777

def words(*known):
    return ("text", lambda text: text in known)

def many(check, inner):
    return ("named", check, inner)

TEXT = lambda check: ("text", check)
LINE, LABELS, SYMBOL, PATH = TEXT(is_line), TEXT(is_name), TEXT(is_symbol), TEXT(is_path)
BOOL, COUNT, SCALAR, LIST = ("bool",), ("count",), ("scalar",), lambda inner: ("list", inner)
arch = lambda text: text in ARCH
FORMATS = words(*"ktime time duration size hex bool errno signal enum flags syscall device ksym comm path ip mac".split())
TABLES = {
    "program": many(is_name, {"function!": SYMBOL, "object": LABELS, "target": TEXT(is_template), "optional": BOOL,
        "requires-param": LABELS, "exclusive": BOOL, "order": COUNT, "on-limit": words("detach", "keep")}),
    "alternatives": many(is_name, {"try!": LIST(LIST(LABELS)), "otherwise": words("refuse", "skip")}),
    "param": many(is_name, {"type!": words(*"bool int uint enum string duration size ip cidr mac device interface cgroup path pid function cpus".split()),
        "unit": words("ns", "us", "ms", "s"), "rodata": SYMBOL, "data": SYMBOL, "set": many(is_symbol, SCALAR),
        "default": SCALAR, "range": LIST(SCALAR), "many": BOOL, "doc": LINE}),
    "map": many(is_symbol, {"max_entries": SCALAR, "upgrade": words("keep", "migrate", "reset"),
        "fields": many(is_symbol, words("sum", "max", "min", "last")), "rename": many(is_symbol, SYMBOL),
        "writers": words("atomic", "plain", "none"), "persist": BOOL, "role": words("config"),
        "key": words(*"cidr ip mac cgroup device interface".split()), "export": {"mode!": TEXT(is_mode), "group": LINE}}),
    "output": many(is_name, {"kind!": words(*"event counter gauge histogram snapshot stacks".split()), "map!": SYMBOL,
        "struct": SYMBOL, "value": SYMBOL, "fields": many(is_symbol, {"format": FORMATS, "unit": LINE, "name": LINE}),
        "when": {"field!": SYMBOL, "equals!": SCALAR}, "buckets": {"scale!": words("log2", "linear"), "unit": LINE},
        "labels": many(is_symbol, {"key!": SYMBOL, "format": FORMATS})}),
    "permissions": {"hooks": LIST(LINE), "helpers": LIST(LINE), "kfuncs": LIST(LINE), "map-memory": TEXT(lambda t: size(t) is not None)},
    "requirements": {"modules": LIST(LINE)},
    "health": {"soak": TEXT(lambda t: duration(t) is not None), "conditions": LIST(LINE)},
    "limits": {"cpu": LINE, "map-memory": TEXT(lambda t: size(t) is not None), "events-per-second": COUNT, "past": words("warn", "throttle", "detach")},
    "dependencies": many(is_package, {"version!": LINE, "maps": LIST(SYMBOL)}),
}
PACKAGE = {"name!": TEXT(is_package), "version!": TEXT(is_version), "license!": TEXT(is_license), "summary": LINE}
RESOLVED = {"spec!": TEXT(lambda t: True), "critical": LIST(LINE), "package!": PACKAGE,
            "objects!": many(is_name, {"sha256!": many(arch, TEXT(lambda t: re.fullmatch(r"[0-9a-f]{64}", t)))}), **TABLES}
SOURCE = {"spec!": words("1.0"), "package!": {**PACKAGE, "readme": PATH}, "build": {"btf": many(arch, LINE), "cflags": LIST(LINE)},
          "object!": many(is_name, {"sources": LIST(PATH), "file": many(arch, PATH), "arch": LIST(TEXT(arch))}), **TABLES,
          "test": LIST({"run!": LINE, "expect!": {"output!": LABELS, "at-least": COUNT, "where": LINE}, "within": TEXT(lambda t: duration(t) is not None)})}

def hold(shape, value, strict, top=False):
    if isinstance(shape, dict):
        need(isinstance(value, dict), "manifest.type")
        known = {key.rstrip("!"): inner for key, inner in shape.items()}
        for key in value if strict else ():
            need(key in known or (top and key.startswith("x-")), "manifest.unknown-key", key)
        need(all(key[:-1] in value for key in shape if key.endswith("!")), "manifest.missing")
        for key in value:
            if key in known:
                hold(known[key], value[key], strict)
        return
    kind = shape[0]
    plain = isinstance(value, int) and not isinstance(value, bool)
    if kind == "named":
        need(isinstance(value, dict), "manifest.type")
        for key, inner in value.items():
            need(shape[1](key), "manifest.value", key)
            hold(shape[2], inner, strict)
    elif kind == "list":
        need(isinstance(value, list), "manifest.type")
        for inner in value:
            hold(shape[1], inner, strict)
    elif kind == "text":
        need(isinstance(value, str), "manifest.type")
        need(shape[1](value), "manifest.value", value)
    elif kind == "count":
        need(plain, "manifest.type")
        need(0 <= value <= EXACT, "manifest.value")
    else:
        need(isinstance(value, bool) or (kind == "scalar" and (plain or isinstance(value, str))), "manifest.type")

def knows(shape, path):
    first, _, rest = path.partition(".")
    if isinstance(shape, dict):
        inner = shape.get(first, shape.get(first + "!"))
    else:
        inner = shape[2] if shape[0] == "named" else knows(shape[1], path) and {} if shape[0] == "list" else None
    return inner is not None and (rest == "" or knows(inner, rest))

def read_manifest(data):
    value = load(data, MIB, exact=True)
    need(isinstance(value, dict), "manifest.type")
    if isinstance(value.get("spec"), str):
        version = re.fullmatch(r"([0-9]+)\.([0-9]+)", value["spec"])
        need(version, "manifest.spec")
        need(int(version.group(1)) <= 1, "manifest.later")
    for key in value.get("critical") if isinstance(value.get("critical"), list) else ():
        need(not isinstance(key, str) or knows(RESOLVED, key), "manifest.critical")
    hold(RESOLVED, value, strict=False)
    return value

def only_known(shape, value):
    if isinstance(shape, dict):
        known = {key.rstrip("!"): inner for key, inner in shape.items()}
        return {key: only_known(known[key], inner) for key, inner in value.items()
                if key in known and not (inner == {} and key != "objects" and key not in ("permissions", "health", "limits", "requirements")) and inner != []}
    if shape[0] == "named":
        return {key: only_known(shape[2], inner) for key, inner in value.items()}
    return value

def resolved(value):
    found = only_known(RESOLVED, value)
    for program in found.get("program", {}).values():
        program.setdefault("optional", False)
    for group in found.get("alternatives", {}).values():
        group.setdefault("otherwise", "refuse")
    return {"canonical": canonical(found)}

def big_text(value):
    if isinstance(value, dict):
        return {key: big_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [big_text(inner) for inner in value]
    return str(value) if isinstance(value, int) and abs(value) > EXACT else value

def resolve(q):
    need(len(q["text"].encode()) <= 256 << 10, "toml.size")
    try:
        value = tomllib.loads(q["text"])
    except tomllib.TOMLDecodeError as error:
        raise Refused("toml.syntax", str(error))
    hold(SOURCE, value, strict=True, top=True)
    objects, params, programs = value["object"], value.get("param", {}), value.get("program", {})
    need(objects, "manifest.missing")
    for one in objects.values():
        sources, files = one.get("sources"), one.get("file")
        need(sources or files, "manifest.missing")
        need(not (sources and files), "manifest.conflict")
        need(files or one.get("arch", ["x86_64"]), "manifest.value")
    for program in programs.values():
        need("object" in program or len(objects) == 1, "manifest.missing")
        need(program.get("object", next(iter(objects))) in objects, "manifest.reference")
        names = template(program.get("target", "")) + [program[k] for k in ("requires-param",) if k in program]
        need(all(name in params for name in names), "manifest.reference")
    for group in value.get("alternatives", {}).values():
        need(all(name in programs for member in group["try"] for name in member), "manifest.reference")
    for param in params.values():
        bound = [key for key in ("rodata", "data") if key in param]
        need(len(bound) < 2 and not (bound and param["type"] in ("cidr", "cpus")), "manifest.conflict")
        need(len(param.get("range", [0, 0])) == 2, "manifest.value")
        if "default" in param:
            try:
                check(param, str(param["default"]).lower() if isinstance(param["default"], bool) else str(param["default"]))
            except Refused as error:
                raise Refused("manifest.value", str(error))
    for one in value.get("map", {}).values():
        need(one.get("upgrade") == "migrate" or not (one.get("fields") or one.get("rename")), "manifest.conflict")
        entries = one.get("max_entries", 0)
        if isinstance(entries, str) and "${" in entries:
            need(all(name in params for name in template(entries)), "manifest.reference")
        else:
            need(not isinstance(entries, str) or size(entries) is not None, "manifest.value")
    value["objects"] = {name: {"sha256": arches} for name, arches in q.get("objects", {}).items()}
    return resolved(big_text(value))

def number(param, text):
    kind = param["type"]
    if kind == "bool":
        found = {"true": 1, "1": 1, "false": 0, "0": 0}.get(text)
    elif kind in ("int", "enum", "uint", "pid"):
        found = integer(text)
        found = None if kind in ("uint", "pid") and (found or 0) < 0 else found
    elif kind == "size":
        found = size(text)
    elif kind == "duration":
        found = duration(text)
        found = None if found is None else found // UNITS[param.get("unit") or "ns"]
    elif kind == "device":
        parts = re.fullmatch(r"([0-9]+):([0-9]+)", text)
        major, minor = map(int, parts.groups()) if parts else (1 << 12, 0)
        found = major << 20 | minor if major < 1 << 12 and minor < 1 << 20 else None
    else:
        return None
    need(found is not None, "param.type", text)
    return found

def check(param, text):
    found = number(param, text)
    if found is not None and param.get("range"):
        low, high = (number(param, str(end)) for end in param["range"])
        need(low <= found <= high, "param.range")
    if found is None and param["type"] not in ("cidr", "cpus"):
        as_bytes(param, text)
    return found

def as_bytes(param, text):
    try:
        if param["type"] == "ip":
            return ipaddress.ip_address(text).packed
    except ValueError as error:
        raise Refused("param.type", str(error))
    if param["type"] == "mac":
        need(re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", text), "param.type")
        return bytes.fromhex(text.replace(":", ""))
    need("\0" not in text, "param.type")
    return text.encode() + b"\0"

def encode(q):
    found, room = check(q, q["text"]), q["size"]
    if found is None:
        need(q["type"] not in ("cidr", "cpus"), "param.unwritable")
        data = as_bytes(q, q["text"])
        need(len(data) <= room, "param.size")
        return {"hex": data.ljust(room, b"\0").hex()}
    need(1 <= room <= 8 and -(1 << room * 8 - 1) <= found < 1 << room * 8, "param.size")
    return {"hex": (found % (1 << room * 8)).to_bytes(room, "big" if q.get("big_endian") else "little").hex()}

GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")

def license_check(q):
    with open(os.path.join(HERE, "12-registries.md"), encoding="utf-8") as page:
        listed = page.read().split("## GPL-only helpers")[1].split("## ")[0]
    only = set(re.findall(r"`([a-z_0-9]+)`", listed)) - {"gpl_only"}
    asks = only & set(q.get("helpers", ())) or q.get("kfuncs")
    need(q.get("license") in GPL or not asks, "license.object")
    return {}

# Part 3: OCI
OCI = "application/vnd.oci.image."
KINDS = {"index": OCI + "index.v1+json", "manifest": OCI + "manifest.v1+json"}

def descriptor(one):
    need(isinstance(one, dict) and isinstance(one.get("mediaType"), str) and isinstance(one.get("digest"), str)
         and is_digest(one["digest"]) and type(one.get("size")) is int and one["size"] >= 0, "oci.document")
    notes = one.get("annotations", {})
    need(isinstance(notes, dict) and all(isinstance(v, str) for v in notes.values()), "oci.document")

def read_document(kind, data):
    value = load(data, 4 * MIB)
    need(isinstance(value, dict), "oci.document")
    listed = value.get("manifests" if kind == "index" else "layers")
    need(isinstance(listed, list) and type(value.get("schemaVersion")) is int, "oci.document")
    need(value["schemaVersion"] == 2 and value.get("mediaType", KINDS[kind]) == KINDS[kind], "oci.kind")
    need(len(listed) <= 256, "oci.too-many")
    for one in listed + ([value.get("config")] if kind == "manifest" else []):
        descriptor(one)
    descriptor({"mediaType": "", "digest": "sha256:" + "0" * 64, "size": 0, "annotations": value.get("annotations", {})})
    return value

def write_document(q):
    def entry(one, kind, **more):
        return {"mediaType": OCI + kind, "digest": one["digest"], "size": one["size"], **more}
    notes = lambda key: dict(sorted(q[key].items()))
    mark = lambda one: {"org.opencontainers.image.title": one["title"], "vnd.skep.role": one["role"]}
    if q["kind"] == "config":
        value = {"architecture": q["architecture"], "config": {"Labels": notes("labels")}, "os": "linux",
                 "rootfs": {"type": "layers", "diff_ids": q["diff_ids"]}}
    elif q["kind"] == "index":
        found = [entry(m, "manifest.v1+json", platform={"architecture": m["architecture"], "os": "linux"})
                 for m in sorted(q["manifests"], key=lambda m: m["architecture"])]
        value = {"schemaVersion": 2, "mediaType": KINDS["index"], "manifests": found, "annotations": notes("annotations")}
    else:
        layers = [entry(one, "layer.v1.tar+gzip", annotations=mark(one)) for one in q["layers"]]
        value = {"schemaVersion": 2, "mediaType": KINDS["manifest"], "artifactType": "application/vnd.skep.package.v1",
                 "config": entry(q["config"], "config.v1+json"), "layers": layers, "annotations": notes("annotations")}
    return {"text": json.dumps(value, separators=(",", ":"), ensure_ascii=False)}

def header(name, length):
    block = bytearray(512)
    for at, text in ((0, name), (100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"), (124, b"%011o\0" % length),
                     (136, b"0" * 11), (148, b" " * 8), (156, b"0"), (257, b"ustar\x0000"), (329, b"0000000\0"), (337, b"0000000\0")):
        block[at:at + len(text)] = text
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)

def write_layer(q):
    need(re.fullmatch(r"[!-~]{1,100}", q["name"]), "layer.name")
    data = base64.b64decode(q["data"])
    tar = header(q["name"].encode(), len(data)) + data + bytes(-len(data) % 512 + 1024)
    blocks = [tar[at:at + 65535] for at in range(0, len(tar), 65535)]
    gz = bytes.fromhex("1f8b08000000000000ff")
    for n, block in enumerate(blocks, 1):
        gz += bytes([n == len(blocks)]) + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block
    return {"sha256": sha(gz + struct.pack("<II", zlib.crc32(tar), len(tar))), "diff_id": sha(tar)}

def gunzip(data, most):
    reader = zlib.decompressobj(31)
    try:
        tar = reader.decompress(data, most + MIB + 1)
    except zlib.error as error:
        raise Refused("layer.gzip", str(error))
    need(len(tar) <= most + MIB, "layer.too-large")
    need(reader.eof, "layer.gzip", "cut off")
    need(not reader.unused_data, "layer.trailing")
    return tar

def read_layer(data, most):
    tar, at, found, name = gunzip(data, most), 0, None, None
    while at < len(tar) and any(tar[at:at + 512]):
        head = tar[at:at + 512]
        try:
            length = int(head[124:136].strip(b"\0 ") or b"0", 8)
            fits = len(head) == 512 and int(head[148:156].strip(b"\0 "), 8) == sum(head) - sum(head[148:156]) + 256
        except ValueError:
            fits = False
        need(fits, "layer.tar")
        kind, body = head[156:157], tar[at + 512:at + 512 + length]
        at += 512 + length + -length % 512
        if kind in (b"L", b"x", b"g"):
            name = body.rstrip(b"\0").decode() if kind == b"L" else name
            continue
        need(kind in (b"0", b"\0"), "layer.not-regular")
        need(found is None, "layer.count")
        need(length <= most, "layer.too-large")
        need(len(body) == length, "layer.tar")
        found = (name or head[:100].rstrip(b"\0").decode(errors="replace"), body)
    need(found, "layer.count")
    return found

class Layout:
    def __init__(self, folder):
        self.folder = folder

    def whole(self, digest):
        try:
            with open(os.path.join(self.folder, "blobs", "sha256", digest[7:]), "rb") as blob:
                data = blob.read()
        except FileNotFoundError:
            raise Refused("oci.missing", digest)
        need("sha256:" + sha(data) == digest, "oci.altered", digest)
        return data

    def part(self, one, most=64 * MIB):
        need(one["size"] <= most, "oci.too-large")
        need(os.path.exists(os.path.join(self.folder, "blobs", "sha256", one["digest"][7:])), "oci.missing")
        need(os.path.getsize(os.path.join(self.folder, "blobs", "sha256", one["digest"][7:])) == one["size"], "oci.size")
        return self.whole(one["digest"])

def read_package(q):
    layout, asked = Layout(q["layout"]), reference(q["reference"])
    index = read_document("index", layout.whole(q["digest"]))
    wanted = {"architecture": ARCH[q["arch"]], "os": "linux"}
    found = [one for one in index["manifests"] if one.get("platform") == wanted]
    need(found, "oci.no-platform")
    manifest = read_document("manifest", layout.part(found[0], 4 * MIB))
    need(manifest.get("artifactType") == "application/vnd.skep.package.v1", "oci.not-a-package")
    by_role = lambda role: [one for one in manifest["layers"] if one.get("annotations", {}).get("vnd.skep.role") == role]
    there = lambda one: os.path.exists(os.path.join(q["layout"], "blobs", "sha256", one["digest"][7:]))
    if there(manifest["config"]):
        layout.part(manifest["config"], 4 * MIB)
    need(len(by_role("manifest")) == 1, "oci.layers")
    data = read_layer(layout.part(by_role("manifest")[0]), MIB)[1]
    said = read_manifest(data)
    need(said["package"]["name"] == asked["name"], "oci.name")
    need(asked["version"] in (None, said["package"]["version"]), "oci.version")
    need(1 <= len(by_role("object")) <= 64, "oci.layers")
    held, room = set(), 128 * MIB
    for one in by_role("object"):
        elf = read_layer(layout.part(one), min(64 * MIB, room))[1]
        room -= len(elf)
        held.add(sha(elf))
    objects = {name: one["sha256"].get(q["arch"]) for name, one in said["objects"].items()}
    need(set(objects.values()) == held, "oci.object")
    for one in filter(there, by_role("readme")[:1]):
        try:
            read_layer(layout.part(one), MIB)[1].decode()
        except UnicodeDecodeError:
            raise Refused("oci.readme")
    return {"manifest": sha(data), "objects": objects}

# Part 6: permissions
ALIAS = {"tp": "tracepoint", "tc": "tcx", "classifier": "tcx", "raw_tracepoint": "raw_tp"}
PACKETS = """xdp tcx tc classifier action netkit cgroup_skb sk_msg sk_skb sk_lookup sk_reuseport netfilter lwt_in lwt_out
lwt_xmit lwt_seg6local flow_dissector sockops""".split()
POWERS = [("writes-user-memory", [], ["probe_write_user"]), ("overrides-returns", ["fmod_ret"], ["override_return"]),
          ("replaces-kernel-code", ["struct_ops", "freplace"], []), ("decides-access", ["lsm", "lsm_cgroup"], []),
          ("sends-signals", [], ["send_signal", "send_signal_thread"]),
          ("controls-traffic", PACKETS, "redirect redirect_map redirect_neigh redirect_peer clone_redirect".split()),
          ("controls-cgroups", ["cgroup"], []),
          ("reads-user-memory", [], "probe_read_user probe_read_user_str probe_read probe_read_str copy_from_user copy_from_user_task".split()),
          ("reads-kernel-memory", [], ["probe_read_kernel", "probe_read_kernel_str"]), ("calls-kernel-functions", [], []),
          ("reads-traffic", PACKETS + ["socket"], []), ("observes", ["lsm", "lsm_cgroup", "fmod_ret"], [])]
NAMED = {kind for _, kinds, _ in POWERS for kind in kinds}

def kind_of(hook):
    kind = re.split(r"[/.]", hook.removeprefix("?"))[0]
    return ALIAS.get(kind, kind)

def powers(q):
    kinds = {kind_of(hook) for hook in q["hooks"]}
    has = lambda name, hooks, helpers: (kinds & set(hooks) or set(q["helpers"]) & set(helpers)
        or (name == "calls-kernel-functions" and q["kfuncs"]) or (name == "observes" and kinds - NAMED))
    return {"powers": [name for name, hooks, helpers in POWERS if has(name, hooks, helpers)]}

def covered(listed, name):
    return any(name.startswith(one[:-1]) if one.endswith("*") else one == name for one in listed)

def permissions(q):
    given = q["permissions"]
    for hook in q["hooks"]:
        listed, kind = given.get("hooks", []), kind_of(hook)
        need(covered(listed, hook) or kind in listed or (kind == "tcx" and "tc" in listed), "permission.hook")
    for what in ("helper", "kfunc"):
        need(all(covered(given.get(what + "s", []), name) for name in q[what + "s"]), "permission." + what)
    need("map-memory" not in given or q["map_memory"] <= size(given["map-memory"]), "permission.memory")
    return {}

def compare(q):
    old, new = ({**q[v], **powers(q[v])} for v in ("old", "new"))
    def only(a, b):
        found = {k: sorted(set(a[k]) - set(b[k])) for k in ("hooks", "helpers", "kfuncs")}
        return {**found, "powers": [p for p in a["powers"] if p not in b["powers"]]}
    added = only(new, old)
    return {"added": added, "removed": only(old, new), "wider": any(added.values()) or new["map_memory"] > old["map_memory"]}

# Part 9: trust
BUNDLE, IN_TOTO = "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json"
SIGN, CHANNEL, KEYS = "https://sigstore.dev/cosign/sign/v1", "urn:skep:channel:v1", "urn:skep:keys:v1"

def unbase64(text, code):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Refused(code)

class Key:
    def __init__(self, text):
        self.der = unbase64(text, "key.spki")
        try:
            self.key = serialization.load_der_public_key(self.der)
        except Exception:
            raise Refused("key.spki")
        need(isinstance(self.key, ed25519.Ed25519PublicKey) or isinstance(getattr(self.key, "curve", None), ec.SECP256R1), "key.spki")
        same = self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        need(same == self.der and len(same) in (44, 91), "key.spki")  # points are written whole
        self.id = sha(self.der)

    def signed(self, bundle):
        message = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(bundle["payload"]), bundle["payload"])
        try:
            how = () if isinstance(self.key, ed25519.Ed25519PublicKey) else (ec.ECDSA(hashes.SHA256()),)
            self.key.verify(bundle["sig"], message, *how)
        except InvalidSignature:
            return False
        return True

def parse_bundle(data):
    bad = "trust.malformed"
    try:
        value = load(data, MIB)
        material, envelope = value["verificationMaterial"], value["dsseEnvelope"]
        key, certificate = material.get("publicKey"), "certificate" in material or "x509CertificateChain" in material
        need(value["mediaType"] == BUNDLE and envelope["payloadType"] == IN_TOTO and len(envelope["signatures"]) == 1, bad)
        need((key is None) == certificate, bad)
        hint = None if key is None else key.get("hint", "")
        return {"payload": unbase64(envelope["payload"], bad), "sig": unbase64(envelope["signatures"][0]["sig"], bad), "hint": hint}
    except (Refused, KeyError, TypeError, AttributeError):
        raise Refused(bad)

def parse_statement(payload):
    try:
        value = load(payload, MIB)
        need(value["_type"] == "https://in-toto.io/Statement/v1" and len(value["subject"]) <= 64, "trust.malformed")
        digests = [(one.get("name", ""), one["digest"].get("sha256")) for one in value["subject"]]
        return value["predicateType"], [(n, d) for n, d in digests if d is not None], value.get("predicate")
    except (Refused, KeyError, TypeError, AttributeError):
        raise Refused("trust.malformed")

def policy(text):
    need(len(text.encode()) <= MIB, "policy.syntax")
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused("policy.syntax", str(error))
    shape = lambda one, **keys: need(isinstance(one, dict) and set(one) <= set(keys) and all(isinstance(v, keys[k]) for k, v in one.items()), "policy.syntax")
    texts = lambda *lists: need(all(isinstance(t, str) for one in lists for t in one), "policy.syntax")
    shape(value, rule=list, revoked=dict)
    revoked = value.get("revoked", {})
    shape(revoked, keys=list, digests=list)
    texts(revoked.get("keys", []), revoked.get("digests", []))
    need(all(re.fullmatch("[0-9a-f]{64}", k) for k in revoked.get("keys", [])) and all(map(is_digest, revoked.get("digests", []))), "policy.syntax")
    rules, bad = [], "policy.rule"
    for one in value.get("rule", []):
        shape(one, packages=list, registries=list, threshold=int, keys=list, keyless=list)
        need("packages" in one, "policy.syntax")
        texts(one["packages"], one.get("registries", []))
        for key in one.get("keys", []):
            shape(key, spki=str, not_after=object)
            need("spki" in key, "policy.syntax")
        need(one["packages"] and one.get("registries") != [] and (one.get("keys") or one.get("keyless")), bad)
        for pattern in one["packages"]:
            start = pattern[:-1] + ("x" if "/" in pattern else "x/x") if pattern.endswith("*") else pattern
            need(is_package(start), bad)
        try:
            keys = [Key(key["spki"]) for key in one.get("keys", [])]
        except Refused:
            raise Refused(bad)
        ends = [key.get("not_after") for key in one.get("keys", [])]
        need(all(end is None or (isinstance(end, datetime) and end.tzinfo) for end in ends), bad)
        threshold = one.get("threshold", 1)
        need(len({key.id for key in keys}) == len(keys) and threshold >= 1 and (one.get("keyless") or threshold <= len(keys)), bad)
        registries = set(one.get("registries", [])) or {None}
        need(not any(registries & r and set(one["packages"]) & set(p) for p, r, *_ in rules), bad)
        rules.append((one["packages"], registries, threshold, list(zip(keys, ends))))
    return rules, set(revoked.get("keys", [])), set(revoked.get("digests", []))

def rule_for(rules, name, registry):
    best = None
    for packages, registries, threshold, keys in rules:
        for pattern in packages:
            if (registries == {None} or registry in registries) and (name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern):
                weight = (not pattern.endswith("*"), len(pattern), registries != {None})
                best = (weight, threshold, keys) if best is None or weight > best[0] else best
    need(best, "trust.no-rule")
    need(best[2], "trust.keyless")
    return best[1:]

def moment(text):
    need(isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text), "time")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refused("time")

def counted(data, keys, revoked, now, predicate):
    bundle = parse_bundle(data)
    need(bundle["hint"] is not None, "trust.keyless")
    found = [one for one in keys if one[0].signed(bundle)]
    if not found:
        try:
            claimed = base64.b64decode(bundle["hint"], validate=True).hex()
        except (binascii.Error, ValueError):
            claimed = ""
        need(claimed not in {key.id for key, _ in keys}, "trust.altered")
        raise Refused("trust.revoked-key" if claimed in revoked else "trust.another-key")
    key, end = found[0]
    need(key.id not in revoked, "trust.revoked-key")
    need(end is None or now <= end, "trust.expired")
    statement = parse_statement(bundle["payload"])
    need(statement[0] == predicate, "trust.another-predicate")
    return key.id, statement, bundle["payload"]

def signers(q, rules, revoked, predicate, wanted=None):
    threshold, keys = rule_for(rules, q["name"], q["registry"])
    need(q["bundles"], "trust.unsigned")
    said, first = {}, "trust.not-enough"
    for text in q["bundles"][:64]:
        try:
            key, statement, payload = counted(base64.b64decode(text), keys, revoked, moment(q["now"]), predicate)
            need(wanted is None or any(d == wanted for _, d in statement[1]), "trust.another-digest")
            said.setdefault(payload if wanted is None else b"", (statement, set()))[1].add(key)
        except Refused as error:
            first = error.code if first == "trust.not-enough" else first
    enough = [one for one in said.values() if len(one[1]) >= threshold]
    need(enough, first)
    return enough

def verify(q):
    rules, revoked, digests = policy(q["policy"])
    need(q["digest"] not in digests, "trust.revoked-digest")
    return {"keys": sorted(signers(q, rules, revoked, SIGN, q["digest"][7:])[0][1])}

def channel(q):
    rules, revoked, digests = policy(q["policy"])
    sequence = lambda one: one[0][2].get("sequence", 0) if isinstance(one[0][2], dict) else 0
    (_, subjects, said), _ = max(signers(q, rules, revoked, CHANNEL), key=lambda one: sequence(one) if isinstance(sequence(one), int) else 0)
    try:
        need(len(subjects) == 1 and not inexact(said) and is_package(said["name"]) and is_channel(said["channel"]), "x")
        need(type(said["sequence"]) is int and said["sequence"] >= 1 and (said.get("previous") is None or is_digest(said["previous"])), "x")
        expires = moment(said["expires"])
        need(moment(said["issued"]) < expires, "x")
    except (Refused, KeyError, TypeError):
        raise Refused("channel.malformed")
    need((said["name"], said["channel"]) == (q["name"], q["channel"]), "channel.another")
    digest, known = "sha256:" + subjects[0][1], q["known"] or {"sequence": 0, "digest": None}
    need(digest not in digests, "trust.revoked-digest")
    need(said["sequence"] >= known["sequence"], "channel.older")
    need(said["sequence"] > known["sequence"] or digest == known["digest"], "channel.equivocation")
    need(moment(q["now"]) <= expires, "channel.expired")
    return {"digest": digest, "sequence": said["sequence"]}

def rotation(q):
    version, threshold = q["trusted"]["version"], q["trusted"]["threshold"]
    keys = [Key(text) for text in q["trusted"]["keys"]]
    for document in q["documents"]:
        bundles = []
        for text in document:
            try:
                bundles.append(parse_bundle(base64.b64decode(text)))
            except Refused:
                pass
        count = lambda keys, payload: sum(key.id not in q.get("revoked", []) and any(
            one["payload"] == payload and key.signed(one) for one in bundles) for key in keys)
        need(bundles, "rotation.malformed")
        payload = max((one["payload"] for one in bundles), key=lambda payload: count(keys, payload))
        need(count(keys, payload) >= threshold, "rotation.threshold")
        try:
            kind, subjects, said = parse_statement(payload)
            need(kind == KEYS and not inexact(said) and subjects == [("keys", sha(canonical(said).encode()))], "x")
            new = [Key(text) for text in said["keys"]]
            need(is_label(said["publisher"]) and type(said["version"]) is int and said["version"] >= 1 and type(said["threshold"]) is int, "x")
            need(1 <= said["threshold"] <= len(new) <= 64 and len({key.id for key in new}) == len(new), "x")
            said.get("expires") is None or moment(said["expires"])
        except (Refused, KeyError, TypeError):
            raise Refused("rotation.malformed")
        need(said["publisher"] == q["publisher"], "rotation.publisher")
        need(said["version"] == version + 1, "rotation.version")
        need(count(new, payload) >= said["threshold"], "rotation.threshold")
        version, threshold, keys = said["version"], said["threshold"], new
    return {"version": version, "keys": sorted(key.id for key in keys)}

# Part 11: archives
def entries(data):
    at, bad = 0, "archive.tar"
    while True:
        head = data[at:at + 512]
        need(len(head) == 512, bad)
        if not any(head):
            need(data[at:] == bytes(1024), bad)
            return
        try:
            length = int(head[124:136].strip(b"\0 "), 8)
            right = int(head[148:156].strip(b"\0 "), 8) == sum(head) - sum(head[148:156]) + 256
        except ValueError:
            right = False
        need(right and head[257:265] == b"ustar\x0000", bad)
        name = head[:100].split(b"\0")[0].decode(errors="replace")
        need(head[156:157] == b"0" and not any(head[345:500]), "archive.entry")
        need(length <= (4 if name == "index.json" else 64) * MIB, "archive.limit")
        body, at = data[at + 512:at + 512 + length], at + 512 + length + -length % 512
        need(at <= len(data), bad)
        yield name, body

def archive(data):
    files, blobs, last = entries(data), {}, ""
    for wanted in ("oci-layout", "index.json"):
        name, body = next(files, ("", b""))
        need(name == wanted, "archive.layout" if name in ("", "index.json") or name.startswith("blobs/sha256/") else "archive.entry")
        try:
            index = load(body, 4096) if wanted == "oci-layout" else read_document("index", body)
            need(wanted != "oci-layout" or index.get("imageLayoutVersion") == "1.0.0", "x")
        except (Refused, AttributeError):
            raise Refused("archive.layout")
    for name, body in files:
        need(re.fullmatch(r"blobs/sha256/[0-9a-f]{64}", name) and name > last, "archive.entry")
        last, digest = name, "sha256:" + name[13:]
        need("sha256:" + sha(body) == digest, "archive.altered")
        blobs[digest] = body
    packages = [one.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for one in index["manifests"] if one["mediaType"] == KINDS["index"]]
    for text in packages:
        name, _, version = text.partition(":")
        need(is_package(name) and is_version(version), "archive.layout")
    seen, todo = set(), list(index["manifests"])
    while todo:
        one = todo.pop()
        need(len(blobs.get(one["digest"], b"")) == one["size"] and one["digest"] in blobs, "archive.missing")
        if one["digest"] not in seen and one["mediaType"] in KINDS.values():
            kind = "index" if one["mediaType"] == KINDS["index"] else "manifest"
            try:
                inner = read_document(kind, blobs[one["digest"]])
            except Refused:
                raise Refused("archive.layout")
            todo += [m for m in inner["manifests"] if m["digest"] in blobs] if kind == "index" else inner["layers"] + [inner["config"]]
        seen.add(one["digest"])
    need(set(blobs) == seen, "archive.stray")
    return {"packages": sorted(packages), "blobs": len(blobs)}

def write_archive(q):
    out, folder = b"", os.path.join(q["layout"], "blobs", "sha256")
    for name in ["oci-layout", "index.json"] + ["blobs/sha256/" + name for name in sorted(os.listdir(folder))]:
        with open(os.path.join(q["layout"], name), "rb") as file:
            data = file.read()
        out += header(name.encode(), len(data)) + data + bytes(-len(data) % 512)
    return {"sha256": sha(out + bytes(1024))}

def named_layer(q):
    name, data = read_layer(base64.b64decode(q["layer"]), q["max"])
    return {"name": name, "sha256": sha(data)}

def version_of_tag(q):
    text = q["tag"].replace("_", "+", 1)
    need(is_version(text), "name.version")
    return {"version": text}

OPS = {"name": name, "tag": lambda q: {"tag": q["version"].replace("+", "_")}, "version": version_of_tag,
       "reference": lambda q: reference(q["text"]), "source.resolve": resolve, "manifest.read": lambda q: resolved(read_manifest(q["text"].encode())),
       "param.encode": encode, "param.substitute": lambda q: {"text": template(q["template"], q["values"])}, "license.check": license_check,
       "document.read": lambda q: read_document(q["kind"], q["text"].encode()) and {}, "document.write": write_document,
       "layer.read": named_layer, "layer.write": write_layer, "package.read": read_package, "permissions.check": permissions,
       "permissions.powers": powers, "permissions.compare": compare, "key.read": lambda q: {"id": Key(q["spki"]).id},
       "policy.read": lambda q: policy(q["text"]) and {}, "signature.verify": verify, "rotation.follow": rotation,
       "channel.follow": channel, "archive.read": lambda q: archive(base64.b64decode(q["archive"])), "archive.write": write_archive}

def by_hand(layout, trust, package, *bundles):
    """Checks each platform of a package; a signature's bundles are files."""
    read = lambda path, mode="rb": open(path, mode).read()
    asked = reference(package)
    index = json.loads(read(os.path.join(layout, "index.json")))
    found = [m["digest"] for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == package]
    need(found, "oci.missing", package)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = verify({"policy": read(trust, "r"), "name": asked["name"], "registry": asked["registry"], "digest": found[0], "now": now,
                     "bundles": [base64.b64encode(read(path)).decode() for path in bundles]})
    for one in read_document("index", Layout(layout).whole(found[0]))["manifests"]:
        arch = {go: arch for arch, go in ARCH.items()}[one["platform"]["architecture"]]
        print(arch, read_package({"layout": layout, "digest": found[0], "arch": arch, "reference": package}))
    print("signed by", *signed["keys"])

def main():
    if len(sys.argv) > 1:
        return by_hand(*sys.argv[1:])
    for line in sys.stdin:
        question = json.loads(line)
        answer = {"id": question["id"]}
        if question["op"] not in OPS:
            answer["unsupported"] = True
        else:
            try:
                answer["ok"] = OPS[question["op"]](question["input"])
            except Refused as error:
                answer.update(error=error.code, message=str(error))
        print(json.dumps(answer), flush=True)

if __name__ == "__main__":
    main()
