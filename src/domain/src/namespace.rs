//! The namespaces there are.

use serde::{Deserialize, Serialize};

/// A namespace of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The main namespace; the same events as [`Namespace::Notifications`].
    #[serde(rename = "/")]
    Root,
    /// `/notifications`.
    #[serde(rename = "/notifications")]
    Notifications,
    /// `/custom`, of the protocol suites.
    #[cfg(feature = "conformance")]
    #[serde(rename = "/custom")]
    Custom,
}

impl Namespace {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Notifications => "/notifications",
            #[cfg(feature = "conformance")]
            Self::Custom => "/custom",
        }
    }

    #[cfg(not(feature = "conformance"))]
    const ALL: [Self; 2] = [Self::Root, Self::Notifications];
    #[cfg(feature = "conformance")]
    const ALL: [Self; 2] = [Self::Root, Self::Custom];

    /// The name as the codec takes it.
    #[must_use]
    pub const fn wire(self) -> dormouse_protocol::socket::Namespace<'static> {
        dormouse_protocol::socket::Namespace::from_static(self.name())
    }

    /// The namespace of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|namespace| namespace.name() == name)
    }
}
