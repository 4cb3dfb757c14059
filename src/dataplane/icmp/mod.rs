//! ICMP of both families: what is asked of us is answered, errors of others about our flows go to whom they concern,
//! and senders of packets that cannot go on are told why. `docs/ICMP.md` is the long form. All of it is rare: the
//! stages here return at once where a burst has none of it.

mod echo;
mod made;
mod neighbour;
mod notice;
mod relay;
mod retell;
mod tunnel;
mod turn;

use super::bucket::Bucket;
use super::classify::{Class, classify_other};
use super::counters::WorkerCounters;
use super::lanes::{Ours, Source};
use super::outbound;
use crate::drop_reason::DropReason;
use crate::packet::{IpPacket, icmp_message, neighbour_message};
use crate::snapshot::Snapshot;
use crate::tick::Tick;

pub(super) use notice::Notice;
pub(super) use retell::{FRAME_MAX, Mute, Retelling};
pub(super) use {echo::answer_echo, echo::answer_later_part, neighbour::answer_neighbour};

/// Messages of either kind a second and worker: a flood of packets must not make a flood of answers, which would cost others
/// what they are for (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f). Linux sends as many errors, all CPUs together
/// (`net.ipv4.icmp_msgs_per_sec`); whoever traces a route or looks for an MTU is served by far fewer.
const PER_SECOND: u32 = 1000;

/// How much more a worker may send of its own accord.
pub(super) struct Limits {
    echoes: Bucket,
    errors: Bucket,
}

impl Default for Limits {
    fn default() -> Self {
        Self { echoes: Bucket::new(PER_SECOND), errors: Bucket::new(PER_SECOND) }
    }
}

/// What the stages look at besides the burst.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) source: Source,
    pub(super) world: &'a Snapshot,
    pub(super) now: Tick,
    pub(super) counters: &'a WorkerCounters,
}

/// What an ICMP message is to us.
#[cold]
pub(super) fn classify(
    frame: &[u8],
    ip: &IpPacket,
    source: Source,
    world: &Snapshot,
) -> Result<Class, DropReason> {
    if let Some(message) = neighbour_message(frame, ip)? {
        return Ok(Class::Ours(Ours::Neighbour(message)));
    }
    if ip.source.is_ipv6() && ip.destination.is_multicast() {
        return Err(DropReason::WrongMac);
    }
    let message = icmp_message(frame, ip)?;
    if let Some(notice) = Notice::of(frame, ip, message, source, world)? {
        return Ok(Class::Notice(notice));
    }
    if let Some(passing) = outbound::of_echo(message, ip, world) {
        return passing.map(Class::Passing);
    }
    classify_other(ip, world)?;
    if echo::is_request(message, ip) {
        Ok(Class::Ours(Ours::Echo(*ip)))
    } else {
        Err(DropReason::IcmpUnhandled)
    }
}

/// What the first part of a message is to us. Its checksum is over all parts, and left to the receiver.
pub(super) fn classify_first(frame: &[u8], ip: &IpPacket, world: &Snapshot) -> Class {
    let message = frame.get(usize::from(ip.payload_offset)..ip.end()).unwrap_or_default();
    if let Some(passing) = outbound::of_echo(message, ip, world) {
        passing.map_or_else(Class::Drop, Class::Passing)
    } else if echo::is_request(message, ip) && world.local_at(ip.destination).is_some() {
        Class::Ours(Ours::Echo(*ip))
    } else {
        Class::Drop(DropReason::Fragment)
    }
}
