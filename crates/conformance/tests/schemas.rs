//! The schemas of `spec/schema` are those of the code, and say of every document in the vectors what readers say.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skep_conformance::{Answer, Case, Implementation as _, Ours, load, schemas, values};
use skep_spec::manifest::Condition;

/// Codes of what a schema sees. The others are of whole texts, of names that must be somewhere, of bytes.
const STRUCTURE: [&str; 13] = [
    "life.generation",
    "manifest.type",
    "manifest.missing",
    "manifest.unknown-key",
    "oci.document",
    "oci.kind",
    "oci.too-many",
    "policy.syntax",
    "channel.malformed",
    "rotation.malformed",
    "attestation.malformed",
    "trust.malformed",
    "archive.layout",
];

/// Cases with such a code that a schema cannot see: it compares no two values, knows no calendar, no size of the file, no
/// file that is not there and no key twice, and is of the predicate alone, not of the statement around it.
const BEYOND: [&str; 26] = [
    "02-manifest/source.json, 'a moment for a summary'",
    "10-attestations/attestations.json, 'a report with a list for an object: a kernel'",
    "09-trust/rotation.json, 'two next versions'",
    "09-trust/rotation.json, 'two next versions, their bundles mixed'",
    "02-manifest/source.json, 'a program that names none of two objects'",
    "09-trust/channels.json, 'no pointer: an end before its beginning'",
    "09-trust/channels.json, 'no pointer: an end that is its beginning'",
    "09-trust/channels.json, 'no pointer: no such day'",
    "09-trust/channels.json, 'no pointer: no subject'",
    "09-trust/channels.json, 'no pointer: two subjects'",
    "09-trust/policies.json, 'a byte more than 1 MiB'",
    "09-trust/policies.json, 'not_after as text'",
    "09-trust/policies.json, 'an identity's not_after as text'",
    "09-trust/rotation.json, 'another subject'",
    "09-trust/rotation.json, 'another name of the subject'",
    "09-trust/rotation.json, 'another predicate type'",
    "09-trust/rotation.json, 'a threshold above the keys'",
    "09-trust/rotation.json, 'a key twice in it'",
    "09-trust/signatures.json, 'a key twice in the JSON'",
    "09-trust/signatures.json, 'a statement with a key twice'",
    "09-trust/signatures.json, 'the 65th bundle'",
    "10-attestations/attestations.json, 'a kernel without a release'",
    "11-archives/archives.json, 'a package with a registry in its name'",
    "11-archives/archives.json, 'a package without a name'",
    "11-archives/archives.json, 'no index.json'",
    "11-archives/archives.json, 'index.json at the end'",
];

/// A document of a vector.
struct Document {
    schema: &'static str,
    case: String,
    document: Value,
    accepted: bool,
}

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec")
}

#[test]
fn the_schemas_have_not_drifted() {
    let mut files = BTreeSet::new();
    for (name, schema) in schemas::all() {
        let text = std::fs::read_to_string(spec().join("schema").join(&name)).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert!(
            written == schema,
            "{name} has drifted: cargo run -p skep-conformance --example schema -- spec"
        );
        files.insert(name);
    }
    for entry in std::fs::read_dir(spec().join("schema")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(files.contains(&name) || name == "README.md", "{name} is of no type");
    }
}

#[test]
fn the_values_have_not_drifted() {
    let text = std::fs::read_to_string(spec().join("values.json")).unwrap();
    assert!(
        serde_json::from_str::<Value>(&text).unwrap() == values::all(),
        "values.json has drifted: cargo run -p skep-conformance --example schema -- spec"
    );
}

#[test]
fn a_validator_says_what_readers_say() {
    let mut documents = Vec::new();
    for part in load(&spec().join("vectors")).unwrap() {
        for case in &part.cases {
            of_case(&part.file, case, &mut documents);
        }
        let path = spec().join("vectors").join(&part.file);
        let document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        documents.push(Document { schema: "vectors", case: part.file, document, accepted: true });
    }
    let answers = validate(&documents);
    let mut wrong = Vec::new();
    let mut beyond: BTreeSet<&str> = BTreeSet::from(BEYOND);
    beyond.retain(|case| {
        let seen = documents
            .iter()
            .zip(&answers)
            .any(|(document, answer)| document.case == *case && answer != "null");
        if seen {
            wrong.push(format!("{case} is not beyond its schema"));
        }
        !seen
    });
    let with = |is_taken: bool| -> BTreeSet<&str> {
        let all = documents.iter().zip(&answers);
        let chosen = all.filter(|(_, answer)| (*answer == "null") == is_taken);
        chosen.map(|(document, _)| document.case.as_str()).collect()
    };
    let (taken, refused) = (with(true), with(false));
    for (document, answer) in documents.iter().zip(&answers) {
        let Document { schema, case, accepted, .. } = document;
        // Of the documents of a case that is refused, one is enough.
        let fine = match (*accepted, *schema) {
            (false, _) => refused.contains(case.as_str()),
            (true, "channel" | "keys") => taken.contains(case.as_str()), // others may lie beside
            (true, _) => answer == "null",
        };
        if fine {
            continue;
        }
        if !beyond.contains(case.as_str()) {
            wrong.push(format!("{schema}: {case}: accepted: {accepted}, validator: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (schema, least) in
        [("skep", 25), ("manifest", 20), ("index", 10), ("trust", 15), ("bundle", 40)]
    {
        let count = documents.iter().filter(|document| document.schema == schema).count();
        assert!(count >= least, "{count} documents for {schema}");
    }
}

/// The blocks of JSON and TOML in the text, each with what it is an example of.
const EXAMPLES: [(&str, &[&str]); 4] = [
    ("02-manifest.md", &["manifest"]),
    ("03-oci.md", &["index"]),
    ("08-life.md", &["generation"]),
    ("09-trust.md", &["bundle", "statement", "trust", "keys", "channel"]),
];

#[test]
fn the_examples_of_the_text_are_what_they_show() {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(spec()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let blocks = page.split("\n```").skip(1).step_by(2);
        let blocks = blocks.filter_map(|block| {
            let (kind, text) = block.split_once('\n')?;
            ["json", "toml"].contains(&kind).then(|| (kind == "toml", whole(text)))
        });
        let of = EXAMPLES.iter().find(|(page, _)| *page == name).map_or(&[][..], |(_, of)| of);
        let blocks: Vec<(bool, String)> = blocks.collect();
        assert_eq!(blocks.len(), of.len(), "{name} has other blocks than are tested");
        for (schema, (is_toml, text)) in of.iter().zip(blocks) {
            let read = if is_toml { of_toml(&text) } else { serde_json::from_str(&text).ok() };
            let document = read.unwrap_or_else(|| panic!("{name}: {text}"));
            documents.push(Document { schema, case: name.clone(), document, accepted: true });
        }
    }
    for (document, answer) in documents.iter().zip(validate(&documents)) {
        assert_eq!(answer, "null", "{} of {}", document.schema, document.case);
    }
}

#[test]
fn the_conditions_of_the_text_are_read() {
    let page = std::fs::read_to_string(spec().join("08-life.md")).unwrap();
    let (_, rest) = page.split_once("\n## Health\n").unwrap();
    let (_, rest) = rest.split_once("Example: `").unwrap();
    let list: Vec<Condition> = serde_json::from_str(rest.split('`').next().unwrap()).unwrap();
    assert_eq!(list.len(), 5);
}

/// An example without what it leaves out: digests, keys and bytes are told by how they begin.
fn whole(text: &str) -> String {
    const KEY: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let told = |text: &str| match text.strip_suffix('…') {
        _ if text.starts_with('<') => "AAAA".to_owned(),
        Some(key) if KEY.starts_with(key) && !key.is_empty() => KEY.to_owned(),
        Some(digest) if digest.starts_with("sha256:") => format!("sha256:{}", "0".repeat(64)),
        Some(_) => "0".repeat(64),
        None => text.to_owned(),
    };
    let parts = text.split('"').enumerate();
    let parts = parts.map(|(at, part)| if at % 2 == 1 { told(part) } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("\"")
}

fn validate(documents: &[Document]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas.py");
    let mut python = Command::new("/usr/bin/python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let questions: Vec<String> = documents
        .iter()
        .map(|Document { schema, document, .. }| {
            let schema = spec().join("schema").join(format!("{schema}.schema.json"));
            format!("{}\n", json!({"schema": schema, "document": document}))
        })
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(questions.concat().as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the validator ended with {}", output.status);
    let answers: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), documents.len());
    answers
}

/// The documents of a case that is accepted, or refused for its structure.
fn of_case(file: &str, case: &Case, documents: &mut Vec<Document>) {
    let accepted = case.ok.is_some();
    if !accepted && !case.error.as_deref().is_some_and(|code| STRUCTURE.contains(&code)) {
        return;
    }
    let text = case.input.get("text").and_then(Value::as_str).unwrap_or_default();
    let mut add = |schema, document: Option<Value>| {
        let case = format!("{file}, '{}'", case.name);
        documents.extend(document.map(|document| Document { schema, case, document, accepted }));
    };
    match case.op.as_str() {
        "source.resolve" => add("skep", of_toml(text)),
        "generation.read" => add("generation", serde_json::from_str(text).ok()),
        "manifest.read" => add("manifest", serde_json::from_str(text).ok()),
        "policy.read" => add("trust", of_toml(text)),
        "document.read" | "document.write" => {
            let written = case.ok.as_ref().and_then(|ok| ok.get("text")).and_then(Value::as_str);
            add(kind(&case.input), serde_json::from_str(written.unwrap_or(text)).ok());
        }
        "object.facts" if accepted => match Ours.answer("object.facts", &case.input) {
            Ok(Answer::Ok(facts)) => add("object-facts", Some(facts)),
            other => panic!("{}: {other:?}", case.name),
        },
        "requirements.evaluate" if accepted => {
            let features = case.input["features"].clone();
            let facts =
                json!({"release": "6.12", "arch": "x86_64", "cpus": 2, "features": features});
            add("kernel-facts", Some(facts));
        }
        "signature.verify" if accepted || case.error.as_deref() == Some("trust.malformed") => {
            signed(&case.input["bundles"], None, &mut add)
        }
        "archive.read" => archived(&case.input, &mut add),
        "channel.follow" => signed(&case.input["bundles"], Some("channel"), &mut add),
        "rotation.follow" => signed(&case.input["documents"], Some("keys"), &mut add),
        "attestation.read" if !accepted || case.ok.as_ref().unwrap()["kind"] == "report" => {
            signed(&case.input["bundle"], Some("report"), &mut add)
        }
        _ => {}
    }
}

fn kind(input: &Value) -> &'static str {
    match input["kind"].as_str() {
        Some("index") => "index",
        Some("list") => "list",
        Some("manifest") => "image-manifest",
        _ => "config",
    }
}

/// Bundles, their statements and their predicates; where the case is refused, the predicates only.
fn signed(
    bundles: &Value,
    predicate: Option<&'static str>,
    add: &mut impl FnMut(&'static str, Option<Value>),
) {
    match bundles {
        Value::Array(items) => items.iter().for_each(|item| signed(item, predicate, add)),
        Value::String(text) => {
            let decode = |text: &str| STANDARD.decode(text).ok();
            let parse = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).ok();
            let Some(bundle) = decode(text).and_then(parse) else { return };
            let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap_or_default();
            let Some(statement) = decode(payload).and_then(parse) else { return };
            match predicate {
                Some(schema) => add(schema, statement.get("predicate").cloned()),
                None => {
                    add("bundle", Some(bundle));
                    add("statement", Some(statement));
                }
            }
        }
        _ => {}
    }
}

/// The first two files of an archive, where they are there.
fn archived(input: &Value, add: &mut impl FnMut(&'static str, Option<Value>)) {
    let Some(bytes) = input["archive"].as_str().and_then(|text| STANDARD.decode(text).ok()) else {
        return;
    };
    let mut rest = bytes.as_slice();
    for (name, schema) in [("oci-layout", "oci-layout"), ("index.json", "list")] {
        let size = rest.get(124..135).and_then(|size| std::str::from_utf8(size).ok());
        let size = size.and_then(|size| usize::from_str_radix(size, 8).ok());
        let Some(size) = size.filter(|_| rest.starts_with(name.as_bytes())) else { return };
        let Some(data) = rest.get(512..512 + size) else { return };
        add(schema, serde_json::from_slice(data).ok());
        rest = rest.get(512 + size.next_multiple_of(512)..).unwrap_or_default();
    }
}

/// TOML 1.0 as a schema sees it: moments are texts.
fn of_toml(text: &str) -> Option<Value> {
    fn value(toml: toml::Value) -> Value {
        match toml {
            // JSON has none: only a moment is a text, where the schema asks for one.
            toml::Value::Datetime(moment) if moment.offset.is_none() => Value::Null,
            toml::Value::Datetime(moment) => json!(moment.to_string()),
            toml::Value::Array(items) => items.into_iter().map(value).collect(),
            toml::Value::Table(table) => {
                Value::Object(table.into_iter().map(|(key, inner)| (key, value(inner))).collect())
            }
            other => serde_json::to_value(other).unwrap_or_default(),
        }
    }
    let read = toml::from_str::<toml::Value>(text).ok();
    read.filter(|_| skep_spec::toml_1_0::later(text).is_empty()).map(value)
}
