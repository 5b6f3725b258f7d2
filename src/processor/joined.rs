//! The events that a joined row was made of: that of the left side, and those that were joined to it.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::Row;
use super::rows::joined_events;
use crate::record::{Event, JoinedEvent, StoredRow};
use crate::topology::graph::Side;

/// What a row was made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Events<'a> {
    own: Option<Event<'a>>,
    joined: &'a [JoinedEvent<'a>],
}

impl<'a> Events<'a> {
    pub(super) fn of_row(row: &Row<'_, 'a>) -> Events<'a> {
        Events {
            own: row.event,
            joined: row.joined,
        }
    }

    /// Of a kept row; of what was joined to it only if that is asked for.
    pub(super) fn of_kept(
        stored: &StoredRow<'a>,
        with_joined: bool,
        arena: &'a Bump,
    ) -> Events<'a> {
        Events {
            own: stored.event(),
            joined: match with_joined {
                true => joined_events(stored, arena),
                false => &[],
            },
        }
    }

    /// Of a pair. Where somebody keeps them (`prefix`), the right side's are joined to those of the
    /// left.
    pub(super) fn of_sides(
        own_side: Side,
        own: Events<'a>,
        other: Events<'a>,
        prefix: Option<&str>,
        arena: &'a Bump,
    ) -> Events<'a> {
        let (left, right) = match own_side {
            Side::Left => (own, other),
            Side::Right => (other, own),
        };
        Events {
            own: left.own,
            joined: match prefix {
                Some(prefix) => left.and(prefix, &right, arena),
                None => &[],
            },
        }
    }

    /// Of which the row is made from here on.
    pub(super) fn give_to(self, row: &mut Row<'_, 'a>) {
        row.event = self.own;
        row.joined = self.joined;
    }

    /// What was joined to these, once the right side's are as well.
    fn and(&self, prefix: &str, right: &Events<'a>, arena: &'a Bump) -> &'a [JoinedEvent<'a>] {
        let room = self.joined.len() + 1 + right.joined.len();
        let mut joined = ArenaVec::with_capacity_in(room, arena);
        joined.extend_from_slice(self.joined);
        joined.extend(right.own.map(|event| JoinedEvent {
            prefix: arena.alloc_str(prefix),
            event,
        }));
        joined.extend(right.joined.iter().map(|inside| JoinedEvent {
            prefix: bumpalo::format!(in arena, "{prefix}{}", inside.prefix).into_bump_str(),
            event: inside.event,
        }));
        joined.into_bump_slice()
    }
}
