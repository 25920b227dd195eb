//! The same by Zig, without a line of C.
const Map = extern struct { type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32 };
const Event = extern struct { pid: u32, comm: [16]u8 };

export var counts: Map linksection("maps") = .{ .type = 1, .key_size = 4, .value_size = 8, .max_entries = 64, .map_flags = 0 };
export var events: Map linksection("maps") = .{ .type = 27, .key_size = 0, .value_size = 0, .max_entries = 4096, .map_flags = 0 };
export const LICENSE: [4]u8 linksection("license") = "GPL\x00".*;

const lookup: *align(1) const fn (*const Map, *const anyopaque) callconv(.c) ?*u64 = @ptrFromInt(1);
const update: *align(1) const fn (*const Map, *const anyopaque, *const anyopaque, u64) callconv(.c) c_long = @ptrFromInt(2);
const pid_tgid: *align(1) const fn () callconv(.c) u64 = @ptrFromInt(14);
const comm: *align(1) const fn (*anyopaque, u32) callconv(.c) c_long = @ptrFromInt(16);
const output: *align(1) const fn (*const Map, *const anyopaque, u64, u64) callconv(.c) c_long = @ptrFromInt(130);

export fn on_exec(context: *anyopaque) linksection("tracepoint/sched/sched_process_exec") callconv(.c) c_int {
    _ = context;
    var event: Event = undefined;
    event.pid = @truncate(pid_tgid() >> 32);
    _ = comm(&event.comm, 16);
    const one: u64 = 1;
    if (lookup(&counts, &event.pid)) |count| {
        _ = @atomicRmw(u64, count, .Add, 1, .monotonic);
    } else {
        _ = update(&counts, &event.pid, &one, 0);
    }
    _ = output(&events, &event, @sizeOf(Event), 0);
    return 0;
}
