//! Closed sets whose members go by a name outside: in JSON, storage, metrics, configuration, on the command line.

/// Gives an enum its names, each said once: `ALL` in the order that stands here, `as_str`, `named` and `Display`.
///
/// The compiler sees to it that none is left out. Where serde writes the same enum, `rename_all` must come to the same
/// names, which `tests/it/names.rs` holds.
macro_rules! named {
    ($(#[$about_all:meta])* $set:ident { $($member:ident: $name:literal),+ $(,)? }) => {
        impl $set {
            $(#[$about_all])*
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$member),+];

            /// The name that it goes by outside.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $name,)+
                }
            }

            /// What goes by this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == name)
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use named;
