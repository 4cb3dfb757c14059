//! When switches are told which groups our ports listen to. Neighbours ask for an IPv6 address by the group of its last
//! 24 bits (RFC 4861 section 4.3), and a switch that looks out for listeners (RFC 4541) passes such frames on only to
//! those that have said so of late. Pure: time is an argument.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::io::PortId;

/// A group, and a port that listens to it.
pub(super) type Membership = (PortId, Ipv6Addr);

/// Switches forget who has not said so for 260 seconds (RFC 3810 section 9.4), within which their queriers ask twice. We
/// do not wait to be asked.
const REPEAT: Duration = Duration::from_secs(100);

/// What is new is said twice, for the first may be lost (RFC 3810 section 9.14.1), within the ten seconds of section 9.11.
const AGAIN: Duration = Duration::from_secs(2);

/// The reports that are due.
#[derive(Default)]
pub(super) struct Groups {
    /// All are due then.
    at: Duration,
    /// Once more soon after.
    is_new: bool,
    pending: BTreeSet<Membership>,
}

impl Groups {
    /// There are others: all are reported at once.
    pub(super) fn change(&mut self, now: Duration) {
        (self.at, self.is_new) = (now, true);
    }

    /// Reports what is due by `send`, which says whether there was room; what finds none is due the next time. `all` are
    /// those of now.
    pub(super) fn advance(
        &mut self,
        now: Duration,
        all: impl FnOnce() -> BTreeSet<Membership>,
        send: impl Fn(Membership) -> bool,
    ) {
        if now >= self.at {
            self.pending = all();
            self.at = now + if std::mem::take(&mut self.is_new) { AGAIN } else { REPEAT };
        }
        while let Some(first) = self.pending.first().copied()
            && send(first)
        {
            self.pending.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn groups(count: u16) -> BTreeSet<Membership> {
        (0..count).map(|i| (PortId(0), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, i))).collect()
    }

    #[test]
    fn what_is_new_is_said_twice_and_then_often_enough() {
        let mut reports = Groups::default();
        reports.change(Duration::ZERO);
        let said = RefCell::new(Vec::new());
        for second in 0..305 {
            let now = Duration::from_secs(second);
            reports.advance(
                now,
                || groups(1),
                |_| {
                    said.borrow_mut().push(second);
                    true
                },
            );
        }
        assert_eq!(*said.borrow(), [0, 2, 102, 202, 302]);
        reports.change(Duration::from_secs(310));
        reports.advance(
            Duration::from_secs(310),
            || groups(2),
            |_| {
                said.borrow_mut().push(310);
                true
            },
        );
        assert_eq!(said.borrow()[5..], [310, 310]);
    }

    #[test]
    fn what_finds_no_room_is_said_later() {
        let mut reports = Groups::default();
        reports.change(Duration::ZERO);
        let said = RefCell::new(BTreeSet::new());
        for tick in 1..=5 {
            let now = Duration::from_millis(10 * tick);
            let room = said.borrow().len() + 30;
            reports.advance(
                now,
                || groups(100),
                |group| said.borrow().len() < room && said.borrow_mut().insert(group),
            );
        }
        assert_eq!(*said.borrow(), groups(100));
    }
}
