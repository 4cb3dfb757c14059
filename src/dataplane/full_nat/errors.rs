//! ICMP errors about flows of full NAT: whose they are, and what its ends know it by.

use std::net::IpAddr;

use super::bindings::{Bindings, Name};
use super::{ToSource, stream};
use crate::dataplane::classify::is_behind;
use crate::dataplane::ends::NewEnds;
use crate::dataplane::icmp::{Around, FRAME_MAX, Mute, Notice, Retelling};
use crate::dataplane::lanes::{Lane, Lanes, Outcome};
use crate::dataplane::nat::refuse;
use crate::dataplane::steer::Steering;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::Flow;
use crate::snapshot::NextHop;

const NOBODY: Outcome = Outcome::Drop(DropReason::IcmpUnhandled);

impl Lanes {
    /// What becomes of an error about a packet of ours to a backend, whose answer would be `to`: it goes to the client. In the
    /// frontend's name, for the client knows no other (RFC 5508 section 4.2, REQ-5).
    pub(in crate::dataplane) fn tell_bound_client<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        to: &ToSource,
        bindings: &mut Bindings,
        around: Around<'_>,
    ) -> Result<(), Outcome> {
        let world = around.world;
        let (_, binding) = bindings.of_response(to)?;
        let id = binding.value.backend();
        let backend = world.backend(id).ok_or(NOBODY)?;
        let frontend = binding.frontend(world).ok_or(NOBODY)?;
        let port = if backend.port == 0 { frontend.port() } else { backend.port };
        if (to.packet.ip.source, to.packet.source_port) != (backend.address, port) {
            return Err(Outcome::Drop(DropReason::NotOurs));
        }
        if !world.to_client.get(id.index()).is_some_and(|back| is_behind(back, around.source)) {
            return Err(Outcome::Drop(DropReason::WrongPort));
        }
        let client = binding.key().client();
        let next_hop = world.routes.next_hop_to(client.ip());
        let retelling = Retelling {
            from: frontend.ip(),
            to: client.ip(),
            quoted: NewEnds { source: client, destination: frontend },
            sequence: stream::quoted_sequence(frame.bytes(), notice.quoted_ends_offset())
                .map(|number| binding.stream.number_of_client(number)),
            mtu: next_hop.hop.mtu,
            mtu_there: backend.next_hop.hop.mtu,
        };
        self.tell_bound(lane, frame, notice, &retelling, &next_hop)?;
        around.counters.icmp.to_client.add(1);
        Ok(())
    }

    /// The same of an error about a response of the flow of this name: it goes to the backend, in the name of whom that takes
    /// for its client.
    #[expect(clippy::too_many_arguments, reason = "a step of a longer way")]
    pub(in crate::dataplane) fn tell_bound_backend<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        name: Name,
        bindings: &mut Bindings,
        steering: &Steering,
        around: Around<'_>,
    ) -> Result<(), Outcome> {
        let world = around.world;
        let Some(place) = bindings.find(name) else {
            return Err(steering.elsewhere(name.hash, around.source).unwrap_or(NOBODY));
        };
        let binding = bindings.at(place).ok_or(NOBODY)?;
        let frontend = binding.frontend(world).ok_or(NOBODY)?;
        let backend = world.backend(binding.value.backend()).ok_or(NOBODY)?;
        let (number, port) = Bindings::source_of(place);
        let source: IpAddr = world.sources.address(number).ok_or(NOBODY)?;
        let backend_port = if backend.port == 0 { frontend.port() } else { backend.port };
        let retelling = Retelling {
            from: source,
            to: backend.address,
            quoted: NewEnds {
                source: (backend.address, backend_port).into(),
                destination: (source, port).into(),
            },
            sequence: None,
            mtu: backend.next_hop.hop.mtu,
            mtu_there: world.routes.next_hop_to(name.key.client().ip()).hop.mtu,
        };
        self.tell_bound(lane, frame, notice, &retelling, &backend.next_hop)?;
        around.counters.icmp.to_backend.add(1);
        Ok(())
    }

    pub(in crate::dataplane) fn tell_bound<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        retelling: &Retelling,
        next_hop: &NextHop,
    ) -> Result<(), Outcome> {
        let mut made = [0; FRAME_MAX];
        let written = retelling.write(&mut made, frame.bytes(), notice, &next_hop.hop);
        match written {
            Ok(len) if made.get(..len).is_some_and(|made| frame.fill(made)) => {
                self.outcomes.decide(lane, Outcome::Forward(next_hop.hop.port));
                Ok(())
            }
            Ok(_) => Err(Outcome::Drop(DropReason::NoHeadroom)),
            Err(Mute::Dropped(reason)) => Err(Outcome::Drop(reason)),
            Err(Mute::Refused(refusal)) => {
                refuse(&mut self.outcomes, lane, refusal, next_hop);
                Err(self.outcomes.decided(lane))
            }
        }
    }
}
