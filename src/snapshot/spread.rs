//! How the new flows of a rule are spread, to be held against how they were.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{MaglevTable, selector_for};
use crate::config::{HashKey, Rule};
use crate::packet::SipHash;

/// A rule's table, by itself.
pub struct Spread {
    table: MaglevTable,
    /// By the table's positions.
    addresses: Vec<IpAddr>,
}

impl Spread {
    /// That of `rule` under `key`.
    pub fn new(key: HashKey, rule: &Rule) -> Self {
        let (selector, addresses) = selector_for(&SipHash::new(key.0), rule);
        Self { table: selector.table, addresses }
    }

    /// The share of new flows that each backend gets; those that get none are left out.
    pub fn shares(&self) -> BTreeMap<IpAddr, f64> {
        let mut shares = BTreeMap::new();
        for slot in 0..self.table.len() {
            self.at(slot).into_iter().for_each(|address| *shares.entry(address).or_insert(0u64) += 1);
        }
        let share = |slots| slots as f64 / self.table.len() as f64;
        shares.into_iter().map(|(address, slots)| (address, share(slots))).collect()
    }

    /// The share of hashes that have another backend in `other`.
    pub fn differs_from(&self, other: &Self) -> f64 {
        // A slot is a stretch of all hashes; tables of two lengths cut them at different places. Counted in
        // units of which a slot of ours has as many as the other table has slots, and the other way round.
        let (ours, theirs) = (self.table.len().max(1), other.table.len().max(1));
        let (mut at, mut differing) = (0, 0);
        while at < ours * theirs {
            let (slot, other_slot) = (at / theirs, at / ours);
            let end = ((slot + 1) * theirs).min((other_slot + 1) * ours);
            if self.at(slot) != other.at(other_slot) {
                differing += end - at;
            }
            at = end;
        }
        differing as f64 / (ours * theirs) as f64
    }

    fn at(&self, slot: usize) -> Option<IpAddr> {
        self.addresses.get(usize::from(*self.table.get(slot)?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(table: &[u16], addresses: u8) -> Spread {
        let addresses = (1..=addresses).map(|last| [10, 0, 0, last].into()).collect();
        Spread { table: table.into(), addresses }
    }

    #[test]
    fn shares_and_differences_are_counted_in_hashes_not_in_slots() {
        let two = spread(&[0, 1], 2);
        assert_eq!(two.shares().into_values().collect::<Vec<_>>(), [0.5, 0.5]);
        assert_eq!(two.differs_from(&two), 0.0);
        assert_eq!(two.differs_from(&spread(&[1, 0], 2)), 1.0);
        assert_eq!(two.differs_from(&spread(&[0, 0, 0, 1], 2)), 0.25);
        // Of six units ours has 0 0 0 1 1 1, the other 0 0 1 1 0 0.
        assert_eq!(two.differs_from(&spread(&[0, 1, 0], 2)), 0.5);
        assert_eq!(two.differs_from(&spread(&[], 0)), 1.0);
        assert_eq!(spread(&[], 0).differs_from(&spread(&[], 3)), 0.0);
    }
}
