//! Bodies of pushes that libFuzzer grows.

use arbitrary::Arbitrary;
use dormouse_domain::time::Timestamp;
use dormouse_protocol::socket::Json;

use crate::Tree;

/// When every request comes.
pub const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

/// A body with the fields there are, each maybe given twice or not what it has to be.
#[derive(Arbitrary, Clone, Debug)]
pub struct Body {
    pub recipients: Vec<Recipient>,
    pub title: Option<String>,
    pub members: Vec<(Field, Value)>,
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Recipient {
    User(String),
    Numbered(u8),
    Any(Tree),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Field {
    To,
    Title,
    Content,
    Type,
    Template,
    Sender,
    Action,
    Data,
    Category,
    Priority,
    Ttl,
    ExpiresAt,
    DeliverAt,
    CollapseKey,
    IdempotencyKey,
    Unknown,
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Value {
    Any(Tree),
    Long(u16),
    Object(Vec<(Inner, Tree)>),
    Priority,
    Number(u32),
    /// Before or after [`NOW`], in seconds.
    Instant(i32),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Inner {
    Id,
    Name,
    Icon,
    Color,
    Username,
    DisplayName,
    Url,
    Text,
    Key,
    Version,
    Data,
}

impl Body {
    #[must_use]
    pub fn json(&self) -> String {
        let recipients: Vec<_> = self.recipients.iter().map(Recipient::json).collect();
        let mut members = vec![format!("\"to\":[{}]", recipients.join(","))];
        if let Some(title) = &self.title {
            members.push(format!("\"title\":{}", Json::string(title).as_str()));
        }
        for (field, value) in &self.members {
            members.push(format!("\"{}\":{}", field.name(), value.json()));
        }
        format!("{{{}}}", members.join(","))
    }
}

impl Recipient {
    fn json(&self) -> String {
        match self {
            Self::User(id) => Json::string(&format!("user:{id}")).as_str().to_owned(),
            Self::Numbered(number) => format!("\"user:{number}\""),
            Self::Any(tree) => tree.json(),
        }
    }
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Title => "title",
            Self::Content => "content",
            Self::Type => "type",
            Self::Template => "template",
            Self::Sender => "sender",
            Self::Action => "action",
            Self::Data => "data",
            Self::Category => "category",
            Self::Priority => "priority",
            Self::Ttl => "ttl",
            Self::ExpiresAt => "expires_at",
            Self::DeliverAt => "deliver_at",
            Self::CollapseKey => "collapse_key",
            Self::IdempotencyKey => "idempotency_key",
            Self::Unknown => "ti~t/le",
        }
    }
}

impl Value {
    fn json(&self) -> String {
        match self {
            Self::Any(tree) => tree.json(),
            Self::Long(length) => format!("\"{}\"", "é".repeat(usize::from(*length))),
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{}\":{}", name.name(), value.json()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            Self::Priority => "\"high\"".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Instant(seconds) => {
                let at = NOW.as_ms().saturating_add_signed(i64::from(*seconds) * 1_000);
                format!("\"{}\"", Timestamp::from_ms(at))
            }
        }
    }
}

impl Inner {
    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Icon => "icon",
            Self::Color => "color",
            Self::Username => "username",
            Self::DisplayName => "display_name",
            Self::Url => "url",
            Self::Text => "text",
            Self::Key => "key",
            Self::Version => "version",
            Self::Data => "data",
        }
    }
}
