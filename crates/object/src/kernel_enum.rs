//! Enumerations of the kernel: a number, a name, and room for what later kernels add.

/// Defines an enumeration with the kernel's numbers and our spelling of its names.
macro_rules! kernel_enum {
    ($(#[$doc:meta])* $ty:ident $other:literal $($number:literal $variant:ident $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $ty {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
            /// One that no kernel had when this was written.
            Other(u32),
        }

        impl From<u32> for $ty {
            fn from(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl $ty {
            /// The kernel's number.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// The one of this name, as `Display` writes it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    other => {
                        let number: u32 = other.strip_prefix($other)?.parse().ok()?;
                        // A kind has one spelling: its name, if there is one.
                        Some(Self::from(number)).filter(|kind| kind.to_string() == other)
                    }
                }
            }
        }

        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($name),)*
                    Self::Other(number) => write!(f, concat!($other, "{}"), number),
                }
            }
        }

        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_name(&name).ok_or_else(|| {
                    serde::de::Error::custom(format!("there is no {} '{name}'", stringify!($ty)))
                })
            }
        }
    };
}

pub(crate) use kernel_enum;
