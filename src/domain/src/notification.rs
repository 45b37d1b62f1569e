//! What a notification says: the stored body and the payload that clients get.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{NotificationId, RecipientId};
use crate::markdown;
use crate::time::{Timestamp, iso};

/// What the pusher wrote. Its JSON is what D1 and the hubs store, once per push.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Content {
    /// One line, 1 to 200 characters.
    pub title: String,
    /// Markdown or plain text, at most 16 KiB.
    pub content: String,
    /// What sort of notification it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NotificationType>,
    /// Who it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// Where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The pusher's own object, untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// What users can mute by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How much it matters.
    pub priority: Priority,
    /// When it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// A newer notification with the same key takes the place of this one while it is unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_key: Option<String>,
}

/// How a sort of notification looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationType {
    /// Stable id, such as `order.created`.
    pub id: String,
    /// Shown name; the id when none was given.
    pub name: String,
    /// Icon name.
    pub icon: Option<String>,
    /// CSS colour.
    pub color: Option<String>,
}

/// Who a notification is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The sender's id.
    pub id: String,
    /// Login name.
    pub username: Option<String>,
    /// Shown name.
    pub display_name: Option<String>,
}

/// Where a notification leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// An `http`, `https`, `mailto` or relative link.
    pub url: String,
    /// The link's label.
    pub text: Option<String>,
}

/// How much a notification matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// May wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Should be noticed.
    High,
}

/// One push as the record holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What it says.
    pub content: Content,
}

/// A notification as one user's clients see it, in `notification:new` and in lists. Derived fields
/// are rendered here, never stored.
#[derive(Debug, Serialize)]
pub struct NotificationView<'a> {
    id: NotificationId,
    recipient_id: RecipientId,
    seq: u64,
    title: &'a str,
    content: &'a str,
    content_html: String,
    message: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'a NotificationType>,
    sender: Option<&'a Sender>,
    action_url: Option<&'a str>,
    action_text: Option<&'a str>,
    data: Option<&'a RawValue>,
    category: Option<&'a str>,
    priority: Priority,
    #[serde(with = "iso")]
    created_at: Timestamp,
    #[serde(with = "iso::option")]
    expires_at: Option<Timestamp>,
}

impl<'a> NotificationView<'a> {
    /// The view of `notification` for the recipient whose inbox numbered it `seq`.
    #[must_use]
    pub fn new(notification: &'a Notification, recipient_id: RecipientId, seq: u64) -> Self {
        let content = &notification.content;
        Self {
            id: notification.id,
            recipient_id,
            seq,
            title: &content.title,
            content: &content.content,
            content_html: markdown::to_html(&content.content),
            message: &content.content,
            kind: content.kind.as_ref(),
            sender: content.sender.as_ref(),
            action_url: content.action.as_ref().map(|action| action.url.as_str()),
            action_text: content.action.as_ref().and_then(|action| action.text.as_deref()),
            data: content.data.as_deref(),
            category: content.category.as_deref(),
            priority: content.priority,
            created_at: notification.created_at,
            expires_at: content.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::id::UserId;

    const STORED: &str = r#"{"title":"Order","content":"**Paid**","type":{"id":"order","name":"Order","icon":"cart","color":null},"sender":{"id":"s","username":null,"display_name":"Shop"},"action":{"url":"/o/1","text":"Open"},"data":{"z":1,"a":[2]},"category":"orders","priority":"high"}"#;

    #[test]
    fn the_stored_body_format_is_unchanged() {
        let content: Content = serde_json::from_str(STORED).unwrap();
        assert_eq!(serde_json::to_string(&content).unwrap(), STORED);
        let smallest = r#"{"title":"t","content":"","priority":"normal"}"#;
        let content: Content = serde_json::from_str(smallest).unwrap();
        assert_eq!(serde_json::to_string(&content).unwrap(), smallest);
        let passing =
            r#"{"title":"t","content":"","priority":"low","expires_at":1795158000000,"collapse_key":"k"}"#;
        let content: Content = serde_json::from_str(passing).unwrap();
        assert_eq!(serde_json::to_string(&content).unwrap(), passing);
    }

    #[test]
    fn the_view_has_every_field_a_client_relies_on() {
        let notification = Notification {
            id: NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap(),
            created_at: Timestamp::from_ms(1_795_158_000_000),
            content: serde_json::from_str(STORED).unwrap(),
        };
        let recipient = notification.id.recipient(&UserId::parse("u1").unwrap());
        assert_eq!(
            serde_json::to_string(&NotificationView::new(&notification, recipient, 7)).unwrap(),
            r#"{"id":"01929c3e-0000-7000-8000-000000000001","recipient_id":"RECIPIENT","seq":7,"title":"Order","content":"**Paid**","content_html":"<p><strong>Paid</strong></p>\n","message":"**Paid**","type":{"id":"order","name":"Order","icon":"cart","color":null},"sender":{"id":"s","username":null,"display_name":"Shop"},"action_url":"/o/1","action_text":"Open","data":{"z":1,"a":[2]},"category":"orders","priority":"high","created_at":"2026-11-20T07:00:00.000Z","expires_at":null}"#
                .replace("RECIPIENT", &recipient.to_string())
        );
    }

    #[test]
    fn the_view_shows_when_it_is_over() {
        let mut content: Content = serde_json::from_str(STORED).unwrap();
        content.expires_at = Some(Timestamp::from_ms(1_795_158_000_007));
        let notification = Notification {
            id: NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap(),
            created_at: Timestamp::from_ms(1_795_158_000_000),
            content,
        };
        let recipient = notification.id.recipient(&UserId::parse("u1").unwrap());
        let view = serde_json::to_value(NotificationView::new(&notification, recipient, 7)).unwrap();
        assert_eq!(view["expires_at"], "2026-11-20T07:00:00.007Z");
    }
}
