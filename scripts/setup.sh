#!/usr/bin/env bash
# setup.sh build|test|bench|fuzz: installs what is missing on Debian 12, as root, and says each step.
# Does nothing, quickly, where all is there. Downloads that no package manager keeps go to $XDG_CACHE_HOME/skep.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/skep
export PATH=$HOME/.cargo/bin:$cache/bin:/usr/local/go/bin:$PATH
mkdir -p "$cache/bin"

say() { echo "setup: $*"; }
have() { type -P "$1" >/dev/null; } # programs only, not functions of the same name
installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

# packages FROM NAME...: apt packages, from a suite or - for the usual one
packages() {
	local from=$1 missing=() name
	shift
	for name; do installed "$name" || missing+=("$name"); done
	((${#missing[@]})) || return 0
	say "apt install ${missing[*]}"
	apt_update
	local suite=()
	[[ $from = - ]] || suite=(-t "$from")
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends \
		"${suite[@]}" "${missing[@]}" >"$cache/apt.log" 2>&1 || {
		tail -5 "$cache/apt.log" >&2
		echo "setup: apt could not install ${missing[*]}; the whole log is $cache/apt.log" >&2
		exit 1
	}
}

updated=
apt_update() {
	[[ -z $updated ]] || return 0
	apt-get -qq -o DPkg::Lock::Timeout=600 update >"$cache/apt.log" 2>&1 || { tail -5 "$cache/apt.log" >&2; exit 1; }
	updated=1
}

# Debian's backports, from the mirror that apt already uses
backports() {
	apt-get indextargets --format '$(CODENAME)' 'Created-By: Packages' | grep -qx bookworm-backports && return
	local mirror
	mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | awk '$1=="bookworm"{print $2; exit}')
	[[ -n $mirror ]] || { echo "setup: apt has no source for bookworm" >&2; exit 1; }
	say "add bookworm-backports to apt"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" \
		>/etc/apt/sources.list.d/skep-backports.list
	updated=
	apt_update
}

rust() {
	local channel target=x86_64-unknown-linux-musl
	channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
	if ! have cargo; then
		say "install Rust $channel with rustup"
		curl -fsSL --proto '=https' -o "$cache/rustup-init" \
			"https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init"
		chmod +x "$cache/rustup-init"
		"$cache/rustup-init" -y -q --no-modify-path --profile minimal --component clippy --component rustfmt \
			--default-toolchain "$channel"
	fi
	if ! rustup toolchain list 2>/dev/null | grep -q "^$channel"; then
		say "rustup toolchain install $channel"
		rustup -q toolchain install "$channel" --profile minimal --component clippy,rustfmt --no-self-update
	fi
	rustup target list --installed --toolchain "$channel" | grep -qx $target || {
		say "rustup target add $target"
		rustup -q target add $target --toolchain "$channel"
	}
}

# libelf.a, libz.a and a compiler for musl, where .cargo/config.toml looks for them
sysroot() {
	[[ -e target/sysroot/x86_64/done ]] || {
		say "build libelf and zlib for musl"
		cargo xtask sysroot
	}
}

# Go: it builds cosign, and fetches the objects of others that skep-object is held against
golang() {
	! have go || return 0
	backports
	packages bookworm-backports golang-go
}

# cosign, built from the Go module proxy: what signatures are held against
cosign() {
	! have cosign || return 0
	golang
	say "go install cosign (some minutes)"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto GOBIN=$cache/bin go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
}

# oras and crane, built likewise: what packages travel through
oras() {
	! have oras || return 0
	golang
	say "go install oras"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto GOBIN=$cache/bin go install oras.land/oras/cmd/oras@v1.3.2
}
crane() {
	! have crane || return 0
	golang
	say "go install crane"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto GOBIN=$cache/bin go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
}

# A registry with the referrers API that is not ours, and the distribution-spec's own suite, which holds our hub to it
ociregistry() {
	! have ociregistry || return 0
	golang
	say "go build ociregistry"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto go build -C scripts/registry -trimpath -buildvcs=false -o "$cache/bin/ociregistry"
}
oci_conformance() {
	! have oci-conformance || return 0
	golang
	say "go install the distribution-spec's conformance suite"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto GOBIN=$cache/go \
		go install github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
	mv "$cache/go/conformance" "$cache/bin/oci-conformance"
	rmdir "$cache/go"
}

# Inspektor Gadget's own builder of images, from the Go module proxy: what skep import is held against
gadget_image() {
	! have gadget-image || return 0
	golang
	say "go build gadget-image"
	GOFLAGS=-p=2 GOTOOLCHAIN=auto go build -C scripts/gadget-image -trimpath -buildvcs=false -o "$cache/bin/gadget-image"
}

# packages of eunomia's, which its crates ship
eunomia() {
	local crate
	for crate in bpf-loader-lib@0.2.1 ecli-lib@0.2.9; do
		local name=${crate/@/-}
		[[ ! -d $cache/eunomia/$name ]] || continue
		say "download the crate $crate"
		(cd / && cargo info --quiet "$crate" >/dev/null)
		mkdir -p "$cache/eunomia"
		find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$name.crate" -exec tar -C "$cache/eunomia" -xzf {} \;
	done
}

# Zig, from PyPI, where it is a package of one folder: its objects are read in the tests of skep-object
zig() {
	[[ ! -x $cache/zig/ziglang/zig ]] || return 0
	packages - python3-pip
	say "download Zig (100 MB)"
	rm -rf "$cache/zig"
	/usr/bin/python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$cache/zig" ziglang==0.17.1
	/usr/bin/python3 -m zipfile -e "$cache"/zig/*.whl "$cache/zig"
	rm "$cache"/zig/*.whl
	chmod +x "$cache/zig/ziglang/zig"
}

# Tools of others whose objects run in the tests: unpacked, never installed
corpus() {
	local name folder
	for name in libbpf-tools xdp-tools libxdp1; do
		folder=$cache/corpus/$name
		[[ ! -d $folder ]] || continue
		say "download $name"
		apt_update
		rm -rf "$folder.part"
		mkdir -p "$folder.part"
		(cd "$folder.part" && apt-get -qq -o APT::Sandbox::User=root download "$name" && dpkg-deb -x ./*.deb . && rm ./*.deb)
		mv "$folder.part" "$folder"
	done
}

nightly() {
	rustup toolchain list 2>/dev/null | grep -q '^nightly' || {
		say "rustup toolchain install nightly"
		rustup -q toolchain install nightly --profile minimal --no-self-update
	}
}

# Aya's crates, and Rust's core for BPF: an object of them is built and read in the tests of skep-object
aya() {
	nightly
	rustup +nightly component list --installed | grep -q '^rust-src' || {
		say "rustup component add rust-src"
		rustup -q component add rust-src --toolchain nightly
	}
	local manifest=$PWD/crates/object/tests/peers/aya/Cargo.toml
	# What core itself is built of comes along.
	(cd / && cargo +nightly fetch --quiet --locked -Zbuild-std=core --target bpfel-unknown-none --manifest-path "$manifest")
}

cargo_deny() {
	have cargo-deny || {
		say "cargo install cargo-deny (some minutes)"
		(cd / && cargo install --quiet --locked --root "$cache" cargo-deny@0.20.2)
	}
}

# libFuzzer's driver, and the compiler whose coverage it reads
cargo_fuzz() {
	packages - g++ libelf-dev zlib1g-dev # libbpf, for the machine itself
	nightly
	have cargo-fuzz || {
		say "cargo install cargo-fuzz"
		(cd / && cargo install --quiet --locked --root "$cache" cargo-fuzz@0.13.2)
	}
}

packages - ca-certificates clang curl gcc git kmod libc6-dev linux-libc-dev lld make musl-tools pkg-config procps xz-utils zstd
rust
sysroot
case $what in
test | bench)
	backports
	packages bookworm-backports bpftool qemu-system-x86
	packages - chromium docker-registry gcc-bpf iproute2 llvm openssl python3-cryptography python3-jsonschema skopeo sqlite3 systemd util-linux zsh fish
	;;&
test)
	golang
	cosign
	oras
	crane
	ociregistry
	oci_conformance
	gadget_image
	eunomia
	zig
	aya
	corpus
	cargo_deny
	;;
bench)
	packages - bpftrace linux-headers-amd64 python3-bpfcc
	oras
	corpus
	;;
fuzz) cargo_fuzz ;;
esac
