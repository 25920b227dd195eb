//! Addresses of processes: what each has mapped where.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_kernel::process;
use skep_object::event::Frame;

use super::files::{Files, Found, Key};
use super::ran;

/// Processes that are remembered.
const MOST: usize = 256;
/// Bytes of a list of mappings: a process may have many.
const MOST_BYTES: u64 = 16 << 20;
/// So old must a list be before an address that it does not have is looked for again.
const STALE: Duration = Duration::from_millis(200);

/// What processes have mapped.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<u32, Process>,
    /// Counts the questions.
    clock: u64,
}

#[derive(Debug)]
struct Process {
    is: Incarnation,
    mappings: Vec<Mapping>,
    read: Instant,
    /// The last question that was about it.
    used: u64,
}

/// What a process is until it ends or becomes another program: when it began, and where its code and its stack do.
#[derive(Debug, PartialEq, Eq)]
struct Incarnation([u64; 3]);

/// Code that it may run.
#[derive(Debug)]
struct Mapping {
    range: (u64, u64),
    /// Of the file that is mapped.
    offset: u64,
    device: u64,
    inode: u64,
    path: Arc<str>,
    file: Option<Result<Key, Arc<str>>>,
}

impl Processes {
    pub(super) fn frames(&mut self, pid: u32, addresses: &[u64], files: &mut Files) -> Vec<Frame> {
        match self.process(pid, addresses) {
            Ok(process) => {
                let addresses = addresses.iter().enumerate();
                addresses.map(|(at, address)| process.frame(pid, at, *address, files)).collect()
            }
            Err(error) => {
                let why: Arc<str> = match error.kind() {
                    io::ErrorKind::NotFound => format!("process {pid} is gone"),
                    _ => format!("process {pid} does not show what it has mapped: {error}"),
                }
                .into();
                let unknown = |address: &u64| Frame::unknown(Some(*address), why.clone());
                addresses.iter().map(unknown).collect()
            }
        }
    }

    /// What it has mapped; read anew if it is another by now, or has mapped more.
    fn process(&mut self, pid: u32, addresses: &[u64]) -> io::Result<&mut Process> {
        self.clock += 1;
        let is = Incarnation::of(pid)?;
        let is_known = self.known.get(&pid).is_some_and(|known| {
            let has = |address: &u64| known.at(*address).is_some();
            known.is == is && (known.read.elapsed() < STALE || addresses.iter().all(has))
        });
        if !is_known {
            let process = Process { mappings: mappings(pid)?, is, read: Instant::now(), used: 0 };
            self.known.insert(pid, process);
            self.forget();
        }
        let known = self.known.get_mut(&pid).ok_or(io::ErrorKind::NotFound)?;
        known.used = self.clock;
        Ok(known)
    }

    /// Forgets what was asked for least lately, beyond the limit.
    fn forget(&mut self) {
        while self.known.len() > MOST {
            let now = self.clock;
            let oldest =
                self.known.iter().min_by_key(|(_, one)| (one.used == 0, one.used.min(now)));
            let Some(pid) = oldest.map(|(pid, _)| *pid) else { break };
            self.known.remove(&pid);
        }
    }
}

impl Incarnation {
    /// By `/proc/PID/stat`: fields 22, 26 and 28 (proc_pid_stat(5)), the third being the first behind the name.
    fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        let text = String::from_utf8_lossy(&text);
        let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
        let words: Vec<&str> = behind.split_ascii_whitespace().collect();
        let number = |field: usize| words.get(field - 3).and_then(|word| word.parse().ok());
        Ok(Self([22, 26, 28].map(|field| number(field).unwrap_or(0))))
    }
}

impl Process {
    fn at(&self, address: u64) -> Option<usize> {
        let behind = self.mappings.partition_point(|mapping| mapping.range.0 <= address);
        let at = behind.checked_sub(1)?;
        self.mappings.get(at).filter(|mapping| address < mapping.range.1).map(|_| at)
    }

    fn frame(&mut self, pid: u32, at: usize, address: u64, files: &mut Files) -> Frame {
        let ran = ran(at, address);
        let Some(mapping) = self.at(ran).and_then(|at| self.mappings.get_mut(at)) else {
            let why = match self.mappings.is_empty() {
                true => format!("process {pid} has ended, or is the kernel's"),
                false => format!("process {pid} has no code there"),
            };
            return Frame::unknown(Some(address), why);
        };
        mapping.frame(pid, address, ran, files)
    }
}

impl Mapping {
    fn frame(&mut self, pid: u32, address: u64, ran: u64, files: &mut Files) -> Frame {
        let module = (!self.path.is_empty()).then(|| self.path.clone());
        let place = ran - self.range.0 + self.offset;
        let by = address - ran;
        let frame = Frame { address: Some(address), module, ..Frame::default() };
        if self.inode == 0 {
            let why = match &frame.module {
                None => "code that is no file's, made while it ran".into(),
                Some(_) => "no file's".into(),
            };
            let offset = frame.module.as_ref().map(|_| place - self.offset + by);
            return Frame { offset, unknown: Some(why), ..frame };
        }
        match self.found(pid, place, files) {
            Err(why) => Frame { offset: Some(place + by), unknown: Some(why), ..frame },
            Ok(Found { symbol: Some((symbol, behind)), build_id, .. }) => {
                let (symbol, offset) = (Some(symbol), Some(behind + by));
                Frame { symbol, offset, build_id, ..frame }
            }
            Ok(Found { symbol: None, address, build_id, why }) => {
                let (offset, unknown) = (Some(address + by), Some(why));
                Frame { offset, build_id, unknown, ..frame }
            }
        }
    }

    fn found(&mut self, pid: u32, place: u64, files: &mut Files) -> Result<Found, Arc<str>> {
        let known = match &self.file {
            Some(Ok(key)) => files.find(*key, place),
            Some(Err(why)) => return Err(why.clone()),
            None => None,
        };
        if let Some(found) = known {
            return found;
        }
        let opened = process::open_mapped(pid, self.range, &self.path, (self.device, self.inode));
        let read = opened.and_then(|file: File| files.read(file));
        match read {
            Ok(key) => {
                self.file = Some(Ok(key));
                files.find(key, place).unwrap_or_else(|| Err("its file is not read".into()))
            }
            Err(error) => {
                let why: Arc<str> = format!("its file cannot be read: {error}").into();
                // What is too much at once may be read later.
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.file = Some(Err(why.clone()));
                }
                Err(why)
            }
        }
    }
}

/// The code that a process has mapped, by addresses.
fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MOST_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let mut mappings: Vec<Mapping> = text.lines().filter_map(mapping).collect();
    mappings.sort_unstable_by_key(|mapping| mapping.range);
    Ok(mappings)
}

/// A line `start-end rwxp offset major:minor inode path`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    words.next().filter(|rights| rights.contains('x'))?;
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = hexadecimal(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(Mapping {
        range: (hexadecimal(start)?, hexadecimal(end)?),
        offset,
        device: process::device(number(major)?, number(minor)?),
        inode: words.next()?.parse().ok()?,
        path: words.next().unwrap_or_default().trim_start().into(),
        file: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn here() -> u64 {
        here as *const () as u64 + 1
    }

    fn own(address: u64) -> Frame {
        let (mut processes, mut files) = (Processes::default(), Files::default());
        processes.frames(std::process::id(), &[address], &mut files).remove(0)
    }

    #[test]
    fn this_program_is_named() {
        let frame = own(here());
        assert!(frame.symbol.as_ref().is_some_and(|name| name.contains("here")), "{frame:?}");
        assert_eq!(frame.offset, Some(1));
        let own_path = std::env::current_exe().unwrap();
        assert_eq!(frame.module.as_deref(), own_path.to_str());
    }

    #[test]
    fn what_is_not_there_is_said() {
        let said = own(8).to_string();
        assert!(said.ends_with("has no code there)"), "{said}");
        let (mut processes, mut files) = (Processes::default(), Files::default());
        let gone = processes.frames(u32::MAX, &[0x1000, 0x2000], &mut files);
        assert_eq!(gone[1].to_string(), format!("0x2000 (process {} is gone)", u32::MAX));
        let kernel = processes.frames(2, &[0x1000], &mut files).remove(0).to_string();
        assert!(kernel.contains("or is the kernel's"), "{kernel}");
    }

    #[test]
    fn lines_of_mappings() {
        let line = "7f00-7f80 r-xp 00001000 fe:01 12                 /usr/lib/a b.so (deleted)";
        let found = mapping(line).unwrap();
        assert_eq!((found.range, found.offset, found.inode), ((0x7f00, 0x7f80), 0x1000, 12));
        assert_eq!(&*found.path, "/usr/lib/a b.so (deleted)");
        assert!(mapping("7f00-7f80 rw-p 00001000 fe:01 12 /usr/lib/a").is_none(), "no code");
        assert!(mapping("").is_none() && mapping("7f00-7f80 r-xp x").is_none());
        assert_eq!(&*mapping("7f00-7f80 r-xp 00000000 00:00 0 ").unwrap().path, "");
    }

    #[test]
    fn as_many_processes_are_remembered_as_may_be() {
        let mut processes = Processes::default();
        let process = |used| Process {
            is: Incarnation([0; 3]),
            mappings: Vec::new(),
            read: Instant::now(),
            used,
        };
        processes.known.extend((0..MOST as u32 + 5).map(|pid| (pid, process(u64::from(pid) + 1))));
        processes.clock = u64::MAX;
        processes.forget();
        assert_eq!(processes.known.len(), MOST);
        assert!(!processes.known.contains_key(&0) && processes.known.contains_key(&5));
    }
}
