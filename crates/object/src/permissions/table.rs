//! What gives a power: the standard's table, by what hooks, helpers and kernel functions mean to the kernel.

use skep_spec::Target;

use super::Power;
use crate::{core_kind, helper};

/// A power and what gives it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The power.
    pub power: Power,
    /// Kinds of hooks, or how targets begin: `cgroup/skb`, `raw_tp.w`.
    pub hooks: &'static [&'static str],
    /// Helpers without `bpf_`.
    pub helpers: &'static [&'static str],
    /// Kernel functions.
    pub kfuncs: &'static [&'static str],
}

/// What attaching to a target allows. What the table does not name observes.
pub fn powers_of_hook(target: &Target) -> impl Iterator<Item = Power> + use<> {
    let text = target.to_string();
    let (place, _) = text.split_once(':').unwrap_or((&text, ""));
    let (first, _) = text.split_once('/').unwrap_or((&text, ""));
    let names = [target.kind(), place, first];
    let given = |row: &&Row| row.hooks.iter().any(|hook| names.contains(hook));
    let given: Vec<Power> = TABLE.iter().filter(given).map(|row| row.power).collect();
    let observes = given.is_empty().then_some(Power::Observes);
    given.into_iter().chain(observes)
}

/// What calling a helper allows, if more than keeping state and reporting it. Of a helper that nobody knows nobody can tell.
pub fn powers_of_helper(helper: &str) -> impl Iterator<Item = Power> {
    let given = TABLE.iter().filter(move |row| row.helpers.contains(&helper));
    let unknown = helper::id(helper).is_none().then_some(Power::Unknown);
    unknown.into_iter().chain(given.map(|row| row.power))
}

/// What calling a kernel function allows. Of one that the table does not know nobody can tell.
pub fn powers_of_kfunc(kfunc: &str) -> impl Iterator<Item = Power> {
    // The loader looks for it without its flavour.
    let name = core_kind::plain(kfunc);
    let given = TABLE.iter().filter(move |row| row.kfuncs.contains(&name));
    let given: Vec<Power> = given.map(|row| row.power).collect();
    let unknown = given.is_empty() && !QUIET.contains(&name);
    let unknown = unknown.then_some(Power::Unknown);
    unknown.into_iter().chain(given).chain([Power::CallsKernelFunctions])
}

const fn row(power: Power) -> Row {
    Row { power, hooks: &[], helpers: &[], kfuncs: &[] }
}

/// Where packets and connections pass: what replaces a program has what that one had.
#[rustfmt::skip]
const PACKETS: &[&str] = &[
    "freplace", "xdp", "tcx", "netkit", "action", "socket", "sockops", "sk_msg", "sk_skb",
    "sk_lookup", "sk_reuseport", "cgroup_skb", "flow_dissector", "lwt_in", "lwt_out", "lwt_xmit",
    "lwt_seg6local", "netfilter", "cgroup/skb", "cgroup/sock", "cgroup/sock_create",
    "cgroup/sock_release", "cgroup/post_bind4", "cgroup/post_bind6", "cgroup/bind4", "cgroup/bind6",
    "cgroup/connect4", "cgroup/connect6", "cgroup/connect_unix", "cgroup/sendmsg4",
    "cgroup/sendmsg6", "cgroup/sendmsg_unix", "cgroup/recvmsg4", "cgroup/recvmsg6",
    "cgroup/recvmsg_unix", "cgroup/getpeername4", "cgroup/getpeername6", "cgroup/getpeername_unix",
    "cgroup/getsockname4", "cgroup/getsockname6", "cgroup/getsockname_unix",
];

/// Every power, the gravest first. Formats of `snprintf` and the like read strings at any address (`%pks`, `%pus`); typed hooks
/// follow pointers without a helper.
#[rustfmt::skip]
pub const TABLE: [Row; 21] = [
    row(Power::Unknown),
    Row {
        helpers: &["sys_bpf"],
        ..row(Power::LoadsPrograms)
    },
    Row {
        kfuncs: &["crash_kexec"],
        ..row(Power::StopsMachine)
    },
    Row {
        hooks: &["uprobe.w", "uretprobe.w", "usdt.w"],
        helpers: &["probe_write_user"],
        ..row(Power::WritesUserMemory)
    },
    Row {
        hooks: &["fmod_ret"],
        helpers: &["override_return"],
        ..row(Power::OverridesReturns)
    },
    Row {
        hooks: &["struct_ops", "freplace"],
        ..row(Power::ReplacesKernelCode)
    },
    Row {
        hooks: &[
            "iter.s/bpf_map_elem", "iter.s/bpf_sk_storage_map", "iter/bpf_map_elem",
            "iter/bpf_sk_storage_map", "raw_tp.w", "raw_tracepoint.w",
        ],
        ..row(Power::WritesKernelMemory)
    },
    Row {
        hooks: &["lsm", "lsm_cgroup"],
        ..row(Power::DecidesAccess)
    },
    Row {
        helpers: &["send_signal", "send_signal_thread"],
        kfuncs: &["bpf_send_signal_task"],
        ..row(Power::SendsSignals)
    },
    Row {
        helpers: &["sys_close"],
        kfuncs: &[
            "bpf_remove_dentry_xattr", "bpf_remove_dentry_xattr_locked", "bpf_set_dentry_xattr",
            "bpf_set_dentry_xattr_locked",
        ],
        ..row(Power::ChangesFiles)
    },
    Row {
        kfuncs: &[
            "__scx_bpf_dsq_insert_vtime", "__scx_bpf_select_cpu_and", "scx_bpf_consume",
            "scx_bpf_cpuperf_set", "scx_bpf_create_dsq", "scx_bpf_destroy_dsq", "scx_bpf_dispatch",
            "scx_bpf_dispatch_cancel", "scx_bpf_dispatch_from_dsq",
            "scx_bpf_dispatch_from_dsq_set_slice", "scx_bpf_dispatch_from_dsq_set_vtime",
            "scx_bpf_dispatch_vtime", "scx_bpf_dispatch_vtime_from_dsq", "scx_bpf_dsq_insert",
            "scx_bpf_dsq_insert_vtime", "scx_bpf_dsq_move", "scx_bpf_dsq_move_set_slice",
            "scx_bpf_dsq_move_set_vtime", "scx_bpf_dsq_move_to_local", "scx_bpf_dsq_move_vtime",
            "scx_bpf_error_bstr", "scx_bpf_exit_bstr", "scx_bpf_kick_cpu", "scx_bpf_pick_any_cpu",
            "scx_bpf_pick_any_cpu_node", "scx_bpf_pick_idle_cpu", "scx_bpf_pick_idle_cpu_node",
            "scx_bpf_reenqueue_local", "scx_bpf_select_cpu_and", "scx_bpf_select_cpu_dfl",
            "scx_bpf_task_set_dsq_vtime", "scx_bpf_task_set_slice",
            "scx_bpf_test_and_clear_cpu_idle",
        ],
        ..row(Power::SchedulesTasks)
    },
    Row {
        hooks: PACKETS,
        helpers: &[
            "bind", "clone_redirect", "redirect", "redirect_map", "redirect_neigh", "redirect_peer",
            "setsockopt",
        ],
        kfuncs: &[
            "bbr_cwnd_event", "bbr_init", "bbr_main", "bbr_min_tso_segs", "bbr_set_state",
            "bbr_sndbuf_expand", "bbr_ssthresh", "bbr_undo_cwnd", "bpf_ct_change_status",
            "bpf_ct_change_timeout", "bpf_ct_insert_entry", "bpf_ct_set_nat_info",
            "bpf_ct_set_status", "bpf_ct_set_timeout", "bpf_sk_assign_tcp_reqsk",
            "bpf_skb_ct_alloc", "bpf_sock_addr_set_sun_path", "bpf_sock_destroy",
            "bpf_sock_ops_enable_tx_tstamp", "bpf_xdp_ct_alloc", "bpf_xdp_pull_data",
            "cubictcp_acked", "cubictcp_cong_avoid", "cubictcp_cwnd_event", "cubictcp_init",
            "cubictcp_recalc_ssthresh", "cubictcp_state", "tcp_cong_avoid_ai",
            "tcp_reno_cong_avoid", "tcp_reno_ssthresh", "tcp_reno_undo_cwnd", "tcp_slow_start",
        ],
        ..row(Power::ControlsTraffic)
    },
    Row {
        hooks: &["cgroup"],
        ..row(Power::ControlsCgroups)
    },
    Row {
        helpers: &["rc_keydown", "rc_pointer_rel", "rc_repeat"],
        kfuncs: &["hid_bpf_hw_output_report", "hid_bpf_hw_request", "hid_bpf_input_report"],
        ..row(Power::InjectsInput)
    },
    Row {
        helpers: &[
            "copy_from_user", "copy_from_user_task", "probe_read", "probe_read_str",
            "probe_read_user", "probe_read_user_str", "seq_printf", "seq_printf_btf", "snprintf",
            "snprintf_btf", "trace_printk", "trace_vprintk",
        ],
        kfuncs: &[
            "bpf_copy_from_user_dynptr", "bpf_copy_from_user_str", "bpf_copy_from_user_str_dynptr",
            "bpf_copy_from_user_task_dynptr", "bpf_copy_from_user_task_str",
            "bpf_copy_from_user_task_str_dynptr", "bpf_probe_read_user_dynptr",
            "bpf_probe_read_user_str_dynptr", "bpf_stream_vprintk_impl",
        ],
        ..row(Power::ReadsUserMemory)
    },
    Row {
        hooks: &[
            "fentry", "fexit", "fmod_ret", "freplace", "fsession", "iter", "lsm", "lsm_cgroup",
            "netfilter", "struct_ops", "tp_btf",
        ],
        helpers: &[
            "find_vma", "get_current_task_btf", "kallsyms_lookup_name", "per_cpu_ptr", "probe_read",
            "probe_read_kernel", "probe_read_kernel_str", "probe_read_str", "seq_printf", "seq_printf_btf",
            "skc_to_mptcp_sock", "skc_to_tcp6_sock", "skc_to_tcp_request_sock", "skc_to_tcp_sock",
            "skc_to_tcp_timewait_sock", "skc_to_udp6_sock", "skc_to_unix_sock", "snprintf",
            "snprintf_btf", "sock_from_file", "task_pt_regs", "this_cpu_ptr", "trace_printk",
            "trace_vprintk",
        ],
        kfuncs: &[
            "bpf_cast_to_kern_ctx", "bpf_cgroup_acquire", "bpf_cgroup_ancestor",
            "bpf_cgroup_from_id", "bpf_cgroup_read_xattr", "bpf_get_dentry_xattr",
            "bpf_get_file_xattr", "bpf_get_kmem_cache", "bpf_get_task_exe_file", "bpf_iter_css_new",
            "bpf_iter_css_next", "bpf_iter_css_task_new", "bpf_iter_css_task_next",
            "bpf_iter_dmabuf_new", "bpf_iter_dmabuf_next", "bpf_iter_kmem_cache_new",
            "bpf_iter_kmem_cache_next", "bpf_iter_scx_dsq_new", "bpf_iter_scx_dsq_next",
            "bpf_iter_task_new", "bpf_iter_task_next", "bpf_iter_task_vma_new",
            "bpf_iter_task_vma_next", "bpf_path_d_path", "bpf_probe_read_kernel_dynptr",
            "bpf_probe_read_kernel_str_dynptr", "bpf_rdonly_cast", "bpf_strcasecmp", "bpf_strchr",
            "bpf_strchrnul", "bpf_strcmp", "bpf_strcspn", "bpf_stream_vprintk_impl", "bpf_strlen",
            "bpf_strnchr", "bpf_strnlen", "bpf_strnstr", "bpf_strrchr", "bpf_strspn", "bpf_strstr",
            "bpf_task_acquire", "bpf_task_from_pid", "bpf_task_from_vpid", "bpf_task_get_cgroup1",
            "scx_bpf_cpu_curr", "scx_bpf_cpu_rq", "scx_bpf_dsq_peek", "scx_bpf_dump_bstr",
            "scx_bpf_error_bstr", "scx_bpf_exit_bstr", "scx_bpf_locked_rq", "scx_bpf_task_cgroup",
        ],
        ..row(Power::ReadsKernelMemory)
    },
    Row {
        helpers: &["d_path", "ima_file_hash", "ima_inode_hash"],
        kfuncs: &[
            "bpf_get_dentry_xattr", "bpf_get_file_xattr", "bpf_get_fsverity_digest",
            "bpf_path_d_path",
        ],
        ..row(Power::ReadsFiles)
    },
    Row {
        helpers: &[
            "get_branch_snapshot", "get_stack", "get_stackid", "get_task_stack",
            "read_branch_records",
        ],
        ..row(Power::ReadsStacks)
    },
    row(Power::CallsKernelFunctions),
    Row {
        hooks: PACKETS,
        helpers: &["skb_output", "xdp_output"],
        kfuncs: &[
            "bpf_dynptr_from_skb", "bpf_dynptr_from_skb_meta", "bpf_dynptr_from_xdp",
            "bpf_skb_ct_lookup", "bpf_xdp_ct_lookup", "bpf_xdp_get_xfrm_state",
            "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_timestamp",
            "bpf_xdp_metadata_rx_vlan_tag",
        ],
        ..row(Power::ReadsTraffic)
    },
    Row {
        hooks: &[
            "cgroup", "fentry", "fexit", "fmod_ret", "freplace", "fsession", "iter", "lsm",
            "lsm_cgroup", "raw_tp.w", "raw_tracepoint.w", "struct_ops", "tp_btf", "uprobe.w",
            "uretprobe.w", "usdt.w",
        ],
        ..row(Power::Observes)
    },
];

/// Kernel functions that give no power but that of calling one: they work on the program's own objects, or let others go.
#[rustfmt::skip]
pub const QUIET: &[&str] = &[
    "__bpf_trap", "bpf_arena_alloc_pages", "bpf_arena_free_pages", "bpf_arena_reserve_pages",
    "bpf_cgroup_release", "bpf_cpumask_acquire", "bpf_cpumask_and",
    "bpf_cpumask_any_and_distribute", "bpf_cpumask_any_distribute", "bpf_cpumask_clear",
    "bpf_cpumask_clear_cpu", "bpf_cpumask_copy", "bpf_cpumask_create", "bpf_cpumask_empty",
    "bpf_cpumask_equal", "bpf_cpumask_first", "bpf_cpumask_first_and", "bpf_cpumask_first_zero",
    "bpf_cpumask_full", "bpf_cpumask_intersects", "bpf_cpumask_or", "bpf_cpumask_populate",
    "bpf_cpumask_release", "bpf_cpumask_set_cpu", "bpf_cpumask_setall", "bpf_cpumask_subset",
    "bpf_cpumask_test_and_clear_cpu", "bpf_cpumask_test_and_set_cpu", "bpf_cpumask_test_cpu",
    "bpf_cpumask_weight", "bpf_cpumask_xor", "bpf_crypto_ctx_acquire", "bpf_crypto_ctx_create",
    "bpf_crypto_ctx_release", "bpf_crypto_decrypt", "bpf_crypto_encrypt", "bpf_ct_release",
    "bpf_dynptr_adjust", "bpf_dynptr_clone", "bpf_dynptr_copy", "bpf_dynptr_is_null",
    "bpf_dynptr_is_rdonly", "bpf_dynptr_memset", "bpf_dynptr_size", "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr", "bpf_iter_bits_destroy", "bpf_iter_bits_new", "bpf_iter_bits_next",
    "bpf_iter_css_destroy", "bpf_iter_css_task_destroy", "bpf_iter_dmabuf_destroy",
    "bpf_iter_kmem_cache_destroy", "bpf_iter_num_destroy", "bpf_iter_num_new", "bpf_iter_num_next",
    "bpf_iter_scx_dsq_destroy", "bpf_iter_task_destroy", "bpf_iter_task_vma_destroy", "bpf_key_put",
    "bpf_list_back", "bpf_list_front", "bpf_list_pop_back", "bpf_list_pop_front",
    "bpf_list_push_back_impl", "bpf_list_push_front_impl", "bpf_local_irq_restore",
    "bpf_local_irq_save", "bpf_lookup_system_key", "bpf_lookup_user_key", "bpf_map_sum_elem_count",
    "bpf_obj_drop_impl", "bpf_obj_new_impl", "bpf_percpu_obj_drop_impl", "bpf_percpu_obj_new_impl",
    "bpf_preempt_disable", "bpf_preempt_enable", "bpf_put_file", "bpf_rbtree_add_impl",
    "bpf_rbtree_first", "bpf_rbtree_left", "bpf_rbtree_remove", "bpf_rbtree_right",
    "bpf_rbtree_root", "bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_refcount_acquire_impl",
    "bpf_res_spin_lock", "bpf_res_spin_lock_irqsave", "bpf_res_spin_unlock",
    "bpf_res_spin_unlock_irqrestore", "bpf_session_cookie", "bpf_session_is_return",
    "bpf_task_release", "bpf_task_under_cgroup", "bpf_task_work_schedule_resume_impl",
    "bpf_task_work_schedule_signal_impl", "bpf_throw", "bpf_verify_pkcs7_signature", "bpf_wq_init",
    "bpf_wq_set_callback_impl", "bpf_wq_start", "bpf_xdp_xfrm_state_release", "cgroup_rstat_flush",
    "cgroup_rstat_updated", "css_rstat_flush", "css_rstat_updated", "scx_bpf_cpu_node",
    "scx_bpf_cpuperf_cap", "scx_bpf_cpuperf_cur", "scx_bpf_dispatch_nr_slots",
    "scx_bpf_dsq_nr_queued", "scx_bpf_events", "scx_bpf_get_idle_cpumask",
    "scx_bpf_get_idle_cpumask_node", "scx_bpf_get_idle_smtmask", "scx_bpf_get_idle_smtmask_node",
    "scx_bpf_get_online_cpumask", "scx_bpf_get_possible_cpumask", "scx_bpf_now",
    "scx_bpf_nr_cpu_ids", "scx_bpf_nr_node_ids", "scx_bpf_put_cpumask", "scx_bpf_put_idle_cpumask",
    "scx_bpf_task_cpu", "scx_bpf_task_running",
];

#[cfg(test)]
mod tests {
    use super::{QUIET, TABLE};
    use crate::helper;

    #[test]
    fn the_table_names_each_power_once_and_helpers_that_there_are() {
        assert!(TABLE.array_windows().all(|[a, b]| a.power < b.power));
        let mut helpers = TABLE.iter().flat_map(|row| row.helpers);
        assert!(helpers.all(|name| helper::id(name).is_some()));
        let mut kfuncs = TABLE.iter().flat_map(|row| row.kfuncs);
        assert!(kfuncs.all(|name| !QUIET.contains(name)));
    }
}
