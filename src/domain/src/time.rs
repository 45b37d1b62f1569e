//! Instants as the wire and the record write them. Time is always an argument: nothing here reads a clock.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// The text is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ISO 8601 with a time zone, such as 2026-11-20T07:00:00Z")]
pub struct TimeError;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The instant `ms` milliseconds later; stays at the last representable one.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads ISO 8601 with a time zone; what is finer than a millisecond is cut off, and what was before
    /// the epoch is the epoch.
    ///
    /// ```
    /// # use dormouse_domain::time::Timestamp;
    /// let at = Timestamp::parse_iso("2026-11-20T08:00:00+01:00")?;
    /// assert_eq!(at.to_string(), "2026-11-20T07:00:00.000Z");
    /// # Ok::<(), dormouse_domain::time::TimeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TimeError`].
    pub fn parse_iso(text: &str) -> Result<Self, TimeError> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| TimeError)?;
        Ok(Self(u64::try_from(at.timestamp_millis()).unwrap_or_default()))
    }

    /// The same instant for crates that speak `chrono`; the epoch when it is out of chrono's range.
    #[must_use]
    pub fn to_datetime(self) -> DateTime<Utc> {
        i64::try_from(self.0)
            .ok()
            .and_then(DateTime::from_timestamp_millis)
            .unwrap_or_default()
    }
}

/// ISO 8601 in UTC with milliseconds: `2026-11-20T07:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A [`Timestamp`] as ISO 8601 text, as every payload and HTTP body shows it.
pub mod iso {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timestamp;

    /// `serialize_with` for a plain field.
    ///
    /// # Errors
    /// Whatever the serializer reports.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    /// `deserialize_with` for a plain field.
    ///
    /// # Errors
    /// When it is no instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_iso(&text).map_err(D::Error::custom)
    }

    /// The same for an optional field: `null` when there is no instant.
    pub mod option {
        use serde::de::Error;
        use serde::{Deserialize, Deserializer, Serializer};

        use super::super::Timestamp;

        /// `serialize_with` for an optional field.
        ///
        /// # Errors
        /// Whatever the serializer reports.
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.collect_str(at),
                None => serializer.serialize_none(),
            }
        }

        /// `deserialize_with` for an optional field.
        ///
        /// # Errors
        /// When it is neither `null` nor an instant.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            let Some(text) = Option::<String>::deserialize(deserializer)? else {
                return Ok(None);
            };
            let at = Timestamp::parse_iso(&text).map_err(D::Error::custom)?;
            Ok(Some(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_is_read_in_any_zone_and_in_no_other_form() {
        let at = Timestamp::from_ms(1_795_158_000_007);
        for text in [
            "2026-11-20T07:00:00.007Z",
            "2026-11-20T07:00:00.0079Z",
            "2026-11-20t07:00:00.007z",
            "2026-11-20T12:30:00.007+05:30",
            "2026-11-19T23:00:00.007-08:00",
        ] {
            assert_eq!(Timestamp::parse_iso(text), Ok(at), "{text}");
        }
        assert_eq!(
            Timestamp::parse_iso("1969-12-31T23:59:59Z"),
            Ok(Timestamp::from_ms(0))
        );
        for text in [
            "",
            "tomorrow",
            "2026-11-20",
            "2026-11-20T07:00:00",
            "2026-11-20T07:00Z",
            "2026-11-20T25:00:00Z",
            "2026-02-30T07:00:00Z",
            "2026-11-20T07:00:00Z ",
            "+12026-11-20T07:00:00Z",
            "1795158000007",
        ] {
            assert_eq!(Timestamp::parse_iso(text), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn shows_iso_8601_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_ms(1_795_158_000_007).to_string(),
            "2026-11-20T07:00:00.007Z"
        );
    }

    #[test]
    fn an_instant_out_of_range_does_not_panic() {
        assert_eq!(
            Timestamp::from_ms(u64::MAX).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
