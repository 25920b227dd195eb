//! What helpers do with maps and with the memory that they are given (`include/uapi/linux/bpf.h`).

/// Helpers that return a pointer into a value of the map in r1.
pub(super) const LOOKUPS: [u32; 7] = [1, 81, 107, 145, 156, 195, 210];
/// The one of them that returns the value of a CPU that it is told.
pub(super) const LOOKUP_PERCPU: u32 = 195;
pub(super) const UPDATE: u32 = 2;
/// `BPF_NOEXIST`: of `map_update_elem` to create and not to replace.
pub(super) const BPF_NOEXIST: i32 = 1;
/// Those of [`LOOKUPS`] that make the entry if flags ask for it: `…_storage_get`.
pub(super) const STORAGES: [u32; 4] = [107, 145, 156, 210];
/// Helpers that remove: `map_delete_elem`, `map_pop_elem`, `…_storage_delete`.
pub(super) const REMOVES: [u32; 6] = [3, 88, 108, 146, 157, 211];
/// Helpers that put in what is no value of the program's, and the argument with the map, counted from 0: `get_stackid`,
/// `sock_map_update`, `sock_hash_update`, `map_push_elem`.
pub(super) const ADDS: [(u32, usize); 4] = [(27, 1), (53, 1), (70, 1), (87, 0)];
pub(super) const FOR_EACH: u32 = 164;
pub(super) const TIMER_SET_CALLBACK: u32 = 170;
pub(super) const LOOP: u32 = 181;

/// The argument, counted from 0, whose memory a helper writes.
pub(super) fn filled_argument(helper: &str) -> Option<usize> {
    match helper {
        "probe_read"
        | "probe_read_str"
        | "probe_read_user"
        | "probe_read_kernel"
        | "probe_read_user_str"
        | "probe_read_kernel_str"
        | "get_current_comm"
        | "snprintf"
        | "snprintf_btf"
        | "get_branch_snapshot"
        | "copy_from_user"
        | "copy_from_user_task"
        | "timer_init"
        | "timer_start"
        | "timer_cancel"
        | "kptr_xchg"
        | "dynptr_from_mem"
        | "dynptr_read" => Some(0),
        "get_stack"
        | "get_task_stack"
        | "perf_prog_read_value"
        | "fib_lookup"
        | "skb_get_tunnel_key"
        | "skb_get_tunnel_opt"
        | "sysctl_get_name"
        | "sysctl_get_current_value"
        | "sysctl_get_new_value"
        | "d_path"
        | "read_branch_records"
        | "load_hdr_opt"
        | "ima_inode_hash"
        | "ima_file_hash"
        | "get_func_ret"
        | "sys_bpf"
        | "map_pop_elem"
        | "map_peek_elem" => Some(1),
        "skb_load_bytes"
        | "skb_load_bytes_relative"
        | "xdp_load_bytes"
        | "perf_event_read_value"
        | "skb_get_xfrm_state"
        | "get_func_arg"
        | "check_mtu"
        | "get_ns_current_pid_tgid"
        | "user_ringbuf_drain" => Some(2),
        "getsockopt" | "strtol" | "strtoul" | "kallsyms_lookup_name" | "find_vma" => Some(3),
        _ => None,
    }
}
