//! Places for the frames that wait for the first fragment of their datagram. Which frame lies where, the worker sees to.

use crate::io::{BURST_MAX, PortId};

/// Frames that a worker holds between two bursts, at most: five datagrams of 65,535 bytes that came back to front.
pub const HELD_MAX: usize = 256;

/// And those of the burst at hand.
pub(in crate::dataplane) const PLACES: usize = HELD_MAX + BURST_MAX;

/// No place, and no datagram.
pub(super) const NOWHERE: u16 = u16::MAX;

/// Of a place whose frame waits no longer, but to be taken from it.
const RELEASED: u16 = u16::MAX - 1;

/// A place for a frame.
#[derive(Clone, Copy)]
struct Place {
    /// The datagram's position; `NOWHERE` where the place is free.
    datagram: u16,
    /// The frame came in by this port.
    port: PortId,
    /// The place of the datagram's next frame, in the order of their arrival.
    next: u16,
}

/// The frames of one datagram.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    first: u16,
    last: u16,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { first: NOWHERE, last: NOWHERE };
}

/// All places. They are taken in turn, so that the next one to be taken was taken longest ago.
pub(super) struct Places {
    places: [Place; PLACES],
    cursor: usize,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { places: [Place { datagram: NOWHERE, port: PortId(0), next: NOWHERE }; PLACES], cursor: 0 }
    }

    /// Takes a place for a frame of `datagram`, behind those of `chain`. `None` where there is none, which is so only if
    /// nobody has called [`Self::in_the_way`].
    pub(super) fn take(&mut self, datagram: u16, port: PortId, chain: &mut Chain) -> Option<u16> {
        let at = self.cursor as u16;
        let place = self.places.get_mut(self.cursor).filter(|place| place.datagram == NOWHERE)?;
        *place = Place { datagram, port, next: NOWHERE };
        self.cursor = (self.cursor + 1) % PLACES;
        match self.places.get_mut(usize::from(chain.last)) {
            Some(last) => last.next = at,
            None => chain.first = at,
        }
        chain.last = at;
        Some(at)
    }

    /// The datagram that must give way so that the next burst finds a place for each of its frames.
    pub(super) fn in_the_way(&self) -> Option<u16> {
        let at = (self.cursor + BURST_MAX - 1) % PLACES;
        self.places.get(at).map(|place| place.datagram).filter(|datagram| *datagram < RELEASED)
    }

    /// The places of a datagram, in the order of their frames' arrival. They belong to none from here on.
    pub(super) fn release(&mut self, chain: Chain) -> impl Iterator<Item = u16> {
        let mut at = chain.first;
        std::iter::from_fn(move || {
            let place = self.places.get_mut(usize::from(at))?;
            place.datagram = RELEASED;
            Some(std::mem::replace(&mut at, place.next))
        })
    }

    /// The port by which the frame at `at` came in.
    pub(super) fn port(&self, at: u16) -> Option<PortId> {
        self.places.get(usize::from(at)).map(|place| place.port)
    }

    /// The frame at `at` is gone.
    pub(super) fn free(&mut self, at: u16) {
        if let Some(place) = self.places.get_mut(usize::from(at)) {
            place.datagram = NOWHERE;
        }
    }
}
