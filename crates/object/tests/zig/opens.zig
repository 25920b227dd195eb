//! Counts openings as a Zig author writes it: without C, its map defined in `maps`.
const Map = extern struct { type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32 };

export var counts: Map linksection("maps") = .{ .type = 1, .key_size = 4, .value_size = 8, .max_entries = 1024, .map_flags = 0 };
export const LICENSE: [4]u8 linksection("license") = "GPL\x00".*;
export var only_pid: u32 = 7;

const lookup: *align(1) const fn (*const Map, *const anyopaque) callconv(.c) ?*u64 = @ptrFromInt(1);

fn slot(key: u32) ?*u64 {
    return lookup(&counts, &key);
}

export fn on_open(context: *anyopaque) linksection("tracepoint/syscalls/sys_enter_openat") callconv(.c) c_int {
    _ = context;
    if (only_pid == 0) return 0;
    if (slot(1)) |count| _ = @atomicRmw(u64, count, .Add, 1, .monotonic);
    return 0;
}
