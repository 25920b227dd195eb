//! `skep inspect --disasm`: instructions, with what each of them refers to.

use serde::Serialize;
use skep_object::disasm::{DisasmError, Item, Line, Start, list};
use skep_object::{Loose, shown};
use skep_spec::Arch;
use skep_spec::nearest::nearest;

use crate::error::{Error, Result};
use crate::output::{Format, Output};
use crate::subject::{ObjectBytes, Subject, listed};

/// Lists the objects; of one program alone, and what it calls, where `program` names it.
///
/// # Errors
/// One is no object, or none has the program.
pub fn show(subject: &Subject, program: Option<&str>, output: &Output) -> Result<()> {
    let objects = &subject.objects;
    let (mut found, mut all) = (false, Vec::new());
    for object in objects {
        let shown = match output.format() {
            Format::Table | Format::Csv => {
                object_text(object, &subject.architectures, program, output)
            }
            _ => functions(object, program).map(|functions| all.extend(functions)),
        };
        match shown {
            Ok(()) => found = true,
            Err(DisasmError::Absent(_)) => {}
            Err(DisasmError::Object(error)) => return Err(object.unreadable("disassemble", &error)),
        }
    }
    if let Some(program) = program.filter(|_| !found) {
        return Err(absent(objects, program));
    }
    match output.format() {
        Format::Table | Format::Csv => {}
        Format::Json => output.answer(&all, String::new),
        Format::Ndjson => all.iter().for_each(|function| output.answer(function, String::new)),
    }
    Ok(())
}

/// Its name, and what it is for if that is not all.
fn shown_name(object: &ObjectBytes, everywhere: &[Arch]) -> String {
    let only = match everywhere.iter().all(|arch| object.is_for(Some(*arch))) {
        true => String::new(),
        false => format!(" for {}", listed(&object.architectures)),
    };
    format!("{}{only}", shown(&object.name))
}

fn object_text(
    object: &ObjectBytes,
    everywhere: &[Arch],
    program: Option<&str>,
    output: &Output,
) -> Result<(), DisasmError> {
    let mut first = true;
    let mut begins = |heading: &str| {
        if std::mem::take(&mut first) {
            output.line(&format!("object {}", shown_name(object, everywhere)));
        }
        output.line(&format!("\n{heading}"));
    };
    list(&object.bytes, program, |item| match item {
        Item::Function(start) => begins(&heading(&start)),
        Item::Loose(loose) => begins(&format!("no function in {}:", shown(&loose.section))),
        Item::Line(line) => {
            if let Some(source) = &line.source {
                let (file, code) = (shown(&source.source.file), shown(source.code.trim()));
                output.line(format!("; {file}:{} {code}", source.source.line).trim_end());
            }
            output.line(&instruction(&line));
        }
    })
}

fn heading(start: &Start) -> String {
    let what = if start.program { "program" } else { "function" };
    format!("{what} {} in {}:", shown(&start.name), shown(&start.section))
}

fn instruction(line: &Line) -> String {
    let notes: Vec<String> = line.notes.iter().map(ToString::to_string).collect();
    if notes.is_empty() {
        return format!("{:8}: {}", line.at, line.text);
    }
    format!("{:8}: {:<40} ; {}", line.at, line.text, notes.join(", "))
}

/// What instructions are listed of.
#[derive(Serialize)]
#[serde(untagged)]
enum What {
    Function(Start),
    /// Of no function: there is no name.
    Loose(Loose),
}

/// A function as JSON.
#[derive(Serialize)]
struct Function {
    object: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<Arch>,
    #[serde(flatten)]
    what: What,
    instructions: Vec<Line>,
}

fn functions(object: &ObjectBytes, program: Option<&str>) -> Result<Vec<Function>, DisasmError> {
    let mut functions: Vec<Function> = Vec::new();
    let begun = |what| Function {
        object: object.name.clone(),
        architectures: object.architectures.clone(),
        what,
        instructions: Vec::new(),
    };
    list(&object.bytes, program, |item| match item {
        Item::Function(start) => functions.push(begun(What::Function(start))),
        Item::Loose(loose) => functions.push(begun(What::Loose(loose))),
        Item::Line(line) => {
            if let Some(function) = functions.last_mut() {
                function.instructions.push(line);
            }
        }
    })?;
    Ok(functions)
}

fn absent(objects: &[ObjectBytes], program: &str) -> Error {
    let facts: Vec<_> = objects.iter().filter_map(|object| object.facts("inspect").ok()).collect();
    let names: Vec<&str> =
        facts.iter().flat_map(|facts| &facts.programs).map(|p| p.name.as_str()).collect();
    let error = Error::usage(format!("there is no program '{}'", shown(program)));
    match nearest(program, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean '{}'?", shown(near))),
        None => error.hint(format!("there are {}", shown(&names.join(", ")))),
    }
}
