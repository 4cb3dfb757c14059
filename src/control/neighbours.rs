//! Which Ethernet address belongs to which neighbour: asked for, refreshed, and given up (RFC 826, RFC 4861; the
//! timers follow RFC 1122 section 2.3.2, RFC 4861 section 10 and Linux's habits). Pure: time is an argument, and what is to be
//! sent is returned.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::io::PortId;
use crate::wire::MacAddr;

/// Between two requests for one address: no more than one a second (RFC 1122 section 2.3.2.1; RETRANS_TIMER of RFC
/// 4861).
const RETRY: Duration = Duration::from_secs(1);

/// What is known for so long is asked for again, at the address that is known (REACHABLE_TIME of RFC 4861).
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// Unanswered requests after which a neighbour counts as gone: Linux's `ucast_solicit`, MAX_UNICAST_SOLICIT of RFC 4861.
const UNANSWERED_MAX: u32 = 3;

/// Neighbours that nobody configured, at most; more would be an attack or a far too large network.
const LEARNT_MAX: usize = 4096;

/// Requests sent at once, at most, so that thousands of backends do not fill the queues.
const ASKS_MAX: usize = 64;

/// A neighbour of a port.
pub(super) type Neighbour = (PortId, IpAddr);

/// One that nobody configured is kept for so long after it has last asked for us or was wanted. A client
/// that talks to us asks for us more often than that.
const LEARNT_KEPT: Duration = Duration::from_secs(300);

/// All neighbours.
#[derive(Default)]
pub(super) struct NeighbourTable {
    entries: HashMap<Neighbour, Entry>,
    /// How many are not required.
    learnt: usize,
    changed: bool,
}

struct Entry {
    mac: Option<MacAddr>,
    /// Next hop of a backend or a gateway: asked for without end.
    is_required: bool,
    unanswered: u32,
    ask_at: Duration,
    /// For one that is not required: until then it is kept.
    kept_until: Duration,
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
            entry.kept_until = now + LEARNT_KEPT;
        }
        for neighbour in required {
            self.entries.entry(*neighbour).or_insert_with(|| Entry::unknown(true, now));
        }
        self.learnt = self.entries.len() - required.len();
    }

    /// A packet could not be sent for want of this neighbour.
    pub(super) fn want(&mut self, neighbour: Neighbour, now: Duration) {
        self.entry(neighbour, now);
    }

    /// A neighbour showed its address. An answer counts only if it was asked for.
    pub(super) fn saw(&mut self, neighbour: Neighbour, mac: MacAddr, is_reply: bool, now: Duration) {
        let entry = if is_reply { self.entries.get_mut(&neighbour) } else { self.entry(neighbour, now) };
        let Some(entry) = entry else { return };
        let is_new = entry.mac.replace(mac) != Some(mac);
        entry.unanswered = 0;
        entry.ask_at = now + REFRESH_AFTER;
        self.changed |= is_new;
    }

    /// The neighbour's entry, made if there is room for it.
    fn entry(&mut self, neighbour: Neighbour, now: Duration) -> Option<&mut Entry> {
        if !self.entries.contains_key(&neighbour) {
            if self.learnt >= LEARNT_MAX {
                return None;
            }
            self.learnt += 1;
            self.entries.insert(neighbour, Entry::unknown(false, now));
        }
        let entry = self.entries.get_mut(&neighbour)?;
        entry.kept_until = now + LEARNT_KEPT;
        Some(entry)
    }

    /// What is to be asked now, those first that have waited longest. Gives up those that no longer answer.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<Ask> {
        self.drop_aged(now);
        let mut due: Vec<(Duration, Neighbour)> =
            self.entries.iter().filter(|(_, e)| e.ask_at <= now).map(|(n, e)| (e.ask_at, *n)).collect();
        due.sort_unstable();
        due.truncate(ASKS_MAX);
        let mut asks = Vec::new();
        for (_, neighbour) in due {
            let Some(entry) = self.entries.get_mut(&neighbour) else { continue };
            if entry.unanswered >= UNANSWERED_MAX && entry.mac.take().is_some() {
                self.changed = true;
            }
            asks.push(Ask { neighbour, to: entry.mac });
            entry.unanswered = entry.unanswered.saturating_add(1);
            entry.ask_at = now + RETRY;
        }
        asks
    }

    /// Forgets those that nobody needs: unanswered, or not heard of for long.
    fn drop_aged(&mut self, now: Duration) {
        let (changed, learnt) = (&mut self.changed, &mut self.learnt);
        self.entries.retain(|_, entry| {
            let is_silent = entry.unanswered >= UNANSWERED_MAX && entry.ask_at <= now;
            let is_kept = entry.is_required || !is_silent && now < entry.kept_until;
            if !is_kept {
                *learnt -= 1;
                *changed |= entry.mac.is_some();
            }
            is_kept
        });
    }

    /// Whether what is known has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All that is known.
    pub(super) fn known(&self) -> HashMap<Neighbour, MacAddr> {
        self.entries.iter().filter_map(|(neighbour, entry)| Some((*neighbour, entry.mac?))).collect()
    }

    /// All entries in their order: whom, where it is if that is known, and whether the configuration needs it.
    pub(super) fn all(&self) -> Vec<(Neighbour, Option<MacAddr>, bool)> {
        let mut all: Vec<_> =
            self.entries.iter().map(|(neighbour, e)| (*neighbour, e.mac, e.is_required)).collect();
        all.sort_unstable_by_key(|(neighbour, ..)| *neighbour);
        all
    }

    /// The required ones that are not known.
    pub(super) fn missing(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_required && entry.mac.is_none()).count()
    }
}

impl Entry {
    fn unknown(is_required: bool, now: Duration) -> Self {
        Self { mac: None, is_required, unanswered: 0, ask_at: now, kept_until: now + LEARNT_KEPT }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const BACKEND: Neighbour = (PortId(1), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4)));
    const CLIENT: Neighbour = (PortId(0), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
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
        assert_eq!(asked, 3);
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
    fn who_is_not_heard_of_for_long_is_forgotten_though_it_answers() {
        let mut table = NeighbourTable::default();
        table.saw(CLIENT, MAC, false, at(0));
        for second in 0..299 {
            table.advance(at(second)).iter().for_each(|ask| {
                assert_eq!(ask.to, Some(MAC));
            });
            table.saw(CLIENT, MAC, true, at(second));
        }
        assert_eq!(table.known().get(&CLIENT), Some(&MAC));
        table.advance(at(300));
        assert!(table.known().is_empty());
    }

    #[test]
    fn ten_thousand_silent_backends_are_all_asked_for() {
        let mut table = NeighbourTable::default();
        let all = (0..10_000u32).map(|i| (PortId(1), Ipv4Addr::from(0x0a00_0000 + i).into())).collect();
        table.require(&all, at(0));
        let mut asked = BTreeSet::new();
        for tick in 0..200 {
            let asks = table.advance(Duration::from_millis(10 * tick));
            assert!(asks.len() <= ASKS_MAX);
            asked.extend(asks.iter().map(|ask| ask.neighbour));
        }
        assert_eq!(asked.len(), 10_000);
    }

    #[test]
    fn strangers_are_bounded_and_leave_room_for_backends() {
        let mut table = requiring_backend();
        for i in 0..100_000u32 {
            table.saw((PortId(0), Ipv4Addr::from(0xc000_0200 + i).into()), MAC, false, at(0));
        }
        assert_eq!(table.known().len(), LEARNT_MAX);
        table.saw(BACKEND, MAC, true, at(0));
        assert_eq!(table.missing(), 0);
    }
}
