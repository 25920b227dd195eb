//! Where a variable lies that a parameter sets.

/// Which key of the manifest names a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Rodata,
    Data,
    Set,
}

impl Place {
    pub(super) const fn section(self) -> &'static str {
        match self {
            Self::Rodata | Self::Set => ".rodata",
            Self::Data => ".data or .bss",
        }
    }

    /// Where a variable without a value lies, `.bss`, counts as `.data`.
    pub(super) fn has(self, section: &str) -> bool {
        match self {
            Self::Rodata | Self::Set => section.starts_with(".rodata"),
            Self::Data => section.starts_with(".data") || section.starts_with(".bss"),
        }
    }

    pub(super) fn instead(self, section: &str, variable: &str) -> String {
        match (self, section.starts_with(".rodata")) {
            (Self::Rodata, false) => {
                format!("write data = \"{variable}\", or declare it const volatile")
            }
            (Self::Data, true) => {
                format!("write rodata = \"{variable}\", or declare it without const")
            }
            _ => "declare it const volatile".to_owned(),
        }
    }
}
