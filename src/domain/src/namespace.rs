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
    /// `/chat`: the presence of others, and nothing of the inbox.
    #[serde(rename = "/chat")]
    Chat,
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
            Self::Chat => "/chat",
            #[cfg(feature = "conformance")]
            Self::Custom => "/custom",
        }
    }

    #[cfg(not(feature = "conformance"))]
    const ALL: [Self; 3] = [Self::Root, Self::Notifications, Self::Chat];
    #[cfg(feature = "conformance")]
    const ALL: [Self; 2] = [Self::Root, Self::Custom];

    /// Whether the inbox is told of here, and what was missed of it is made up for.
    #[must_use]
    pub const fn carries_inbox(self) -> bool {
        match self {
            Self::Root | Self::Notifications => true,
            Self::Chat => false,
            #[cfg(feature = "conformance")]
            Self::Custom => true,
        }
    }

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
