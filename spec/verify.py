#!/usr/bin/env python3
"""A second reader of the standard, written from this folder's text, schemas and values alone.
Needs Python 3.11 and the package `cryptography`. It speaks the protocol of conformance.md: a question a line.
"""
import base64, functools, hashlib, ipaddress, json, math, re, struct, sys, tomllib, zlib
from datetime import date, datetime, time, timezone
from fractions import Fraction
from pathlib import Path
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
HERE, EXACT, MIB = Path(__file__).parent, 2**53 - 1, 1 << 20
class Refused(Exception): """Its code, and why."""
def need(found, code, why=""):  # what is found; where it is nothing, a refusal
    if not found:
        raise Refused(code, why)
    return found
def tried(code, action, *given):
    """What an action gives; where it fails, a refusal, or False if there is no code."""
    try:
        return action(*given)
    except (Refused, ValueError, KeyError, RecursionError, InvalidSignature, zlib.error) as error:
        return need(code is None, code, error) and False
works = lambda action, *given: tried(None, action, *given) is not False
sha = lambda data: hashlib.sha256(data).hexdigest()
unbase64 = lambda text: base64.b64decode(text, validate=True)

# JSON as parts 2 and 3 want it; what is no exact integer becomes a float; half of a surrogate pair cannot be encoded
members = lambda pairs: need(len(dict(pairs)) == len(pairs), "json.duplicate") and dict(pairs)
is_deep = lambda value, most: any(isinstance(held, (dict, list)) and level > most for held, _, level in walk(value))
def number(text):
    need(math.isfinite(float(text)), "json.syntax", "beyond 64 bits of floating point")
    return int(text) if re.fullmatch("0|-?[1-9][0-9]{,15}", text) and abs(int(text)) <= EXACT else 0.5
def load(data, most):
    need(len(data) <= most, "json.size")
    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_constant=int, parse_int=number, parse_float=number)
        need(canonical(value).encode() and not is_deep(value, 126), "json.syntax", "nested too deep")
    except (ValueError, RecursionError) as error:
        raise Refused("json.syntax", error)
    return value
def load_toml(text, code):
    value = tried(code, tomllib.loads, text)
    is_long = any(isinstance(held, int) and not -2**63 <= held < 2**63 for held, *_ in walk(value))
    need(not is_long and not is_deep(value, 80), code, "an integer of more than 64 bits, or nested too deep")
    return value
inexact = lambda value: any(isinstance(held, float) for held, *_ in walk(value))
in_order = lambda value: ({key: in_order(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
                          if isinstance(value, dict) else [*map(in_order, value)] if isinstance(value, list) else value)
canonical = lambda value: json.dumps(in_order(value), separators=(",", ":"), ensure_ascii=False)
# The schemas. A pattern of ECMA-262 ends where the text does, and spells the names of groups in another way
matched = lambda pattern, text: re.search(re.sub(r"\$$", r"\\Z", pattern).replace("(?<", "(?P<"), text)
KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type(None): "null",
         **dict.fromkeys((datetime, date, time), "moment")}
CHECKS = {  # of each keyword the type that it speaks of, and whether a schema with it takes a value
    "type": (object, lambda schema, value: KINDS.get(type(value), "number") in (
        "moment" if schema.get("format") == "date-time" else schema["type"])),
    "additionalProperties": (dict, lambda schema, value: all(member(schema, key) is not False for key in value)),
    "required": (dict, lambda schema, value: value.keys() >= set(schema["required"])),
    "enum": (str, lambda schema, text: text in schema["enum"]),
    "const": (object, lambda schema, value: value == schema["const"]),
    "minimum": (int, lambda schema, number: number >= schema["minimum"]),
    "maximum": (int, lambda schema, number: number <= schema["maximum"]),
    "minProperties": (dict, lambda schema, value: len(value) >= schema["minProperties"]),
    "minItems": (list, lambda schema, items: len(items) >= schema["minItems"]),
    "maxItems": (list, lambda schema, items: len(items) <= schema["maxItems"]),
    "pattern": (str, lambda schema, text: matched(schema["pattern"], text)),
    "format": ((str, int, date, time), lambda schema, value: works(FORMATS.get(schema["format"], str), value)),
    "anyOf": (object, lambda schema, value: not all(broken(shape, value) for shape in schema["anyOf"])),
    "not": (object, lambda schema, value: broken(schema["not"], value)),
}

def member(schema, key):  # the schema of what stands at a key, or in a list: `{}` takes all, False nothing
    if any(re.search(pattern, key) for pattern in schema.get("patternProperties", ())):
        return {}
    return schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
def walk(value, schema={}, level=0):  # a value and all that it holds, keys too, each with its schema and its depth
    schema = {} if schema is True else schema
    yield value, schema, level
    for key in value if isinstance(value, dict) else ():
        yield key, schema.get("propertyNames", {}), level + 1
        yield from walk(value[key], member(schema, key), level + 1)
    for held in value if isinstance(value, list) else ():
        yield from walk(held, schema.get("items", {}), level + 1)
def broken(schema, value):  # the first keyword by which a schema refuses a value or what it holds, or None
    for held, shape, _ in walk(value, schema):
        for keyword, (kind, takes) in CHECKS.items():
            if keyword in shape and isinstance(held, kind) and not takes(shape, held):
                return keyword

def hold(schema, value):
    keyword, codes = broken(schema, value), schema["x-codes"]
    need(keyword is None, codes.get(keyword, codes["*"]), keyword)
    return value
SCHEMAS = {path.name.split(".")[0]: json.loads(path.read_bytes()) for path in Path(HERE, "schema").iterdir()}
VALUES = json.loads(Path(HERE, "values.json").read_bytes())
shaped = lambda document, data, most=4 * MIB: hold(SCHEMAS[document], load(data, most))

# Part 1: names
GRAMMARS = SCHEMAS["names"]["$defs"]
name = lambda kind, text: hold(GRAMMARS[kind], text) and {}
tag = lambda version: {"tag": hold(GRAMMARS["version"], version).replace("+", "_")}
version = lambda tag: {"version": hold(GRAMMARS["version"], tag.replace("_", "+", 1))}
def reference(text):
    found = matched(GRAMMARS["reference"]["pattern"], hold(GRAMMARS["reference"], text))
    return {**found.groupdict(), "path": found["path"] or ""}

# Part 2: the manifest. What cannot read a text raises ValueError or Refused
UNITS, PARAMETER = VALUES["units"], r"\$\{param\.([^}]*)\}"
def integer(text, low=1 - 2**64, high=2**64):
    number = int(text.replace("_", ""), 16 if "x" in text else 10)
    return number if low <= number < high else need(None, "param.type", text)
READERS = {  # of each type of parameters what the groups of its pattern mean; no variable takes None
    "bool": lambda word: int(word in ("true", "1")), "int": integer, "enum": integer,
    "uint": lambda text: integer(text, 0), "pid": lambda text: integer(text, 0),
    "size": lambda text, unit: integer(text, 0, 2**60 + 1) * UNITS["size"][unit or "B"],
    "duration": lambda text, unit: integer(text.split(".")[0]) is not None and int(
        Fraction(text.replace("_", "")) * UNITS["duration"][unit]),
    "ip": lambda text: ipaddress.ip_address(text).packed,
    "device": lambda major, minor: integer(major, 0, 1 << 12) << 20 | integer(minor, 0, 1 << 20),
    "mac": lambda text: bytes.fromhex(text.replace(":", "")), "cidr": lambda _: None, "cpus": lambda _: None}
read = lambda kind, value: value_of({"type": kind}, value)
def is_license(text):  # puts `#` for each licence, and for what joins two or stands around one, until one is left
    need(text.count("(") <= 32, "manifest.value")
    word, last = r"(?<![^ (])(?!(AND|OR|WITH)\b(?![.-]))[A-Za-z0-9.-]+", "#"
    text = re.sub(rf"{word}\+?( +WITH +{word})?(?![^ )])", "#", text.replace("#", "?"))
    while text != last:
        last, text = text, re.sub(r"\( *# *\)|# *(AND|OR) *#", "#", text)
    return text.strip(" ") == "#"
references = lambda text: need("${" not in re.sub(PARAMETER, "\0", text), "param.reference") and re.findall(PARAMETER, text)
short = lambda text: need(len(text.encode()) <= 8192, "param.size") and text
param_substitute = lambda template, values: need(set(references(template)) <= set(values), "param.no-value") and {
    "text": short(re.sub(PARAMETER, lambda found: values[found[1]][:8193], template))}
def known(schema, value):  # what a reader knows of a manifest, without what is empty and optional; large integers as text
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
manifest_read = lambda text: resolved(read_manifest(text))
def read_manifest(text):
    value = load(text.encode(), MIB)
    need(need(not inexact(value), "json.number") and isinstance(value, dict), "manifest.type")
    spec = value["spec"] if isinstance(value.get("spec"), str) else "1.0"
    need(re.fullmatch(r"0*[01]", need(re.fullmatch(r"([0-9]+)\.[0-9]+", spec), "manifest.spec")[1]), "manifest.later")
    critical = value.get("critical")
    for path in (path for path in critical if isinstance(path, str)) if isinstance(critical, list) else ():
        need(functools.reduce(member, path.split("."), SCHEMAS["manifest"]), "manifest.critical", path)
    return hold(SCHEMAS["manifest"], value)
def source_resolve(text, objects={}):
    need(len(text.encode()) <= 256 << 10, "toml.size")
    value = hold(SCHEMAS["skep"], load_toml(text, "toml.syntax"))
    named = lambda table, *kinds: [label for label, one in value.get(table, {}).items() if not kinds or one["kind"] in kinds]
    for held, refers in ((held, shape.get("x-refers", {})) for held, shape, _ in walk(value, SCHEMAS["skep"])):
        for pattern, places in refers.items():
            need(set(re.findall(pattern, str(held))) <= {*sum((named(*place) for place in places), [])}, "manifest.reference")
    need(len(value["object"]) == 1 or all("object" in one for one in value.get("program", {}).values()), "manifest.missing")
    for one in value.get("param", {}).values():
        ends = [tried("manifest.value", value_of, {**one, "range": None}, end) for end in one.get("range", ())]
        need(all(isinstance(end, int) for end in ends), "manifest.conflict", "a range is of numbers")
        need(ends == sorted(ends), "manifest.value", "the lowest is above the highest")
        need("default" not in one or works(value_of, one, one["default"]), "manifest.value")
    return resolved({**value, "objects": {label: {"sha256": arches} for label, arches in objects.items()}})

def value_of(param, value):  # the number or the bytes of a parameter's value; None of what no variable takes
    text = value if isinstance(value, str) else json.dumps(value)
    groups = need(matched(VALUES["parameters"][param["type"]], text), "param.type", text).groups()
    found = tried("param.type", READERS.get(param["type"], lambda text: text.encode() + b"\0"), *groups)
    found = found // UNITS["duration"][param.get("unit", "ns")] if param["type"] == "duration" else found
    if isinstance(found, int) and param.get("range"):
        low, high = (value_of({**param, "range": None}, end) for end in param["range"])
        need(low <= found <= high, "param.range")
    return found

def param_encode(text, size, big_endian=False, **param):
    found, bits = value_of(param, text), size * 8
    need(found is not None, "param.unwritable")
    if isinstance(found, int):
        need(1 <= size <= 8 and -(1 << bits - 1) <= found < 1 << bits, "param.size")
        found = (found % (1 << bits)).to_bytes(size, "big" if big_endian else "little")
    need(len(found) <= size, "param.size")
    return {"hex": found.ljust(size, b"\0").hex()}
def license_check(license=None, programs=(), helpers=(), kfuncs=(), gpl=VALUES["gpl-only"]):
    asks = set(programs) & set(gpl["programs"]) or set(helpers) & set(gpl["helpers"]) or kfuncs
    need(license in gpl["licenses"] or not asks, "license.object")

# Part 3: OCI
MEDIA, TITLE, ROLE = VALUES["media-types"], "org.opencontainers.image.title", "vnd.skep.role"
DOCUMENTS = {"index": "index", "list": "list", "manifest": "image-manifest",
             MEDIA["index"]: "index", MEDIA["manifest"]: "image-manifest"}
document_read = lambda kind, text: shaped(DOCUMENTS[kind], text.encode()) and {}
def document_write(kind, annotations={}, labels={}, **q):
    notes = dict(sorted({**annotations, **labels}.items()))
    entry = lambda kind, one, **more: {"mediaType": MEDIA[kind], "digest": one["digest"], "size": one["size"], **more}
    if kind == "config":
        value = {"architecture": q["architecture"], "config": {"Labels": notes}, "os": "linux",
                 "rootfs": {"type": "layers", "diff_ids": q["diff_ids"]}}
    elif kind == "index":
        value = {"schemaVersion": 2, "mediaType": MEDIA["index"], "manifests": [
            entry("manifest", one, platform={"architecture": one["architecture"], "os": "linux"})
            for one in sorted(q["manifests"], key=lambda one: one["architecture"])], "annotations": notes}
    else:
        layers = [entry("layer", one, annotations={TITLE: one["title"], ROLE: one["role"]}) for one in q["layers"]]
        value = {"schemaVersion": 2, "mediaType": MEDIA["manifest"], "artifactType": MEDIA["package"],
                 "config": entry("config", q["config"]), "layers": layers, "annotations": notes}
    return {"text": json.dumps(value, separators=(",", ":"), ensure_ascii=False)}

def write_tar(files):
    out = b""
    for name, data in files:
        head = struct.pack("100s8s16s12s12s8s101s8s64s16s167x", name.encode(), b"0000644", b"0000000\0" * 2,
                           b"%011o" % len(data), b"0" * 11, b" " * 8, b"0", b"ustar\00000", b"", b"0000000\0" * 2)
        out += head[:148] + b"%06o\0 " % sum(head) + head[156:] + data + bytes(-len(data) % 512)
    return out + bytes(1024)
def layer_write(name, data):
    need(re.fullmatch("[!-~]{1,100}", name), "layer.name")
    tar, gz = write_tar([(name, unbase64(data))]), bytes.fromhex("1f8b08000000000000ff")
    for at in range(0, len(tar), 65535):
        gz += struct.pack("<BHH", at + 65535 >= len(tar), len(block := tar[at:at + 65535]), len(block) ^ 0xFFFF) + block
    return {"sha256": sha(gz + struct.pack("<II", zlib.crc32(tar), len(tar))), "diff_id": sha(tar)}
def pax(body):  # the records of a pax header
    *lines, rest = body.split(b"\n")
    found = [re.fullmatch(rb"(\d+) (?!size=(?!\d+$))([^=]*)=(.*)", line) for line in lines]
    need(rest == b"" and all(one and int(one[1]) == len(one[0]) + 1 for one in found), "layer.tar")
    return {one[2]: one[3] for one in found}
def files_of(tar, code, extras=""):
    """Of each file its header, name, size and bytes, and where the next begins; headers of `extras` are of the file behind."""
    octal = lambda field: int(need(re.fullmatch(rb" *([0-7]+)([ \0].*)?", field, re.S), code)[1], 8)
    text = lambda field: field.split(b"\0")[0]
    at, said = 0, {}
    while (head := tar[at:at + 512]) and (any(head) or len(head) < 512):
        need(len(head) == 512 and octal(head[148:156]) == sum(head[:148] + head[156:]) + 256, code)
        kind, size = chr(head[156]), int(said.get(b"size", octal(head[124:136])))
        path = [text(head[345:500])] * (head[257:265] == b"ustar\00000" and head[345] > 0) + [text(head[:100])]
        body, at = tar[at + 512:][:size], at + 512 + size + -size % 512
        if kind in extras:
            need(kind not in said, code)
            said |= {kind: True} | ({b"path": text(body)} if kind == "L" else pax(body) if kind == "x" else {})
        else:
            yield head, said.get(b"path", b"/".join(path)).decode("utf-8", "replace"), size, body, at
            said = {}
        need(at <= len(tar), code, "cut off")
    need(not said, code)
def read_layer(data, most):
    reader, found = zlib.decompressobj(31), None
    tar = tried("layer.gzip", reader.decompress, data, most + MIB + 1)
    need(len(tar) <= most + MIB, "layer.too-large")
    need(reader.eof, "layer.gzip", "cut off")
    need(not reader.unused_data, "layer.trailing")
    for head, name, size, body, _ in files_of(tar, "layer.tar", "xLK"):
        need(head[156] == 48 or head[156] == 0 and name[-1:] != "/", "layer.not-regular")
        need(found is None, "layer.count")
        need(size <= most, "layer.too-large")
        found = {"name": name, "sha256": sha(body)}, body
    need(found and len(tar) - len(found[1]) <= MIB, "layer.too-large" if found else "layer.count")
    return found
layer_read = lambda layer, max: read_layer(unbase64(layer), max)[0]
blob_path = lambda layout, one: Path(layout, "blobs", "sha256", one["digest"][7:])
def blob(layout, one, most=64 * MIB):
    path = blob_path(layout, one)
    need(one.get("size", 0) <= most, "oci.too-large")
    data = need(path.exists(), "oci.missing", path) and path.read_bytes()
    need(len(data) == one.get("size", len(data)), "oci.size", path)
    return need("sha256:" + sha(data) == one["digest"], "oci.altered", path) and data
def package_read(layout, digest, arch, **q):
    asked, room, held = reference(q["reference"]), 128 * MIB, set()
    platform = {"architecture": VALUES["architectures"][arch], "os": "linux"}
    index = shaped("index", blob(layout, {"digest": digest}))
    is_ours = lambda one: platform.items() <= (one.get("platform") or {}).items()
    found = need([one for one in index["manifests"] if is_ours(one)], "oci.no-platform")
    manifest = shaped("image-manifest", blob(layout, need(found[0]["mediaType"] == MEDIA["manifest"], "oci.kind") and found[0], 4 * MIB))
    need(manifest.get("artifactType") == MEDIA["package"], "oci.not-a-package")
    of = lambda role: [one for one in manifest["layers"] if one.get("annotations", {}).get(ROLE) == role]
    need(len(of("manifest")) == 1 and 1 <= len(of("object")) <= 64, "oci.layers")
    need({one["mediaType"] for one in of("manifest") + of("object") + of("readme")} == {MEDIA["layer"]}, "oci.kind")
    there = lambda one: blob_path(layout, one).exists()
    there(manifest["config"]) and blob(layout, manifest["config"], 4 * MIB)
    data = read_layer(blob(layout, of("manifest")[0]), MIB)[1]
    said = read_manifest(data.decode())
    need(said["package"]["name"] == asked["name"], "oci.name")
    need(asked["version"] in (None, said["package"]["version"]), "oci.version")
    for one in of("object"):
        elf = read_layer(blob(layout, one), min(64 * MIB, room))[1]
        room, held = room - len(elf), held | {sha(elf)}
    objects = {label: one["sha256"].get(arch) for label, one in said["objects"].items()}
    need(set(objects.values()) == held, "oci.object")
    [tried("oci.readme", read_layer(blob(layout, one), MIB)[1].decode) for one in filter(there, of("readme")[:1])]
    return {"manifest": sha(data), "objects": objects}

# Part 6: permissions
KFUNCS = set(VALUES["quiet-kfuncs"]).union(*(one["kfuncs"] for one in VALUES["powers"]))
covered = lambda given, name: any(name == one or one[-1:] == "*" and name.startswith(one[:-1]) for one in given)
alias = lambda word: VALUES["hook-aliases"].get(word, word)
kind_of = lambda hook: alias(re.split("[/.:]", hook)[0])
def permissions_powers(hooks, helpers, kfuncs, **_):
    kfuncs = {re.sub("(?s)(.*[^_])___[^_].*", r"\1", one) for one in kfuncs}
    names = [{kind_of(hook), hook.split(":")[0], hook.split("/")[0]} for hook in (one.removeprefix("?") for one in hooks)]
    known = {name for row in VALUES["powers"] for name in row["hooks"]}
    given = {"unknown": kfuncs - KFUNCS or set(helpers) - set(VALUES["kernel"]["helpers"]),
             "calls-kernel-functions": kfuncs, "observes": not all(one & known for one in names)}
    of = lambda row: (given.get(row["power"]) or any(one & set(row["hooks"]) for one in names)
                      or set(helpers) & set(row["helpers"]) or kfuncs & set(row["kfuncs"]))
    return {"powers": [row["power"] for row in VALUES["powers"] if of(row)]}
def permissions_hooks(section, target=None, writes_registers=False):
    def hook(text):
        text = re.sub("^(tc|classifier)(?=$|/$|/(in|e)gress(/|$))", "tcx", text.removeprefix("?"))
        text = re.sub("^(tp|raw_tracepoint)(?=$|/)", lambda word: alias(word[0]), text)
        text = re.sub(r"^(u(?:ret)?probe|usdt|xdp(?:\.frags)?|tcx(?:/(?:in|e)gress)?)/\Z", r"\1", text)
        offset = re.fullmatch(r"(k(?:ret)?probe/[^+]*|u(?:ret)?probe/.*:[^:+]*)\+(0x[0-9a-fA-F]+|[1-9]\d*|0)", text, re.S)
        text = text if not offset or int(offset[2], 0) >= 2**64 else offset[1] + f"+{int(offset[2], 0):#x}".removesuffix("+0x0")
        is_written = writes_registers and kind_of(text) in ("uprobe", "uretprobe", "usdt")
        return re.sub("^[^/]*", kind_of(text) + ".w", text) if is_written else re.sub("^tcx$", "tcx/ingress", text)
    own, told = hook(section), hook(target or section)
    gives = lambda hook: set(permissions_powers([hook], (), ())["powers"])
    return {"hooks": sorted({told} if gives(own) <= gives(told) else {told, own})}
def permissions_check(permissions, hooks, helpers, kfuncs, map_memory=0):
    kinds = lambda hook: {kind_of(hook), kind_of(hook).replace("tcx", "tc")}
    for what, used in {"hooks": hooks, "helpers": helpers, "kfuncs": kfuncs}.items():
        given = permissions.get(what, [])
        need(all(covered(given, one) or what == "hooks" and kinds(one) & set(given) for one in used), "permission." + what[:-1])
    most = permissions.get("map-memory")
    need(most is None or map_memory <= tried("permission.memory", read, "size", most), "permission.memory")
def permissions_compare(old, new):
    old, new = ({**one, **permissions_powers(**one)} for one in (old, new))
    order = {"powers": [one["power"] for one in VALUES["powers"]].index}
    only = lambda a, b: {key: sorted(set(a[key]) - set(b[key]), key=order.get(key))
                         for key in ("hooks", "helpers", "kfuncs", "powers")}
    added, grows = only(new, old), new.get("map_memory", 0) > old.get("map_memory", 0)
    return {"added": added, "removed": only(old, new), "wider": grows or any(added.values())}

# Part 9: trust. Keys are a dict of their ids, each with what checks a bundle's signature and with its end
PREDICATES, UTC, PRIME = VALUES["predicates"], "%Y-%m-%dT%H:%M:%SZ", 2**255 - 19
def read_key(text, end=None):
    der = tried("key.spki", unbase64, text)
    kind = need([kind for kind, form in VALUES["keys"].items() if re.search(form, der.hex())], "key.spki")[0]
    key = tried("key.spki", serialization.load_der_public_key, der)
    need(kind != "ed25519" or is_point(der[-32:]), "key.spki")
    how = () if kind == "ed25519" else (ec.ECDSA(hashes.SHA256()),)
    return sha(der), (lambda bundle: works(key.verify, bundle["sig"], bundle["message"], *how), end)
def is_point(bits):  # decodes as RFC 8032, section 5.1.3, says
    sign, y = divmod(int.from_bytes(bits, "little"), 2**255)
    square_of_x = (y * y - 1) * pow(1 - 121665 * pow(121666, -1, PRIME) * y * y, -1, PRIME) % PRIME
    return y < PRIME and pow(square_of_x, PRIME // 2, PRIME) < 2 and (square_of_x > 0 or not sign)
def parse_bundle(data):
    value = tried("trust.malformed", shaped, "bundle", data, MIB)
    envelope, key = value["dsseEnvelope"], value["verificationMaterial"].get("publicKey")
    payload = unbase64(envelope["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    return {"payload": payload, "message": message, "sig": unbase64(envelope["signatures"][0]["sig"]),
            "hint": None if key is None else key.get("hint", "")}
def parse_statement(payload):
    value = tried("trust.malformed", shaped, "statement", payload, MIB)
    subjects = [(one.get("name", ""), hex) for one in value["subject"]
                if re.fullmatch("[0-9a-f]{64}", hex := one["digest"].get("sha256") or "")]
    return value["_type"].endswith("/v1") and value["predicateType"], subjects, value.get("predicate"), value["predicateType"]
since_1970 = lambda moment: need(moment.tzinfo is not None and moment.timestamp() >= 0, "policy.rule") and moment
moment = lambda text: since_1970(datetime.strptime(text, UTC).replace(tzinfo=timezone.utc))
FORMATS = {"skep-entries": lambda value: references(value) if "${" in str(value) else need(1 <= read("size", value) < 1 << 32, "manifest.value"),
           "skep-size": lambda text: read("size", text), "skep-duration": lambda text: read("duration", text),
           "skep-license": is_license, "skep-time": moment, "skep-spki": read_key, "skep-base64": unbase64,
           "skep-pattern": lambda text: name("package", re.sub(r"\*\Z", "x/x" if text == "*" else "x", text)),
           "date-time": lambda moment: isinstance(moment, datetime) and since_1970(moment)}
def is_identity(text):  # somebody, or the beginning of URIs of one host that ends with a word of their path
    at = text.partition("://")[2].find("/")
    return text.rstrip("*") != "" and ("*" not in text or text.find("*") == len(text) - 1 and text[-2] in "/@:" and at > 0)
def policy(text):  # rules by registry and pattern, revoked keys, revoked digests
    need(len(text.encode()) <= MIB, "policy.syntax")
    value, rules = hold(SCHEMAS["trust"], load_toml(text, "policy.syntax")), {}
    for one in value.get("rule", []):
        keys = dict(read_key(key["spki"], key.get("not_after")) for key in one.get("keys", []))
        people = [(who["issuer"], who["identity"], who.get("trusted_root")) for who in one.get("keyless", ())]
        need(len(set(people)) == len(people) and all(who[0] and is_identity(who[1]) for who in people), "policy.rule")
        enough = one.get("threshold", 1) <= len(keys) + len(people)
        alone = keys and len({pattern.split("/")[0] for pattern in one["packages"]} | {"*"}) == 2 and "*" not in one["packages"]
        places = {(where, pattern) for where in one.get("registries", [None]) for pattern in one["packages"]}
        need(enough and (alone or not one.get("follow")) and len(keys) == len(one.get("keys", [])) and not places & set(rules), "policy.rule")
        rules |= dict.fromkeys(places, (one.get("threshold", 1), keys, one.get("attestations", [])))
    return rules, *(value.get("revoked", {}).get(what, []) for what in ("keys", "digests"))
def signers(q, predicate, wanted=None):
    """What enough keys said, each with its keys; of a digest that is wanted, whatever was said beside it."""
    rules, revoked, digests = policy(q["policy"])
    need(wanted not in digests, "trust.revoked-digest")
    found = [place for place in rules if place[0] in (None, q["registry"]) and covered(place[1:], q["name"])]
    closest = lambda place: (place[1][-1] != "*", len(place[1]), place[0] is not None)
    threshold, keys, attested = rules[max(need(found, "trust.no-rule"), key=closest)]
    need(keys, "trust.keyless")
    said, beside, codes = {}, [], ([] if q["bundles"] else ["trust.unsigned"])
    for text in q["bundles"][:64]:
        try:
            bundle = parse_bundle(unbase64(text))
            need(bundle["hint"] is not None, "trust.keyless")
            key = next((key for key, (signed, _) in keys.items() if signed(bundle)), None)
            claimed = key or unbase64(bundle["hint"] if works(unbase64, bundle["hint"]) else "").hex()
            need(key or claimed not in keys, "trust.altered")
            need(claimed not in revoked, "trust.revoked-key")
            need(key, "trust.another-key")
            need(keys[key][1] is None or moment(q["now"]) <= keys[key][1], "trust.expired")
            statement = parse_statement(bundle["payload"])
            beside.append(statement)
            need(statement[0] == predicate, "trust.another-predicate")
            need(wanted is None or wanted[7:] in dict(statement[1]).values(), "trust.another-digest")
            said.setdefault(wanted or bundle["payload"], (statement, set()))[1].add(key)
        except Refused as error:
            codes.append(error.args[0])
    enough = need([one for one in said.values() if len(one[1]) >= threshold], (codes + ["trust.not-enough"])[0])
    return need(all(not wanted or any(attests(kind, wanted, *one) for one in beside) for kind in attested) and enough, "trust.attestation")
def attests(kind, wanted, _, subjects, said, found):  # part 10
    ran = lambda: said["result"] in ("PASSED", "WARNED") and [(one["annotations"]["release"], one["annotations"]["arch"])
        for one in hold(SCHEMAS["report"], said)["configuration"] if one["name"] == "kernel"]
    about = found == PREDICATES[kind] and isinstance(said, dict) and wanted[7:] in dict(subjects).values()
    return about and (kind != "compatibility" or tried(None, ran))
each = lambda action, given: [done for one in given if (done := tried(None, action, one))] or [action(given[0])]
signature_verify = lambda **q: {"keys": sorted(signers(q, PREDICATES["sign"], q["digest"])[0][1])}
key_read = lambda spki: {"id": read_key(spki)[0]}
policy_read = lambda text: policy(text) and {}
def channel_follow(**q):
    def pointer(signed):
        _, subjects, said, _ = signed[0]
        whole = broken(SCHEMAS["channel"], said) is None and not inexact(said) and len(subjects) == 1
        need(whole and moment(said["issued"]) < moment(said["expires"]), "channel.malformed")
        need((said["name"], said["channel"]) == (q["name"], q["channel"]), "channel.another")
        return said["sequence"], moment(said["expires"]), "sha256:" + subjects[0][1]
    found = each(pointer, signers(q, PREDICATES["channel"]))
    (sequence, expires, digest), seen = max(found), q["known"] or {"sequence": 0, "digest": None}
    need(all(one[0] < sequence or one[2] == digest for one in found), "channel.equivocation")
    need(digest not in policy(q["policy"])[2], "trust.revoked-digest")
    need(sequence >= seen["sequence"], "channel.older")
    need(sequence > seen["sequence"] or digest == seen["digest"], "channel.equivocation")
    need(moment(q["now"]) <= expires, "channel.expired")
    return {"digest": digest, "sequence": sequence}
def rotation_follow(publisher, trusted, documents, revoked=(), bad="rotation.malformed"):
    def follow(payload):
        kind, subjects, said, _ = tried(bad, parse_statement, payload)
        need(kind == PREDICATES["keys"] and subjects == [("keys", sha(canonical(said).encode()))], bad)
        distinct = len(dict(map(read_key, hold(SCHEMAS["keys"], said)["keys"])))
        need(said["threshold"] <= len(said["keys"]) == distinct and not inexact(said), bad)
        need(said["publisher"] == publisher, "rotation.publisher")
        need(said["version"] == trusted["version"] + 1, "rotation.version")
        return need(enough(said, payload), "rotation.threshold") and said
    for document in documents:
        bundles = [parse_bundle(data) for data in map(unbase64, document) if works(parse_bundle, data)]
        enough = lambda those, payload: those["threshold"] <= sum(
            any(one["payload"] == payload and signed(one) for one in bundles)
            for key, (signed, _) in map(read_key, those["keys"]) if key not in revoked)
        need(bundles, bad)
        payloads = [one for one in dict.fromkeys(one["payload"] for one in bundles) if enough(trusted, one)]
        trusted, *more = each(follow, need(payloads, "rotation.threshold"))
        need(not more, bad)
    return {"version": trusted["version"], "keys": sorted(dict(map(read_key, trusted["keys"])))}

# Part 11: archives
def archive_read(archive):
    data, files, end, bad = unbase64(archive), [], 0, "archive.layout"
    for head, name, size, body, end in files_of(data, "archive.tar"):
        need(head[257:265] == b"ustar\00000", "archive.tar")
        need(head[156] == 48 and not any(head[345:500]), "archive.entry")
        need(size <= (4 if name == "index.json" else 64) * MIB, "archive.limit")
        files.append((name, body))
    need(data[end:] == bytes(1024), "archive.tar")
    names = [name for name, _ in files]
    need(names[:2] == ["oci-layout", "index.json"], bad)
    need(names[2:] == sorted({name for name in names if re.fullmatch("blobs/sha256/[0-9a-f]{64}", name)}), "archive.entry")
    blobs = {"sha256:" + name[13:]: body for name, body in files[2:]}
    need(all("sha256:" + sha(body) == digest for digest, body in blobs.items()), "archive.altered")
    tried(bad, shaped, "oci-layout", files[0][1])
    index = tried(bad, shaped, "list", files[1][1])
    packages = [one.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
                for one in index["manifests"] if one["mediaType"] == MEDIA["index"]]
    need(all(re.fullmatch("[^/]*/[^/@]*:[^@]*", text) and works(reference, text) for text in packages), bad)
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
def archive_write(layout):
    blobs = sorted(f"blobs/sha256/{path.name}" for path in Path(layout, "blobs", "sha256").iterdir())
    return {"sha256": sha(write_tar((name, Path(layout, name).read_bytes()) for name in ["oci-layout", "index.json", *blobs]))}
if __name__ == "__main__":
    for question in (tried(None, json.loads, line) for line in sys.stdin.buffer):
        try:
            op = globals().get(question["op"].replace(".", "_"))  # the function of that name
            done = op and op(**question["input"])
            answer = {"ok": done or {}} if op else {"unsupported": True}
        except Refused as error:
            answer = {"error": error.args[0], "message": " ".join(map(str, error.args[1:]))}
        except Exception as error:
            answer = {"error": "question.malformed", "message": repr(error)}
        print(json.dumps({"id": question.get("id") if isinstance(question, dict) else None, **answer}), flush=True)
