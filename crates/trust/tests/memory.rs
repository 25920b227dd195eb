//! The most memory that any layer takes, whatever is in it. Alone in its process, whose peak the kernel counts.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use skep_trust::layer::{FILE_MAX, LayerError, read};
use tar::EntryType::{GNULongName, Regular};

const BLOCK: u64 = 512;

/// Bytes of this process by a line of `/proc/self/status`.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The peak that reading a layer adds, and how large its file is.
fn added(layer: &[u8]) -> (u64, Result<u64, LayerError>) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // forgets the peak so far
    let before = memory("VmRSS:");
    let read = read(layer, FILE_MAX).map(|file| file.data.len() as u64);
    (memory("VmHWM:").saturating_sub(before), read)
}

/// Bytes, and another one that follows so often.
type Part = (Vec<u8>, u8, u64);

/// An entry of a tar: its header, and what it holds.
fn entry(kind: tar::EntryType, filling: u8, size: u64) -> Part {
    let mut header = tar::Header::new_gnu();
    header.set_path("bpf.o").unwrap();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    (header.as_bytes().to_vec(), filling, size.next_multiple_of(BLOCK))
}

/// A small layer that wants to be large.
fn bomb(parts: &[Part]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for (bytes, filling, times) in parts {
        encoder.write_all(bytes).unwrap();
        std::io::copy(&mut std::io::repeat(*filling).take(*times), &mut encoder).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn a_layer_takes_no_more_than_its_file_may_have() {
    let too_large = Err(LayerError::TooLarge { max: FILE_MAX });
    let (file, name) = (|size| entry(Regular, 0, size), entry(GNULongName, 0x1b, FILE_MAX / 2));
    let end = (Vec::new(), 0, 2 * BLOCK);
    let cases = [
        ("a file of the limit", vec![file(FILE_MAX), end.clone()], Ok(FILE_MAX)),
        ("a larger file", vec![file(FILE_MAX + 1), end.clone()], too_large.clone()),
        ("nothing", vec![(Vec::new(), 0, 2 * FILE_MAX)], too_large.clone()),
        ("nothing behind a file", vec![file(5), (Vec::new(), 0, FILE_MAX / 2)], too_large.clone()),
        ("a name", vec![name.clone(), file(5), end.clone()], too_large.clone()),
        ("a name behind a file", vec![file(5), name, file(5), end], too_large),
    ];
    for (what, parts, expected) in cases {
        let layer = bomb(&parts);
        assert!(layer.len() < 1 << 20, "{what}: {}", layer.len());
        let (added, read) = added(&layer);
        println!("{what}: {} KiB, {} KiB more", layer.len() >> 10, added >> 10);
        assert!(added <= FILE_MAX + FILE_MAX / 10, "{what}: {} MiB", added >> 20);
        assert_eq!(read, expected, "{what}");
    }
}
