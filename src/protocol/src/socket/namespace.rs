//! The part of the server that a packet is for.

use std::borrow::Cow;
use std::fmt;

use super::EncodeError;
use crate::text::excerpt;

/// A namespace: begins with `/`, has no comma.
///
/// A query (`/chat?x=1`) is kept, as in the reference parser, so that such a name is simply an
/// unknown namespace; stock clients strip it before they send. The default is [`Namespace::ROOT`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace<'a>(Cow<'a, str>);

impl<'a> Namespace<'a> {
    /// `/`, which is left out on the wire.
    pub const ROOT: Namespace<'static> = Namespace(Cow::Borrowed("/"));

    /// Takes a name.
    ///
    /// # Errors
    ///
    /// [`EncodeError::IllegalNamespace`] if it does not begin with `/` or has a comma.
    ///
    /// ```
    /// use dormouse_protocol::socket::Namespace;
    ///
    /// assert_eq!(Namespace::new("/chat")?.as_str(), "/chat");
    /// assert!(Namespace::new("chat").is_err());
    /// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
    /// ```
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, EncodeError> {
        let name = name.into();
        if is_namespace(name.as_bytes()) {
            Ok(Self(name))
        } else {
            Err(EncodeError::IllegalNamespace(excerpt(&name)))
        }
    }

    /// Takes a name known when compiling, for constants.
    ///
    /// # Panics
    ///
    /// If it is no namespace; in a constant that is a compile error.
    ///
    /// ```
    /// use dormouse_protocol::socket::Namespace;
    ///
    /// const CHAT: Namespace = Namespace::from_static("/chat");
    /// ```
    #[must_use]
    pub const fn from_static(name: &'static str) -> Namespace<'static> {
        assert!(
            is_namespace(name.as_bytes()),
            "a namespace begins with / and has no comma"
        );
        Namespace(Cow::Borrowed(name))
    }

    /// The name, `/` included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Namespace<'static> {
        Namespace(self.0.into_owned().into())
    }

    /// Splits `<namespace>,` off the front of a message, or takes [`Namespace::ROOT`].
    ///
    /// A namespace without its comma is the whole rest of the message.
    pub(super) fn split_from(text: &'a str) -> (Self, &'a str) {
        if !text.starts_with('/') {
            return (Self::ROOT, text);
        }
        let (name, rest) = text.split_once(',').unwrap_or((text, ""));
        (Self(name.into()), rest)
    }

    /// Appends `<namespace>,`, or nothing for [`Namespace::ROOT`].
    pub(super) fn push(&self, out: &mut String) {
        if *self != Namespace::ROOT {
            out.push_str(&self.0);
            out.push(',');
        }
    }
}

impl Default for Namespace<'_> {
    fn default() -> Self {
        Self::ROOT
    }
}

impl fmt::Display for Namespace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

const fn is_namespace(mut name: &[u8]) -> bool {
    if !matches!(name, [b'/', ..]) {
        return false;
    }
    while let [first, rest @ ..] = name {
        if *first == b',' {
            return false;
        }
        name = rest;
    }
    true
}
