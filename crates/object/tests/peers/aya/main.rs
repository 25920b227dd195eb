//! Counts who opens files, and puts each into a ring.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::ptr;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{HashMap, RingBuf};
use aya_ebpf::programs::TracePointContext;

#[map]
static COUNTS: HashMap<u32, u64> = HashMap::with_max_entries(1024, 0);

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// 0 is every process.
#[unsafe(no_mangle)]
static ONLY_PID: u32 = 0;

#[tracepoint(category = "syscalls", name = "sys_enter_openat")]
pub fn on_open(_: TracePointContext) -> u32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // Whoever loads it may write another number there.
    let only = unsafe { ptr::read_volatile(&raw const ONLY_PID) };
    if only != 0 && only != pid {
        return 0;
    }
    match COUNTS.get_ptr_mut(&pid) {
        Some(count) => unsafe { *count += 1 },
        None => drop(COUNTS.insert(&pid, &1, 0)),
    }
    if let Some(mut entry) = EVENTS.reserve::<u32>(0) {
        entry.write(pid);
        entry.submit(0);
    }
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
