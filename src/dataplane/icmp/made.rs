//! Errors that we make: to the senders of packets that do not fit, or have no hop left.

use super::{Around, Limits};
use crate::dataplane::counters::{Counter, WorkerCounters};
use crate::dataplane::cut::may_be_cut;
use crate::dataplane::encapsulate::added_by;
use crate::dataplane::lanes::{Lane, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{IpPacket, Parsed, merits_error, parse};
use crate::snapshot::Snapshot;
use crate::wire::ethernet::{self, Addresses};
use crate::wire::icmp_error::{FRAME_MAX, IcmpError};
use crate::wire::ipv6;

/// The least that a link may take whole (RFC 791 section 3.2). That of IPv6 is [`ipv6::MTU_MIN`]: hosts take no smaller
/// one from anybody (RFC 8201 section 4).
const IPV4_MTU_MIN: usize = 68;

impl Lanes {
    /// Tells the senders of packets that were dropped why, where they can do something about it.
    #[inline(always)]
    pub(in crate::dataplane) fn complain<F: Frame>(
        &mut self,
        burst: &mut [F],
        around: Around<'_>,
        limits: &mut Limits,
    ) {
        if !self.outcomes.refused().is_empty() {
            self.complain_all(burst, around, limits);
        }
    }

    #[cold]
    fn complain_all<F: Frame>(&mut self, burst: &mut [F], around: Around<'_>, limits: &mut Limits) {
        for lane in self.outcomes.refused() {
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            let Some((ip, error)) = self.complaint(lane, frame.bytes(), around.world) else { continue };
            // Who lets his packets be cut up would not listen.
            if let IcmpError::TooBig { mtu } = error
                && may_be_cut(frame.bytes(), mtu)
            {
                self.cut_up(lane, frame, &ip, around);
            } else if let Some(outcome) = send_back(frame, error, &ip, around, limits) {
                self.outcomes.decide(lane, outcome.unwrap_or_else(Outcome::Drop));
            }
        }
    }

    /// What is to be said of the packet, which is as it came in; `None` where its sender has nothing to do with it.
    fn complaint(&self, lane: Lane, frame: &[u8], world: &Snapshot) -> Option<(IpPacket, IcmpError)> {
        let ip = match parse(frame).ok()? {
            Parsed::Transport(packet) => packet.ip,
            Parsed::Icmp(ip) | Parsed::Other(ip) | Parsed::Fragment(ip) => ip,
            Parsed::Arp => return None,
        };
        if self.outcomes.decided(lane) == Outcome::Drop(DropReason::TtlExceeded) {
            return Some((ip, IcmpError::HopLimitExceeded));
        }
        let mtu = self.mtu_for(lane, &ip, world)?;
        (mtu < ip.total_len).then_some((ip, IcmpError::TooBig { mtu }))
    }

    /// The largest packet that could go where this one should, as its sender counts.
    fn mtu_for(&self, lane: Lane, ip: &IpPacket, world: &Snapshot) -> Option<u16> {
        if self.is_full_nat(lane) {
            return self.aside(lane).map(|aside| less(aside.mtu, 0, ip.source.is_ipv6()));
        }
        let backend = world.backend(self.backends[lane.index()])?;
        let (hop, added) = if self.responses.has(lane) || self.wide_responses.has(lane) {
            (world.routes.next_hop_to(ip.destination).hop, 0)
        } else {
            (backend.next_hop.hop, added_by(&backend.forwarding))
        };
        Some(less(hop.mtu, added, ip.source.is_ipv6()))
    }
}

/// The MTU of a way on which packets grow by `added` bytes.
pub(super) fn less(mtu: u16, added: usize, is_v6: bool) -> u16 {
    let least = if is_v6 { ipv6::MTU_MIN } else { IPV4_MTU_MIN };
    usize::from(mtu).saturating_sub(added).max(least) as u16
}

/// Turns the frame into an error about the packet in it, to the station that it came from; `None` where no error may be
/// sent about it. A frame that stays as it is is dropped.
pub(super) fn send_back<F: Frame>(
    frame: &mut F,
    error: IcmpError,
    ip: &IpPacket,
    around: Around<'_>,
    limits: &mut Limits,
) -> Option<Result<Outcome, DropReason>> {
    let port = around.source.port();
    let link = around.world.port(port)?;
    let station = ethernet::addresses(frame.bytes().first_chunk()?).source();
    let is_too_big = matches!(error, IcmpError::TooBig { .. });
    // Nor to whom no way leads: a network's broadcast address is nobody's.
    let has_way = around.world.routes.next_hop_to(ip.source).leads_out_of().is_some();
    if station.is_group() || !has_way || !merits_error(frame.bytes(), ip, is_too_big) {
        return None;
    }
    if !limits.errors.take(around.now) {
        return Some(Err(DropReason::ErrorLimited));
    }
    let source = around.world.own_address(port, ip.destination).unwrap_or(ip.destination);
    let mut made = [0; FRAME_MAX];
    let quoted = frame.bytes().get(usize::from(ip.header_offset)..ip.end())?;
    let len = error.write(&mut made, Addresses::new(station, link.mac), source, quoted)?;
    if !frame.fill(made.get(..len)?) {
        return None;
    }
    counter(around.counters, error).add(1);
    Some(Ok(Outcome::Answer(port)))
}

/// Where an error that is sent is counted.
pub(super) fn counter(counters: &WorkerCounters, error: IcmpError) -> &Counter {
    match error {
        IcmpError::TooBig { .. } => &counters.icmp.too_big,
        IcmpError::HopLimitExceeded => &counters.icmp.time_exceeded,
        IcmpError::HostUnreachable
        | IcmpError::ProtocolUnreachable
        | IcmpError::PortUnreachable
        | IcmpError::Prohibited => &counters.icmp.unreachable,
    }
}
