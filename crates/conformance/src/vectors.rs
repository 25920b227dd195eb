//! `spec/vectors`: cases as data, with the files that they name put in their places.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One file of vectors.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Part {
    /// The part of the standard, from 1.
    pub part: u32,
    /// What the file is about.
    pub about: String,
    /// The cases.
    pub cases: Vec<Case>,
    /// Where it lies, from the folder of vectors.
    #[serde(skip)]
    pub file: String,
}

/// One case.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For people; one of a kind in its file.
    pub name: String,
    /// The rules that it holds: `NAM-001`.
    pub musts: Vec<String>,
    /// The operation.
    pub op: String,
    /// What it is given.
    pub input: Value,
    /// What must come out.
    pub ok: Option<Value>,
    /// The code with which it must be refused.
    pub error: Option<String>,
    /// Line and column of the mistake.
    pub at: Option<[usize; 2]>,
}

/// Why vectors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// A file.
    #[error("can't read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not as it should be.
    #[error("'{}' holds no vectors", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A case that cannot be asked.
    #[error("{file}, '{name}': {why}")]
    Case {
        /// The file.
        file: String,
        /// The case.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing there.
    #[error("there are no vectors under '{}'", .0.display())]
    None(PathBuf),
}

/// Reads every file of vectors below a folder, in the order of their paths.
///
/// # Errors
/// A file that cannot be read, or a case that is none.
pub fn load(folder: &Path) -> Result<Vec<Part>, VectorError> {
    let mut parts = Vec::new();
    for inner in entries(folder)? {
        let part = inner.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !inner.is_dir() || !part.starts_with(|c: char| c.is_ascii_digit()) {
            continue; // the files that cases name
        }
        for path in entries(&inner)? {
            if path.extension().is_some_and(|extension| extension == "json") {
                parts.push(file(folder, &path)?);
            }
        }
    }
    if parts.is_empty() { Err(VectorError::None(folder.to_owned())) } else { Ok(parts) }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, VectorError> {
    let failed = |source| VectorError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn file(folder: &Path, path: &Path) -> Result<Part, VectorError> {
    let read = |source| VectorError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    let json = |source| VectorError::Json { path: path.to_owned(), source };
    let mut part: Part = serde_json::from_slice(&bytes).map_err(json)?;
    part.file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    for case in &mut part.cases {
        let failed = |why: String| VectorError::Case {
            file: part.file.clone(),
            name: case.name.clone(),
            why,
        };
        if case.ok.is_some() == case.error.is_some() {
            return Err(failed("it should have either ok or error".to_owned()));
        }
        case.input = resolved(folder, case.input.take()).map_err(failed)?;
    }
    Ok(part)
}

/// Bytes of a question: base64, or a list of parts whose bytes follow each other, of which some are repeated. So the
/// question about an object of 32 MiB is a line that people read.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Data(pub Vec<u8>);

/// Most bytes that a repetition makes.
const MOST: usize = 256 << 20;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(String),
    Parts(Vec<Written>),
    Repeated { repeat: String, times: usize },
}

impl TryFrom<Written> for Data {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let bytes = |text: String| STANDARD.decode(text).map_err(|error| error.to_string());
        Ok(Self(match written {
            Written::Whole(text) => bytes(text)?,
            Written::Repeated { repeat, times } => {
                let part = bytes(repeat)?;
                let fits = part.len().checked_mul(times).is_some_and(|size| size <= MOST);
                if !fits {
                    return Err(format!("{times} times {} bytes are too many", part.len()));
                }
                part.repeat(times)
            }
            Written::Parts(parts) => {
                let parts: Result<Vec<Self>, String> =
                    parts.into_iter().map(Self::try_from).collect();
                parts?.into_iter().map(|part| part.0).collect::<Vec<_>>().concat()
            }
        }))
    }
}

/// Puts files and joined texts in their places.
fn resolved(folder: &Path, value: Value) -> Result<Value, String> {
    match value {
        Value::Array(items) => {
            let items: Result<_, _> =
                items.into_iter().map(|item| resolved(folder, item)).collect();
            Ok(Value::Array(items?))
        }
        Value::Object(members) => match special(folder, &members)? {
            Some(value) => Ok(value),
            None => {
                let members: Result<Map<_, _>, String> = members
                    .into_iter()
                    .map(|(key, member)| Ok((key, resolved(folder, member)?)))
                    .collect();
                Ok(Value::Object(members?))
            }
        },
        other => Ok(other),
    }
}

fn special(folder: &Path, members: &Map<String, Value>) -> Result<Option<Value>, String> {
    let Some((key, value)) = members.iter().find(|(key, _)| key.starts_with('$')) else {
        return Ok(None);
    };
    let path = || {
        let path = value.as_str().ok_or_else(|| format!("{key} should be a path"))?;
        let path = folder.join(path);
        std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let bytes = || {
        let path = path()?;
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let text = match key.as_str() {
        "$file" => path()?.display().to_string(),
        "$base64" => {
            let bytes = bytes()?;
            let end = |key: &str, otherwise| match members.get(key).and_then(Value::as_u64) {
                Some(at) => usize::try_from(at).unwrap_or(usize::MAX),
                None => otherwise,
            };
            let part = bytes.get(end("from", 0)..end("to", bytes.len()));
            STANDARD.encode(part.ok_or_else(|| format!("{value} is shorter"))?)
        }
        "$text" => String::from_utf8(bytes()?).map_err(|error| error.to_string())?,
        "$join" => joined(value)?,
        _ => return Ok(None),
    };
    Ok(Some(Value::String(text)))
}

/// A text of parts, each a text or one repeated: large inputs in a small file.
fn joined(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    for part in value.as_array().into_iter().flatten() {
        let repeated = part.get("repeat").and_then(Value::as_str);
        let times = part.get("times").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        match (part.as_str(), repeated, times) {
            (Some(text), _, _) => out.push_str(text),
            (None, Some(text), Some(times)) => out.push_str(&text.repeat(times)),
            _ => return Err("a part of $join is a text, or repeat and times".to_owned()),
        }
    }
    Ok(out)
}
