//! What `GET /v1/metrics` answers: the text format of Prometheus and its kin in version 1.0, gauges only
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>).
//!
//! What can't be had is shown as down and not shown otherwise: a number that nobody knows is never 0.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::switchboard::SwitchboardName;

/// The media type of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Rows are counted up to this; there may be more.
pub const MAX_COUNTED: u32 = 10_000;

/// What is known of the whole service at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What the record says; `None` when it could not be read.
    pub record: Option<RecordFigures>,
    /// Each switchboard, and what it says; `None` when it could not be reached.
    pub switchboards: Vec<(SwitchboardName, Option<SwitchboardFigures>)>,
}

/// What the record says. Each is at most [`MAX_COUNTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFigures {
    /// Notifications pushed within the last minute.
    pub pushes_last_minute: u64,
    /// Pushes that wait for their time.
    pub scheduled_pushes: u64,
    /// Those of them whose time has come.
    pub due_pushes: u64,
    /// Messages of the queue that were not carried out.
    pub dead_letters: u64,
}

/// What a switchboard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchboardFigures {
    /// Its users who are online.
    pub online_users: u64,
    /// Rooms that at least one of them is in.
    pub rooms: u64,
    /// Entries of shared rooms that are being brought to members.
    pub fan_outs_under_way: u64,
    /// Hubs that wait for the record to take what they owe it.
    pub hubs_in_debt: u64,
}

impl Figures {
    /// The text, with `# EOF` at its end.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, help: &str, samples: &[(Option<SwitchboardName>, u64)]| {
            if samples.is_empty() {
                return;
            }
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# TYPE dormouse_{name} gauge\n# HELP dormouse_{name} {help}"
            );
            for (switchboard, value) in samples {
                let _ = match switchboard {
                    Some(of) => writeln!(text, "dormouse_{name}{{switchboard=\"{of}\"}} {value}"),
                    None => writeln!(text, "dormouse_{name} {value}"),
                };
            }
        };
        let up = u64::from(self.record.is_some());
        family("record_up", "Whether the record can be read.", &[(None, up)]);
        for (name, help, figure) in RECORD {
            let known = self.record.as_ref().map(|record| (None, figure(record)));
            family(name, help, known.as_slice());
        }
        let ups = self.switchboards.iter();
        let ups: Vec<_> = ups
            .map(|(name, figures)| (Some(*name), u64::from(figures.is_some())))
            .collect();
        family("switchboard_up", "Whether the switchboard can be reached.", &ups);
        for (name, help, figure) in SWITCHBOARD {
            let known = self.switchboards.iter();
            let known: Vec<_> = known
                .filter_map(|(name, figures)| Some((Some(*name), figure(figures.as_ref()?))))
                .collect();
            family(name, help, &known);
        }
        text.push_str("# EOF\n");
        text
    }
}

/// A gauge of `T`: its name without the prefix, what it means, its value.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> u64);

const RECORD: [Gauge<RecordFigures>; 4] = [
    (
        "pushes_last_minute",
        "Notifications pushed within the last minute.",
        |record| record.pushes_last_minute,
    ),
    ("scheduled_pushes", "Pushes that wait for their time.", |record| {
        record.scheduled_pushes
    }),
    (
        "due_pushes",
        "Pushes whose time has come and which are not delivered.",
        |record| record.due_pushes,
    ),
    (
        "dead_letters",
        "Messages of the queue that were not carried out.",
        |record| record.dead_letters,
    ),
];

const SWITCHBOARD: [Gauge<SwitchboardFigures>; 4] = [
    ("online_users", "Users who are online.", |board| {
        board.online_users
    }),
    ("rooms", "Rooms with somebody online.", |board| board.rooms),
    (
        "fan_outs_under_way",
        "Entries of rooms that are being brought to members.",
        |board| board.fan_outs_under_way,
    ),
    (
        "hubs_in_debt",
        "Hubs that wait for the record to take what they owe it.",
        |board| board.hubs_in_debt,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_exposed() {
        let figures = Figures {
            record: Some(RecordFigures {
                pushes_last_minute: 12,
                scheduled_pushes: 3,
                due_pushes: 1,
                dead_letters: 0,
            }),
            switchboards: SwitchboardName::all(2)
                .map(|name| {
                    let figures = SwitchboardFigures {
                        online_users: 40,
                        rooms: 5,
                        fan_outs_under_way: 0,
                        hubs_in_debt: 2,
                    };
                    (name, (name.index == 1).then_some(figures))
                })
                .collect(),
        };
        let expected = "\
# TYPE dormouse_record_up gauge
# HELP dormouse_record_up Whether the record can be read.
dormouse_record_up 1
# TYPE dormouse_pushes_last_minute gauge
# HELP dormouse_pushes_last_minute Notifications pushed within the last minute.
dormouse_pushes_last_minute 12
# TYPE dormouse_scheduled_pushes gauge
# HELP dormouse_scheduled_pushes Pushes that wait for their time.
dormouse_scheduled_pushes 3
# TYPE dormouse_due_pushes gauge
# HELP dormouse_due_pushes Pushes whose time has come and which are not delivered.
dormouse_due_pushes 1
# TYPE dormouse_dead_letters gauge
# HELP dormouse_dead_letters Messages of the queue that were not carried out.
dormouse_dead_letters 0
# TYPE dormouse_switchboard_up gauge
# HELP dormouse_switchboard_up Whether the switchboard can be reached.
dormouse_switchboard_up{switchboard=\"0/2\"} 0
dormouse_switchboard_up{switchboard=\"1/2\"} 1
# TYPE dormouse_online_users gauge
# HELP dormouse_online_users Users who are online.
dormouse_online_users{switchboard=\"1/2\"} 40
# TYPE dormouse_rooms gauge
# HELP dormouse_rooms Rooms with somebody online.
dormouse_rooms{switchboard=\"1/2\"} 5
# TYPE dormouse_fan_outs_under_way gauge
# HELP dormouse_fan_outs_under_way Entries of rooms that are being brought to members.
dormouse_fan_outs_under_way{switchboard=\"1/2\"} 0
# TYPE dormouse_hubs_in_debt gauge
# HELP dormouse_hubs_in_debt Hubs that wait for the record to take what they owe it.
dormouse_hubs_in_debt{switchboard=\"1/2\"} 2
# EOF
";
        assert_eq!(figures.expose(), expected);
    }

    #[test]
    fn what_is_not_known_is_down_and_has_no_number() {
        let figures = Figures {
            record: None,
            switchboards: SwitchboardName::all(1).map(|name| (name, None)).collect(),
        };
        let text = figures.expose();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let down = [
            "dormouse_record_up 0",
            "dormouse_switchboard_up{switchboard=\"0/1\"} 0",
        ];
        assert_eq!(samples, down);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_shape_between_objects_is_pinned() {
        let figures = SwitchboardFigures {
            online_users: 1,
            rooms: 2,
            fan_outs_under_way: 3,
            hubs_in_debt: 4,
        };
        let json = r#"{"online_users":1,"rooms":2,"fan_outs_under_way":3,"hubs_in_debt":4}"#;
        assert_eq!(serde_json::to_string(&figures).ok().as_deref(), Some(json));
        assert_eq!(
            serde_json::from_str::<SwitchboardFigures>(json).ok(),
            Some(figures)
        );
    }
}
