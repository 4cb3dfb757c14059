//! How many blocks backends are to have, where several rules leave from the same frontends.

use super::allot::kinds;
use super::{Allotter, BLOCK_LEN, BLOCKS, OUTBOUND_ADDRESSES_MAX, PortKind};
use crate::config::{Model, OutboundProtocol, OutboundRule};

/// What a rule's backends of one family are to have.
pub(super) struct Demand {
    protocol: OutboundProtocol,
    /// Of frontends of that family: a bit each, by number.
    frontends: u64,
    backends: usize,
    /// Blocks for each, if the rule says so.
    said: Option<usize>,
}

impl Demand {
    /// As much of all that the backends have as falls to `frontends`, which may be a part of theirs.
    fn part(&self, all: usize, frontends: u64) -> usize {
        let shared = (self.frontends & frontends).count_ones() as usize;
        (all * shared).div_ceil((self.frontends.count_ones() as usize).max(1))
    }
}

impl Allotter {
    /// Of all rules, in each family.
    pub(super) fn demands(&self, model: &Model) -> Vec<Demand> {
        let of_family = |rule: &OutboundRule, is_v4: bool| {
            let its = rule.frontends.iter().filter(|address| address.is_ipv4() == is_v4);
            Demand {
                protocol: rule.protocol,
                frontends: bits(its.filter_map(|address| self.number_of(*address))),
                backends: rule.pool.backends.iter().filter(|one| one.address.is_ipv4() == is_v4).count(),
                said: rule.ports_per_backend.map(|ports| ports as usize / BLOCK_LEN),
            }
        };
        model.outbound.iter().flat_map(|rule| [of_family(rule, true), of_family(rule, false)]).collect()
    }

    /// How many blocks each backend gets of a kind: what its rule says, or as many as all rules that leave from these
    /// addresses have for all of their backends.
    pub(super) fn each(
        &self,
        rule: &OutboundRule,
        kind: PortKind,
        (numbers, backends): (&[u8], usize),
        demands: &[Demand],
    ) -> usize {
        let usable = |number: &u8| {
            let is_usable =
                |block: &usize| self.claims(*number).is_some_and(|c| !c.at(kind, *block).is_reserved());
            (0..BLOCKS).filter(is_usable).count()
        };
        let mut all: usize = numbers.iter().map(usable).sum();
        let most = rule.ports() as usize / BLOCK_LEN;
        if rule.ports_per_backend.is_some() {
            return most.min(all / backends.max(1));
        }
        let mut sharing = 0;
        let frontends = bits(numbers.iter().copied());
        for one in demands.iter().filter(|one| kinds(one.protocol).contains(&kind)) {
            match one.said {
                Some(each) => all = all.saturating_sub(one.part(each * one.backends, frontends)),
                None => sharing += one.part(one.backends, frontends),
            }
        }
        most.min((all / sharing.max(1)).max(1))
    }
}

/// A bit for each frontend, of which there are no more than bits.
fn bits(numbers: impl Iterator<Item = u8>) -> u64 {
    const { assert!(OUTBOUND_ADDRESSES_MAX <= 64, "a bit for each frontend") };
    numbers.fold(0, |all, number| all | 1u64.checked_shl(number.into()).unwrap_or(0))
}
