use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use skep_object::disasm::{DisasmError, Item, Note, list};

use crate::build::object;
use crate::corpus::{CORPUS, Carved};

/// Texts by section and number.
type Texts = BTreeMap<(String, usize), String>;

fn ours(bytes: &[u8]) -> Texts {
    let (mut texts, mut section) = (Texts::new(), String::new());
    list(bytes, None, |item| match item {
        Item::Function(start) => section = start.section,
        Item::Loose(loose) => section = loose.section,
        Item::Line(line) => {
            texts.insert((section.clone(), line.at), normal(&line.text));
        }
    })
    .unwrap();
    texts
}

fn llvms(bytes: &[u8]) -> Texts {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output =
        Command::new("llvm-objdump").args(["-d", "--no-show-raw-insn"]).arg(file.path()).output();
    let output = output.expect("llvm-objdump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut texts, mut section) = (Texts::new(), String::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            section = name.trim_end_matches(':').to_owned();
        } else if let Some((at, text)) = line
            .split_once(':')
            .and_then(|(at, text)| Some((at.trim().parse::<usize>().ok()?, text)))
        {
            texts.insert((section.clone(), at), normal(text));
        }
    }
    texts
}

/// Numbers are hexadecimal from LLVM 15 on, and 32-bit loads and stores name the half register from 20 on.
fn normal(text: &str) -> String {
    let labelled = text.strip_suffix('>').and_then(|text| text.rsplit_once(" <"));
    let text = labelled.map_or(text, |(text, _label)| text);
    let word = |word: &str| {
        let bare = word.trim_matches(['+', '-', '(', ')', '[', ']', ',']);
        let number = bare.strip_prefix("0x").map_or_else(
            || bare.parse::<u64>().ok(),
            |digits| u64::from_str_radix(digits, 16).ok(),
        );
        number.map_or(word.to_owned(), |number| word.replace(bare, &number.to_string()))
    };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    let text = words.join(" ");
    match text.split_once(" = *(u") {
        Some((half, rest)) if half.starts_with('w') => format!("r{} = *(u{rest}", &half[1..]),
        _ if text.starts_with("*(u") => text.replace(" = w", " = r"),
        _ => text,
    }
}

/// Holds every instruction against LLVM's. How many there are, and how many more LLVM finds.
pub fn same_as_llvm(name: &str, bytes: &[u8]) -> [usize; 2] {
    let (ours, llvms) = (ours(bytes), llvms(bytes));
    for (place, text) in &ours {
        assert_eq!(llvms.get(place), Some(text), "{name} at {place:?}");
    }
    [ours.len(), llvms.len() - ours.len()]
}

#[test]
fn every_instruction_of_debians_tools_reads_as_llvm_reads_it() {
    let mut count = 0;
    for Carved { name, bytes } in CORPUS.iter() {
        let [found, more] = same_as_llvm(name, bytes);
        assert!(found > 0 && more == 0, "{name}: {found}, and {more} more");
        count += found;
    }
    assert!(CORPUS.len() > 60 && count > 20_000, "{} objects, {count} instructions", CORPUS.len());
}

/// As a person reads it.
fn shown(bytes: &[u8], program: Option<&str>) -> String {
    let mut out = String::new();
    list(bytes, program, |item| {
        _ = match item {
            Item::Function(start) => writeln!(out, "{} in {}", start.name, start.section),
            Item::Loose(loose) => writeln!(out, "no function in {}", loose.section),
            Item::Line(line) => {
                if let Some(line) = &line.source {
                    writeln!(
                        out,
                        "; {}:{} {}",
                        line.source.file,
                        line.source.line,
                        line.code.trim()
                    )
                    .unwrap();
                }
                let notes: Vec<String> = line.notes.iter().map(ToString::to_string).collect();
                writeln!(out, "{:4} {:40} {}", line.at, line.text, notes.join(", "))
            }
        };
    })
    .unwrap();
    out.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn what_instructions_refer_to_stands_beside_them() {
    insta::assert_snapshot!(shown(&object("facts.c", &[]), Some("on_exec_too")), @r"
    each in .text
    ; ./facts.c:77 *context += index + live;
      22 w1 = w1
      23 r3 = 0x0 ll                              live
      25 r3 = *(u64 *)(r3 + 0x0)
      26 r3 += r1
      27 r1 = *(u64 *)(r2 + 0x0)
      28 r3 += r1
      29 *(u64 *)(r2 + 0x0) = r3
    ; ./facts.c:78 return 0;
      30 r0 = 0x0
      31 exit
    on_exec_too in tp/sched/sched_process_exec
    ; ./facts.c:95 u64 sum = task->tgid;
      18 r1 = *(u32 *)(r1 + 0x4)                  byte_off task_struct.tgid
      19 r1 <<= 0x20
      20 r1 s>>= 0x20
      21 *(u64 *)(r10 - 0x8) = r1
      22 r3 = r10
      23 r3 += -0x8
    ; ./facts.c:96 loop(4, each, &sum, 0);
      24 w1 = 0x4
      25 r2 = 0xb0 ll                             each
      27 r4 = 0x0
      28 call 0xb5                                bpf_loop
    ; ./facts.c:97 zeroed = sum + extra + greeting[sum & 3];
      29 r1 = 0x0 ll                              extra
      31 r1 = *(u16 *)(r1 + 0x0)
      32 r1 <<= 0x30
      33 r1 s>>= 0x30
      34 r2 = *(u64 *)(r10 - 0x8)
      35 r3 = r2
      36 r3 += r1
      37 r2 &= 0x3
      38 r1 = 0x0 ll                              greeting
      40 r1 += r2
      41 r1 = *(u8 *)(r1 + 0x0)
      42 r1 <<= 0x38
      43 r1 s>>= 0x38
      44 r3 += r1
      45 r1 = 0x0 ll                              zeroed
      47 *(u64 *)(r1 + 0x0) = r3
    ; ./facts.c:98 return 0;
      48 w0 = 0x0
      49 exit
    ");
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let bytes = object("facts.c", &[]);
    let failed = list(&bytes, Some("deep"), |_| {});
    assert_eq!(failed, Err(DisasmError::Absent("deep".to_owned())), "a subprogram is no program");
}

#[test]
fn both_byte_orders_give_the_same_text() {
    let (little, big) = (object("facts.c", &[]), object("facts.c", &["-mbig-endian"]));
    assert_eq!(ours(&little), ours(&big));
}

#[test]
fn a_jump_out_of_a_table_is_listed_with_all_that_it_may_lead_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/files/objects/switch.o");
    let mut notes = Vec::new();
    list(&std::fs::read(path).unwrap(), Some("by_table"), |item| match item {
        Item::Line(line) if line.text.starts_with("gotox") => notes.extend(line.notes),
        _ => {}
    })
    .unwrap();
    assert_eq!(notes, [Note::Jump(16), Note::Jump(19)]);
}

#[test]
fn where_jumps_out_of_tables_may_lead_is_listed_once_a_function() {
    let mut notes = Vec::new();
    list(&object("ways.c", &[]), None, |item| match item {
        Item::Line(line) if line.text.starts_with("gotox") => notes.push(line.notes),
        _ => {}
    })
    .unwrap();
    assert_eq!(notes, [(0..5).map(Note::Jump).collect(), vec![Note::Same(1)]]);
}
