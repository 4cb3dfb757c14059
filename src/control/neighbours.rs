//! Which Ethernet address belongs to which neighbour: asked for, refreshed, and given up (RFC 826; the
//! timers follow RFC 1122 section 2.3.2 and Linux's habits). Pure: time is an argument, and what is to be
//! sent is returned.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::io::PortId;
use crate::wire::MacAddr;

/// Between two requests for one address: no more than one a second (RFC 1122 section 2.3.2.1).
const RETRY: Duration = Duration::from_secs(1);

/// What is known for so long is asked for again, at the address that is known.
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// Unanswered requests after which a neighbour counts as gone: Linux's `ucast_solicit`.
const UNANSWERED_MAX: u32 = 3;

/// Neighbours that nobody configured, at most; more would be an attack or a far too large network.
const LEARNT_MAX: usize = 4096;

/// Requests sent at once, at most, so that thousands of backends do not fill the queues.
const ASKS_MAX: usize = 64;

/// A neighbour of a port.
pub(super) type Neighbour = (PortId, Ipv4Addr);

/// All neighbours.
#[derive(Default)]
pub(super) struct NeighbourTable {
    entries: HashMap<Neighbour, Entry>,
    changed: bool,
}

struct Entry {
    mac: Option<MacAddr>,
    /// Next hop of a backend or a gateway: asked for without end.
    is_required: bool,
    unanswered: u32,
    ask_at: Duration,
}

/// A request to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub(super) neighbour: Neighbour,
    /// To this station only, or to all.
    pub(super) to: Option<MacAddr>,
}

impl NeighbourTable {
    /// Sets which neighbours the configuration needs. Others age.
    pub(super) fn require(&mut self, required: &BTreeSet<Neighbour>, now: Duration) {
        for (neighbour, entry) in &mut self.entries {
            entry.is_required = required.contains(neighbour);
        }
        for neighbour in required {
            self.entries.entry(*neighbour).or_insert_with(|| Entry::unknown(true, now));
        }
    }

    /// A packet could not be sent for want of this neighbour.
    pub(super) fn want(&mut self, neighbour: Neighbour, now: Duration) {
        if self.has_room() {
            self.entries.entry(neighbour).or_insert_with(|| Entry::unknown(false, now));
        }
    }

    /// A neighbour showed its address. An answer counts only if it was asked for.
    pub(super) fn saw(&mut self, neighbour: Neighbour, mac: MacAddr, is_reply: bool, now: Duration) {
        if !self.entries.contains_key(&neighbour) && (is_reply || !self.has_room()) {
            return;
        }
        let entry = self.entries.entry(neighbour).or_insert_with(|| Entry::unknown(false, now));
        self.changed |= entry.mac != Some(mac);
        entry.mac = Some(mac);
        entry.unanswered = 0;
        entry.ask_at = now + REFRESH_AFTER;
    }

    /// What is to be asked now. Gives up those that no longer answer.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (neighbour, entry) in &mut self.entries {
            if now < entry.ask_at || asks.len() >= ASKS_MAX {
                continue;
            }
            if entry.unanswered >= UNANSWERED_MAX && entry.mac.take().is_some() {
                self.changed = true;
            }
            asks.push(Ask { neighbour: *neighbour, to: entry.mac });
            entry.unanswered = entry.unanswered.saturating_add(1);
            entry.ask_at = now + RETRY;
        }
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.is_required || entry.unanswered <= UNANSWERED_MAX);
        self.changed |= before != self.entries.len();
        asks
    }

    /// Whether what is known has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All that is known.
    pub(super) fn known(&self) -> HashMap<Neighbour, MacAddr> {
        self.entries.iter().filter_map(|(neighbour, entry)| Some((*neighbour, entry.mac?))).collect()
    }

    /// The required ones that are not known.
    pub(super) fn missing(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_required && entry.mac.is_none()).count()
    }

    fn has_room(&self) -> bool {
        self.entries.values().filter(|entry| !entry.is_required).count() < LEARNT_MAX
    }
}

impl Entry {
    fn unknown(is_required: bool, now: Duration) -> Self {
        Self { mac: None, is_required, unanswered: 0, ask_at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: Neighbour = (PortId(1), Ipv4Addr::new(10, 0, 0, 4));
    const CLIENT: Neighbour = (PortId(0), Ipv4Addr::new(192, 0, 2, 7));
    const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 0x53, 1]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ask(neighbour: Neighbour, to: Option<MacAddr>) -> Vec<Ask> {
        vec![Ask { neighbour, to }]
    }

    fn requiring_backend() -> NeighbourTable {
        let mut table = NeighbourTable::default();
        table.require(&BTreeSet::from([BACKEND]), at(0));
        table
    }

    #[test]
    fn a_required_neighbour_is_asked_for_every_second_without_end() {
        let mut table = requiring_backend();
        for second in 0..100 {
            assert_eq!(table.advance(at(second)), ask(BACKEND, None), "{second}");
            assert!(table.advance(at(second) + Duration::from_millis(999)).is_empty());
        }
        assert_eq!(table.missing(), 1);
    }

    #[test]
    fn an_answer_is_good_for_a_while_then_refreshed_and_given_up_after_three_silences() {
        let mut table = requiring_backend();
        table.advance(at(0));
        table.saw(BACKEND, MAC, true, at(0));
        assert!(table.take_changed());
        assert!(table.advance(at(29)).is_empty());
        for second in 30..33 {
            assert_eq!(table.advance(at(second)), ask(BACKEND, Some(MAC)));
            assert_eq!(table.known().get(&BACKEND), Some(&MAC), "still used while it is being refreshed");
        }
        assert!(!table.take_changed());
        assert_eq!(table.advance(at(33)), ask(BACKEND, None));
        assert!(table.take_changed());
        assert!(table.known().is_empty());
    }

    #[test]
    fn a_wanted_neighbour_that_does_not_answer_is_forgotten_until_it_is_wanted_again() {
        let mut table = NeighbourTable::default();
        table.want(CLIENT, at(0));
        let asked = (0..10).filter(|second| !table.advance(at(*second)).is_empty()).count();
        assert_eq!(asked, 4);
        table.want(CLIENT, at(10));
        assert_eq!(table.advance(at(10)), ask(CLIENT, None));
    }

    #[test]
    fn who_asks_for_us_is_learnt_and_who_answers_unasked_is_not() {
        let mut table = NeighbourTable::default();
        table.saw(CLIENT, MAC, true, at(0));
        assert!(table.known().is_empty());
        table.saw(CLIENT, MAC, false, at(0));
        assert_eq!(table.known().get(&CLIENT), Some(&MAC));
    }

    #[test]
    fn a_neighbour_that_moves_is_followed() {
        let mut table = requiring_backend();
        table.saw(BACKEND, MAC, true, at(0));
        table.take_changed();
        let other = MacAddr([0, 0, 0x5e, 0, 0x53, 2]);
        table.saw(BACKEND, other, false, at(1));
        assert!(table.take_changed());
        assert_eq!(table.known().get(&BACKEND), Some(&other));
    }

    #[test]
    fn strangers_are_bounded_and_leave_room_for_backends() {
        let mut table = requiring_backend();
        for i in 0..100_000u32 {
            table.saw((PortId(0), Ipv4Addr::from(0xc000_0200 + i)), MAC, false, at(0));
        }
        assert_eq!(table.known().len(), LEARNT_MAX);
        table.saw(BACKEND, MAC, true, at(0));
        assert_eq!(table.missing(), 0);
    }
}
