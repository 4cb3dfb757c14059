//! Fragments: only the first of a datagram has ports, and the others go where it went. `docs/FRAGMENTS.md` is the long
//! form. All of it is rare: the stages here return at once where a burst has none.
//!
//! The parts of a datagram meet at one worker, its owner, which is chosen by what names the datagram. There they are held
//! against each other, and those that come before the first wait. The first is a packet like any other from there on;
//! where its flow belongs to another worker it is handed over, and the others are behind it.

mod held;
mod pieces;
mod send;
mod table;

pub use held::HELD_MAX;
pub(super) use held::PLACES;
pub(super) use table::Fragments;

use super::classify::{Class, of_other_protocol, stranger, to_frontend, to_source};
use super::icmp::{self, Around};
use super::lanes::{Lane, LaneSet, Lanes, Outcome, Source};
use super::outbound::from_inside;
use super::own_address::Readdressed;
use super::steer::Steering;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{FragmentPart, IpPacket, first_fragment};
use crate::snapshot::{Echo, Snapshot};
use crate::wire::{ipv4, ipv6};
use send::Way;
use table::{DatagramId, Fate, Name};

/// A fragment of the burst at hand.
#[derive(Clone, Copy)]
pub(super) struct Part {
    lane: Lane,
    ip: IpPacket,
    standing: Standing,
}

/// What is known of a fragment.
#[derive(Clone, Copy)]
enum Standing {
    /// It needs no other to be sent on, or has been dropped.
    Alone,
    /// The first of its datagram.
    First(DatagramId),
    /// It goes where the first has gone.
    Later(DatagramId),
    /// It waited, and this becomes of it.
    Released(Fate),
}

impl Part {
    pub(super) fn new(lane: Lane, ip: IpPacket) -> Self {
        Self { lane, ip, standing: Standing::Alone }
    }
}

/// What says whose a fragment is.
enum Clue {
    /// Ports, which the first has.
    Ports,
    /// The protocol, which each has.
    Protocol,
    /// The message's header, which the first has.
    Icmp,
}

impl Clue {
    fn of(ip: &IpPacket, part: FragmentPart) -> Self {
        let icmp = if ip.source.is_ipv4() { ipv4::PROTOCOL_ICMP } else { ipv6::PROTOCOL_ICMPV6 };
        match part.next_header {
            ipv4::PROTOCOL_TCP | ipv4::PROTOCOL_UDP => Self::Ports,
            number if number == icmp => Self::Icmp,
            // What it carries, the headers behind say, which only the first has.
            _ if ip.has_hidden_protocol() => Self::Ports,
            _ => Self::Protocol,
        }
    }
}

/// A part of a message to or from an address of a backend's own.
fn own_part(
    frame: &[u8],
    ip: &IpPacket,
    source: Source,
    world: &Snapshot,
) -> Option<Result<Readdressed, DropReason>> {
    Readdressed::of_echo(frame.get(usize::from(ip.payload_offset)..ip.end())?, ip, source, world)
}

impl Lanes {
    /// Finds the datagram of each fragment. First ones are clients' packets and responses from here on.
    #[inline(always)]
    pub(super) fn sort_fragments<F: Frame>(
        &mut self,
        burst: &[F],
        fragments: &mut Fragments,
        steering: &Steering,
        around: Around<'_>,
    ) {
        if !self.fragments.is_empty() {
            self.sort_all_fragments(burst, fragments, steering, around);
        }
    }

    #[cold]
    fn sort_all_fragments<F: Frame>(
        &mut self,
        burst: &[F],
        fragments: &mut Fragments,
        steering: &Steering,
        around: Around<'_>,
    ) {
        let mut parts = std::mem::take(&mut self.fragments);
        for part in &mut parts {
            let Some(frame) = burst.get(part.lane.index()) else { continue };
            let sorted = self.sort_fragment(*part, frame.bytes(), fragments, steering, around);
            part.standing = sorted.unwrap_or_else(|outcome| {
                self.outcomes.decide(part.lane, outcome);
                Standing::Alone
            });
        }
        self.fragments = parts;
    }

    fn sort_fragment(
        &mut self,
        part: Part,
        frame: &[u8],
        fragments: &mut Fragments,
        steering: &Steering,
        around: Around<'_>,
    ) -> Result<Standing, Outcome> {
        let Around { source, world, now, .. } = around;
        let Part { lane, ip, .. } = part;
        if let Source::Held(_) = source {
            return Ok(Standing::Released(fragments.fate_of_released(lane)));
        }
        let fragment = ip.fragment.ok_or(Outcome::Drop(DropReason::Fragment))?;
        let clue = Clue::of(&ip, fragment);
        match clue {
            Clue::Ports => {}
            Clue::Icmp if let Some(own) = own_part(frame, &ip, source, world) => {
                self.place(lane, Readdressed::class(own), world);
                return Ok(Standing::Alone);
            }
            // An echo request perhaps.
            Clue::Icmp if world.echo_at(ip.destination).is_some() => {}
            Clue::Icmp if world.outbound.member_at(ip.source).is_some() => {}
            Clue::Protocol => {
                self.place(lane, of_other_protocol(&ip, source, world), world);
                return Ok(Standing::Alone);
            }
            Clue::Icmp => return Err(Outcome::Drop(DropReason::Fragment)),
        }
        // Either is for one of us, or from a backend perhaps; without ports there is none that could be wrong.
        match stranger(ip.source, 1, ip.destination, world) {
            DropReason::NoRule | DropReason::NotOurs => {}
            reason => return Err(Outcome::Drop(reason)),
        }
        let name = Name::of(&ip, fragment);
        let hash = name.hash(&world.hash);
        let owner = steering.owner(hash);
        let is_first = fragment.offset == 0;
        if owner != steering.me {
            if let Source::Port { .. } = source {
                return Err(Outcome::HandOver(owner));
            }
            // Its owner has sent it, for we own the flow; and the first before all others.
            if is_first {
                fragments.begin_anew(name, hash);
            } else if !fragments.knows(name, hash) {
                return Err(Outcome::Drop(DropReason::FragmentTimedOut));
            }
        }
        let FragmentPart { offset, len, more, .. } = fragment;
        let span = (offset, offset.saturating_add(len), !more);
        let id = fragments.admit(name, hash, span, now).map_err(Outcome::Drop)?;
        if !is_first {
            return Ok(Standing::Later(id));
        }
        // What becomes of it if no other stage sees to it: a segment of a flow that is reset.
        self.outcomes.decide(lane, Outcome::Drop(DropReason::Fragment));
        let class = match clue {
            Clue::Icmp => icmp::classify_first(frame, &ip, world),
            _ => self.class_of_first(frame, &ip, around),
        };
        self.place(lane, class, world);
        if owner == steering.me && self.clients.with(self.wide).with(self.bound).has(lane) {
            self.steer_one(lane, steering);
        }
        Ok(Standing::First(id))
    }

    fn class_of_first(&self, frame: &[u8], ip: &IpPacket, around: Around<'_>) -> Class {
        let Around { source, world, .. } = around;
        let Some(packet) = first_fragment(frame, ip) else {
            // Behind options, which the clue does not look behind: the others would not follow.
            let is_icmp = ip.protocol == ipv6::PROTOCOL_ICMPV6 && ip.source.is_ipv6();
            return if is_icmp {
                Class::Drop(DropReason::Fragment)
            } else {
                of_other_protocol(ip, source, world)
            };
        };
        to_frontend(&packet, world)
            .or_else(|| to_source(&packet, world).map(Class::ToSource))
            .unwrap_or_else(|| from_inside(&packet, source, world))
    }

    /// Sends the others after the first ones, or has them wait.
    #[inline(always)]
    pub(super) fn follow_first_fragments<F: Frame>(
        &mut self,
        burst: &mut [F],
        fragments: &mut Fragments,
        around: Around<'_>,
    ) {
        if !self.fragments.is_empty() {
            self.follow_all(burst, fragments, around);
        }
    }

    #[cold]
    fn follow_all<F: Frame>(&mut self, burst: &mut [F], fragments: &mut Fragments, around: Around<'_>) {
        let mut forwarded = LaneSet::default();
        let parts = std::mem::take(&mut self.fragments);
        for Part { lane, ip, standing } in &parts {
            let (fate, id) = match *standing {
                Standing::Alone => continue,
                Standing::First(id) => {
                    fragments.decide(id, self.fate_of_first(*lane, ip, around.world));
                    continue;
                }
                Standing::Later(id) => {
                    (fragments.fate(id).unwrap_or(Fate::Drop(DropReason::FragmentTableFull)), Some(id))
                }
                Standing::Released(fate) => (fate, None),
            };
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match fate {
                Fate::Unknown => {
                    let place = id.and_then(|id| fragments.hold(id, around.source.port()));
                    let outcome = place.map_or(Outcome::Drop(DropReason::FragmentTableFull), Outcome::Hold);
                    self.outcomes.decide(*lane, outcome);
                }
                Fate::Elsewhere(worker) => self.outcomes.decide(*lane, Outcome::HandOver(worker)),
                Fate::Drop(reason) | Fate::GivenUp(reason) => {
                    self.outcomes.decide(*lane, Outcome::Drop(reason));
                }
                Fate::Answered => {
                    let answer = icmp::answer_later_part(frame.bytes_mut(), ip, around);
                    self.outcomes.decide(*lane, answer.unwrap_or_else(Outcome::Drop));
                }
                Fate::ToBackend(..) | Fate::ToClient(_) | Fate::FullNat(..) | Fate::Outbound(..) => {
                    match send::send(frame, ip, fate, around) {
                        Ok(Way::Whole(port)) => {
                            self.outcomes.set_port(*lane, port);
                            forwarded.insert(*lane);
                        }
                        Ok(Way::InParts(cut)) => self.outcomes.cut(*lane, cut),
                        Err(reason) => self.outcomes.decide(*lane, Outcome::Drop(reason)),
                    }
                }
            }
        }
        // Once all of the burst are through, for all of them have been counted.
        for part in &parts {
            if let Standing::First(id) | Standing::Later(id) = part.standing {
                fragments.finish(id);
            }
        }
        self.fragments = parts;
        self.outcomes.forward_all(forwarded);
    }

    /// What the stages have made of a first fragment.
    fn fate_of_first(&self, lane: Lane, ip: &IpPacket, world: &Snapshot) -> Fate {
        let backend = self.backends[lane.index()];
        let is_forwarded = self.outcomes.is_forwarded(lane);
        match self.outcomes.decided(lane) {
            _ if is_forwarded && let Some(member) = self.outbound_member(lane, world) => {
                self.aside(lane).map_or(Fate::Drop(DropReason::Fragment), |way| Fate::Outbound(member, way))
            }
            _ if is_forwarded && self.is_full_nat(lane) => {
                self.aside(lane).map_or(Fate::Drop(DropReason::Fragment), |way| Fate::FullNat(backend, way))
            }
            outcome if is_forwarded || matches!(outcome, Outcome::ForwardInParts(_)) => {
                if self.responses.with(self.wide_responses).has(lane) {
                    Fate::ToClient(backend)
                } else {
                    Fate::ToBackend(backend, self.hashes[lane.index()])
                }
            }
            Outcome::HandOver(worker) => Fate::Elsewhere(worker),
            Outcome::Drop(reason) => Fate::Drop(reason),
            Outcome::Answer(_) if self.ours.iter().any(|(ours, _)| *ours == lane) => {
                match world.echo_at(ip.destination) {
                    Some(Echo::Reply) => Fate::Answered,
                    // By an error.
                    _ => Fate::Drop(DropReason::NoBackendAvailable),
                }
            }
            _ => Fate::Drop(DropReason::Fragment),
        }
    }
}
