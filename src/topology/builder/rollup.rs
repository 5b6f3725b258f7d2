//! How an aggregate is written in Rust.

use super::{Place, Problem};
use crate::expr::Expression;
use crate::topology::aggregation::Aggregation;
use crate::topology::duration::Millis;
use crate::topology::graph::{Aggregate, Emit, NodeName, OnError, OnLate, Window, WindowKind};
use crate::value::FieldPath;
use crate::window::{Period, Zone};

/// What an aggregate does, as it is written; the node is an [`Aggregate`].
#[derive(Clone, Debug)]
pub struct Rollup {
    by: Vec<FieldPath>,
    cut: Option<Cut>,
    time_zone: Option<String>,
    grace: Millis,
    idle_close: Option<Millis>,
    retention: Option<Millis>,
    emit: Emit,
    on_late: OnLate,
    set: Vec<(String, String)>,
    delete_if: Option<Expression>,
    on_error: OnError,
}

/// What is said about how time is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Into(WindowKind),
    Calendar(Period),
    Nowhere,
}

/// So many days a window in a time zone may be long.
const MOST_DAYS: i64 = 366;

/// How many days that is; none if it is no number of days, or too large.
fn days(ms: i64) -> Option<u32> {
    const DAY_MS: i64 = 86_400_000;
    let is_allowed = ms % DAY_MS == 0 && (1..=MOST_DAYS).contains(&(ms / DAY_MS));
    is_allowed.then_some((ms / DAY_MS) as u32)
}

impl Rollup {
    /// Folds by these fields.
    pub fn by<'a>(fields: impl IntoIterator<Item = &'a str>) -> Rollup {
        Rollup {
            by: fields.into_iter().map(FieldPath::new).collect(),
            cut: None,
            time_zone: None,
            grace: Millis(0),
            idle_close: None,
            retention: None,
            emit: Emit::default(),
            on_late: OnLate::default(),
            set: Vec::new(),
            delete_if: None,
            on_error: OnError::default(),
        }
    }

    /// Windows of this length, one after the other.
    #[must_use]
    pub fn tumbling(self, size: impl Into<Millis>) -> Rollup {
        let size_ms = size.into().0;
        self.windows(WindowKind::Tumbling { size_ms })
    }

    /// Windows from one beginning of a week, month or year to the next, in the
    /// [time zone](Rollup::time_zone) that has to be named.
    #[must_use]
    pub fn calendar(mut self, period: Period) -> Rollup {
        self.cut = Some(Cut::Calendar(period));
        self
    }

    /// The time zone of tumbling windows of days, such as `Europe/Berlin`: they begin at midnight
    /// there, and are an hour shorter or longer where clocks change.
    #[must_use]
    pub fn time_zone(mut self, name: &str) -> Rollup {
        self.time_zone = Some(name.to_owned());
        self
    }

    /// Windows of this length, one beginning every `advance`.
    #[must_use]
    pub fn hopping(self, size: impl Into<Millis>, advance: impl Into<Millis>) -> Rollup {
        let (size_ms, advance_ms) = (size.into().0, advance.into().0);
        self.windows(WindowKind::Hopping {
            size_ms,
            advance_ms,
        })
    }

    /// Windows of this length that end with a record or begin right after one.
    #[must_use]
    pub fn sliding(self, difference: impl Into<Millis>) -> Rollup {
        let difference_ms = difference.into().0;
        self.windows(WindowKind::Sliding { difference_ms })
    }

    /// Windows that last as long as records come at most a gap apart.
    #[must_use]
    pub fn session(self, gap: impl Into<Millis>) -> Rollup {
        let gap_ms = gap.into().0;
        self.windows(WindowKind::Session { gap_ms })
    }

    /// Such windows.
    #[must_use]
    pub fn windows(mut self, kind: WindowKind) -> Rollup {
        self.cut = Some(Cut::Into(kind));
        self
    }

    /// No windows: one result per key, over all time. The state grows with the number of keys.
    #[must_use]
    pub fn unbounded(mut self) -> Rollup {
        self.cut = Some(Cut::Nowhere);
        self
    }

    /// How long after its end a window still takes records, in stream time; not at all unless set.
    #[must_use]
    pub fn grace(mut self, grace: impl Into<Millis>) -> Rollup {
        self.grace = grace.into();
        self
    }

    /// When the partition is caught up and silent for this long, stream time follows the wall
    /// clock.
    #[must_use]
    pub fn idle_close(mut self, silence: impl Into<Millis>) -> Rollup {
        self.idle_close = Some(silence.into());
        self
    }

    /// How long a window stays in the store after its start; size and grace unless set.
    #[must_use]
    pub fn retention(mut self, retention: impl Into<Millis>) -> Rollup {
        self.retention = Some(retention.into());
        self
    }

    /// When results leave.
    #[must_use]
    pub fn emit(mut self, emit: Emit) -> Rollup {
        self.emit = emit;
        self
    }

    /// What happens to late records.
    #[must_use]
    pub fn on_late(mut self, reaction: OnLate) -> Rollup {
        self.on_late = reaction;
        self
    }

    /// Adds a result: its field and a call of an aggregate function, such as `sum(delta)`.
    #[must_use]
    pub fn set(mut self, field: &str, call: &str) -> Rollup {
        self.set.push((field.to_owned(), call.to_owned()));
        self
    }

    /// Deletes a result for which this is true, such as `balance == 0`: the next record of its key
    /// and window begins a new one.
    #[must_use]
    pub fn delete_if(mut self, condition: &str) -> Rollup {
        self.delete_if = Some(Expression::parse(condition));
        self
    }

    /// What happens to a record for which an expression fails, or which lacks a field of the key.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Rollup {
        self.on_error = reaction;
        self
    }

    /// The windows, if there are any. Where they cannot be made the draft is refused; until then others
    /// stand in for them.
    fn window_kind(
        &self,
        place: &Place,
        problems: &mut Vec<(Place, Problem)>,
    ) -> Option<WindowKind> {
        let mut report = |key, problem| problems.push((place.clone().key(key), problem));
        let Some(cut) = self.cut else {
            report("tumbling", Problem::NoWindow);
            return Some(WindowKind::Tumbling { size_ms: 1 });
        };
        let Some(name) = &self.time_zone else {
            return match cut {
                Cut::Into(kind) => Some(kind),
                Cut::Nowhere => None,
                Cut::Calendar(period) => {
                    report("tumbling", Problem::NoZone(period));
                    Some(WindowKind::Calendar {
                        period,
                        zone: Zone::UTC,
                    })
                }
            };
        };
        let zone = Zone::find(name).unwrap_or_else(|| {
            report("time_zone", Problem::UnknownZone(name.clone()));
            Zone::UTC
        });
        match cut {
            Cut::Calendar(period) => Some(WindowKind::Calendar { period, zone }),
            Cut::Into(kind @ WindowKind::Tumbling { size_ms }) => match days(size_ms) {
                Some(days) => Some(WindowKind::Calendar {
                    period: Period::Days(days),
                    zone,
                }),
                None => {
                    report("tumbling", Problem::NoDays(Millis(size_ms)));
                    Some(kind)
                }
            },
            Cut::Into(kind) => {
                report("time_zone", Problem::ZoneOf(kind.word()));
                Some(kind)
            }
            Cut::Nowhere => {
                report("time_zone", Problem::ZoneOf("none"));
                None
            }
        }
    }

    /// The node, without the parts that could not be made; and those.
    pub(super) fn lower(self, from: &str, place: &Place) -> (Aggregate, Vec<(Place, Problem)>) {
        let mut problems = Vec::new();
        let kind = self.window_kind(&place.clone().key("window"), &mut problems);
        let window = kind.map(|kind| Window {
            kind,
            grace_ms: self.grace.0,
            idle_close_ms: self.idle_close.map(|silence| silence.0),
            retention_ms: self.retention.map(|retention| retention.0),
        });
        let mut set: Vec<(FieldPath, Aggregation)> = Vec::new();
        for (index, (field, text)) in self.set.iter().enumerate() {
            match Aggregation::parse(text) {
                Ok(aggregation) => set.push((FieldPath::new(field), aggregation)),
                Err(error) => {
                    let nth = self.set[..index]
                        .iter()
                        .filter(|(other, _)| other == field)
                        .count();
                    let place = place.clone().key("set").entry(field, nth);
                    problems.push((place, Problem::Aggregation(error)));
                }
            }
        }
        let aggregate = Aggregate {
            from: NodeName::new(from),
            by: self.by,
            window,
            emit: self.emit,
            on_late: self.on_late,
            set,
            delete_if: self.delete_if,
            on_error: self.on_error,
        };
        (aggregate, problems)
    }
}
