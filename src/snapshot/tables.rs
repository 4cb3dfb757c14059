//! What a rule's Maglev table is made of: its backends, their names in the hash, and what is hashed to choose.

use std::net::IpAddr;
use std::sync::Arc;

use super::BackendId;
use super::select::{MaglevTable, Selector};
use crate::config::{self, AdminState, Distribution, NoHealthyBackends, ProtocolSelector};
use crate::maglev::{self, Preference};
use crate::packet::SipHash;
use crate::wire::Protocol;

/// Length, and the available backends with their weights, sorted.
pub(super) type TableInputs = (usize, Vec<(IpAddr, u8)>);

/// The backends that new flows of `rule` go to, by address.
pub(super) fn available(rule: &config::Rule) -> Vec<config::Backend> {
    let takes_part = |b: &&config::Backend| b.weight > 0 && b.state != AdminState::Drain;
    let candidates: Vec<config::Backend> = rule.pool.backends.iter().filter(takes_part).copied().collect();
    let up: Vec<_> = candidates.iter().filter(|b| b.state != AdminState::Down).copied().collect();
    let everyone = up.is_empty() && rule.no_healthy_backends == NoHealthyBackends::All;
    let mut available = if everyone { candidates } else { up };
    // The table depends on the order, and the order of a file means nothing.
    available.sort_by_key(|backend| backend.address);
    available
}

/// The selector of `rule` by itself, its backend ids counting the addresses that are returned with it.
pub fn selector_for(hash: &SipHash, rule: &config::Rule) -> (Selector, Vec<IpAddr>) {
    let available = available(rule);
    let table = fill(hash, &table_inputs(rule, &available));
    let backends = (0..available.len() as u32).map(BackendId).collect();
    let addresses = available.iter().map(|backend| backend.address).collect();
    (Selector { seed: select_seed(hash, rule), table, backends }, addresses)
}

pub(super) fn table_inputs(rule: &config::Rule, available: &[config::Backend]) -> TableInputs {
    let members = available.iter().map(|b| (b.address, b.weight)).collect();
    (maglev::table_len(rule.pool.backends.len()), members)
}

pub(super) fn fill(hash: &SipHash, (len, members): &TableInputs) -> MaglevTable {
    // The two hashes of a backend's name differ in a bit that no name reaches.
    let preference = |(address, weight): &(IpAddr, u8)| {
        let name = address_name(hash, *address);
        let (offset, skip) = (hash.word(name | 1 << 62), hash.word(name | 1 << 63));
        Preference::from_hashes(offset, skip, *weight, *len)
    };
    let preferences: Vec<Preference> = members.iter().map(preference).collect();
    Arc::from(maglev::fill(*len, &preferences))
}

/// An address as 62 bits: one of IPv4 is a number, one of IPv6 is hashed down.
fn address_name(hash: &SipHash, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            hash.word(hash.word(high) ^ low) >> 2
        }
    }
}

/// The destination's part of the hash that chooses, over exactly the fields of the distribution; `None` for
/// the 5-tuple, whose hash the flow has anyway.
pub(super) fn select_seed(hash: &SipHash, rule: &config::Rule) -> Option<u64> {
    let address = address_name(hash, rule.frontend.address) << 32;
    let protocol = protocol_number(rule.frontend.protocol);
    match rule.distribution {
        Distribution::FiveTuple => None,
        Distribution::SourceIp => Some(hash.word(address | 0x0200)),
        Distribution::SourceIpProtocol => Some(hash.word(address | 0x0300 | protocol)),
    }
}

/// What tells protocols apart in a hash.
pub(super) fn protocol_number(protocol: ProtocolSelector) -> u64 {
    match protocol {
        ProtocolSelector::Tcp => Protocol::Tcp.number().into(),
        ProtocolSelector::Udp => Protocol::Udp.number().into(),
        ProtocolSelector::Other(number) => number.into(),
        // A packet's own protocol takes its place.
        ProtocolSelector::Any => 0,
    }
}
