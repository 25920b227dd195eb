//! CPU architectures and their two spellings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A CPU architecture that an object is built for, spelled as `uname -m` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit Arm (GOARCH `arm64`).
    Aarch64,
    /// 64-bit RISC-V (GOARCH `riscv64`).
    Riscv64,
    /// IBM Z, the big-endian one (GOARCH `s390x`).
    S390x,
    /// 64-bit x86 (GOARCH `amd64`).
    #[serde(rename = "x86_64")]
    X86_64,
}

crate::text_schema!(Arch, "enum": ["x86_64", "aarch64", "riscv64", "s390x"]);

/// Why a text names no architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an architecture: use x86_64, aarch64, riscv64 or s390x")]
pub struct ArchError(pub String);

impl Arch {
    /// All architectures, in GOARCH order (the order of an index).
    pub const ALL: [Self; 4] = [Self::X86_64, Self::Aarch64, Self::Riscv64, Self::S390x];

    /// The architecture that this program runs on, where it is one of ours.
    #[must_use]
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }

    /// Whether its kernels run objects of big-endian byte order (`bpfeb`), and no others.
    #[must_use]
    pub const fn is_big_endian(self) -> bool {
        matches!(self, Self::S390x)
    }

    /// The spelling of OCI platforms and statement subjects.
    #[must_use]
    pub const fn goarch(self) -> &'static str {
        match self {
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
            Self::X86_64 => "amd64",
        }
    }

    /// The architecture of an OCI platform.
    #[must_use]
    pub fn from_goarch(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.goarch() == text)
    }

    /// The spelling of manifests and of `uname -m`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
            Self::X86_64 => "x86_64",
        }
    }
}

impl FromStr for Arch {
    type Err = ArchError;

    fn from_str(text: &str) -> Result<Self, ArchError> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| ArchError(text.to_owned()))
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
