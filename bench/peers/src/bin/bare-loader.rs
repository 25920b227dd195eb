//! `bare-loader OBJECT RING`: what a careful author writes with libbpf-rs and no more: open, load, attach every
//! program, print one ring's records as bytes until the input closes.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use libbpf_rs::{Link, MapCore as _, ObjectBuilder, RingBufferBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [object, ring] = args.as_slice() else { return Err("bare-loader OBJECT RING".into()) };
    let object = ObjectBuilder::default().open_file(object)?.load()?;
    let links =
        object.progs_mut().map(|program| program.attach()).collect::<Result<Vec<Link>, _>>()?;
    let map = object.maps().find(|map| map.name() == ring.as_str()).ok_or("no such ring")?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&map, print)?;
    let records = builder.build()?;
    println!("attached {} programs", links.len());
    std::io::stdout().flush()?;
    wait_for_end(&records)
}

fn print(record: &[u8]) -> i32 {
    let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{hex}");
    0
}

/// Consumes until the standard input is closed.
fn wait_for_end(records: &libbpf_rs::RingBuffer<'_>) -> Result<(), Box<dyn Error>> {
    let closed = std::thread::spawn(|| {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest)
    });
    while !closed.is_finished() {
        records.poll(Duration::from_millis(50))?;
    }
    Ok(())
}
