#!/usr/bin/env bash
# bench.sh: the bench in a mount namespace of its own, with what its peers look for at fixed places.
set -euo pipefail
[[ ${1:-} = inside ]] || exec unshare -m "$0" inside

# Bare loaders look for tracefs, and bpftool pins to bpffs, where they are usually mounted.
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf

# BCC compiles against the running kernel's headers. Where there are none, it gets Debian's: its program uses the kernel's
# types only by name, and what is measured is the way from source to attached.
modules=/lib/modules/$(uname -r)
if [[ ! -e $modules/build ]]; then
	headers=$(find /usr/src -maxdepth 1 -name 'linux-headers-*-amd64' | sort -V | tail -1)
	if [[ -n $headers ]]; then
		mkdir -p /lib/modules
		mount -t tmpfs tmpfs /lib/modules
		mkdir "$modules"
		ln -s "$headers" "$modules/build"
		ln -s "${headers%-amd64}-common" "$modules/source"
	fi
fi
exec "$(dirname "$0")/../target/x86_64-unknown-linux-musl/release/bench"
