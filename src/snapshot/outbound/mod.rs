//! Outbound rules, compiled: which backends' own connections are translated, to which addresses, and who has which ports.

mod allot;
mod claims;
mod demand;

use std::net::IpAddr;
use std::sync::Arc;

use super::{NextHop, WideMap};
use crate::io::PortId;
use crate::packet::wide_endpoint;

pub(super) use allot::Allotter;
pub(crate) use claims::{BLOCK_LEN, BLOCKS, Claims, FIRST_PORT, PortKind};

/// Frontends that a process can have at once, those included that were removed and have flows still.
pub(crate) const OUTBOUND_ADDRESSES_MAX: usize = crate::config::OUTBOUND_FRONTENDS_MAX;

/// The same of backends.
pub(crate) const MEMBERS_MAX: usize = crate::config::OUTBOUND_BACKENDS_MAX;

/// What the path knows of outbound rules.
#[derive(Default)]
pub(crate) struct Outbound {
    /// Backend's address → its number.
    by_backend: WideMap,
    /// By number.
    members: Box<[Option<Member>]>,
    /// Frontend → its number.
    by_address: WideMap,
    /// By number.
    frontends: Box<[Option<Frontend>]>,
    /// Numbers of frontends, way after way.
    numbers: Box<[u8]>,
    /// Another where blocks may have been handed out.
    pub(crate) version: u32,
}

/// A frontend's address, and who has which of its ports.
type Frontend = (IpAddr, Arc<Claims>);

/// A backend of outbound rules. Its number stays the same for as long as it has flows.
pub(crate) struct Member {
    pub(crate) address: IpAddr,
    /// Chooses the worker that has its flows.
    pub(crate) hash: u64,
    pub(crate) next_hop: NextHop,
    /// The port that leads to it.
    pub(crate) from: Option<PortId>,
    ways: [MemberWay; 3],
}

/// What becomes of a backend's flows of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemberWay {
    /// Whether it may open new ones.
    pub(crate) opens: bool,
    pub(crate) idle_ticks: u32,
    pub(crate) tcp_reset: bool,
    /// Of the frontends' numbers.
    first: u32,
    len: u32,
}

impl Member {
    pub(crate) fn way(&self, kind: PortKind) -> &MemberWay {
        let [tcp, udp, echo] = &self.ways;
        match kind {
            PortKind::Tcp => tcp,
            PortKind::Udp => udp,
            PortKind::Echo => echo,
        }
    }
}

impl Outbound {
    /// Whether there is nothing of it.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.frontends.is_empty()
    }

    /// The number of a backend.
    pub(crate) fn member_at(&self, address: IpAddr) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.by_backend.get(wide_endpoint(address, 0, 0)).map(|number| number as u32)
    }

    /// The backend of a number.
    pub(crate) fn member(&self, number: u32) -> Option<&Member> {
        self.members.get(number as usize)?.as_ref()
    }

    /// The number of a frontend.
    pub(crate) fn number_of(&self, address: IpAddr) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        self.by_address.get(wide_endpoint(address, 0, 0)).map(|number| number as u8)
    }

    fn frontend(&self, number: u8) -> Option<&Frontend> {
        self.frontends.get(usize::from(number))?.as_ref()
    }

    /// The frontend of a number.
    pub(crate) fn address(&self, number: u8) -> Option<IpAddr> {
        self.frontend(number).map(|(address, _)| *address)
    }

    /// Who has which of its ports.
    pub(crate) fn claims(&self, number: u8) -> Option<&Claims> {
        self.frontend(number).map(|(_, claims)| &**claims)
    }

    /// The backend that has a port.
    pub(crate) fn owner(&self, number: u8, kind: PortKind, port: u16) -> Option<u32> {
        self.claims(number)?.at(kind, Claims::block_of(port)?).owner()
    }

    /// Numbers of the frontends that a way's flows leave from, the one that comes first, first.
    pub(crate) fn numbers(&self, way: &MemberWay) -> &[u8] {
        let first = way.first as usize;
        self.numbers.get(first..first + way.len as usize).unwrap_or_default()
    }

    /// Whether a way's new flows can leave from a port that the backend has.
    pub(crate) fn lends(&self, way: &MemberWay, number: u8, kind: PortKind, port: u16) -> bool {
        let is_free = |claims: &Claims| Some(!claims.at(kind, Claims::block_of(port)?).is_reserved());
        self.numbers(way).contains(&number) && self.claims(number).and_then(is_free) == Some(true)
    }

    /// All numbers of frontends are below.
    pub(crate) fn numbers_end(&self) -> usize {
        self.frontends.len()
    }

    /// The numbers of all frontends.
    pub(crate) fn all_numbers(&self) -> impl Iterator<Item = u8> {
        let is_there = |(number, frontend): (u8, &Option<_>)| frontend.is_some().then_some(number);
        (0..).zip(self.frontends.iter()).filter_map(is_there)
    }

    /// All backends.
    pub(crate) fn members(&self) -> impl Iterator<Item = (u32, &Member)> {
        (0..).zip(self.members.iter()).filter_map(|(number, member)| Some((number, member.as_ref()?)))
    }

    /// All frontends.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.frontends.iter().flatten().map(|(address, _)| *address)
    }
}
