//! VLANs: several ports on one device, told apart by the tags of their frames (IEEE 802.1Q).
//!
//! Stands between the path and the queues of devices: what the path gets and gives has no tags. Where no port is in a
//! VLAN, one comparison a burst is all there is of it.

use super::{BURST_MAX, Frame, PortId, Queues};
use crate::wire::vlan::{OFFSET, Tags, Vlan};

/// Where a port's frames are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The first port of the same device: what comes by the device is asked of it, and is its own.
    pub first: PortId,
    /// The tags of the port's frames, the outer first; none or up to two.
    pub vlan: Vec<u16>,
}

/// Queues of devices, as queues of ports that share them.
///
/// A frame in a VLAN that no port of its device is in goes to the device's first port with its tags, which the path drops
/// it for; one in no VLAN, where all ports are in some, gets a tag of a VLAN that is nowhere for that.
pub struct Tagged<Q: Queues> {
    queues: Q,
    /// By port; `None` for one whose device is in no VLAN, and nothing at all where all are such.
    ports: Vec<Option<SubPort<Q::Frame>>>,
    /// Of a device, before they are sorted.
    burst: Vec<Q::Frame>,
    /// That cannot be sent.
    unfit: Vec<Q::Frame>,
}

struct SubPort<F> {
    first: PortId,
    vlan: Vlan,
    tags: Tags,
    /// Received, and not asked for yet.
    waiting: Vec<F>,
}

impl<Q: Queues> Tagged<Q> {
    /// `queues`, whose ports are the devices' first ones, for the ports at `places`.
    pub fn new(queues: Q, places: &[Place]) -> Self {
        let sub_port = |place: &Place| {
            let vlan = Vlan::of_tags(&place.vlan);
            let waiting = Vec::with_capacity(BURST_MAX);
            SubPort { first: place.first, vlan, tags: vlan.tags(), waiting }
        };
        let has_vlans =
            |place: &Place| places.iter().any(|at| at.first == place.first && !at.vlan.is_empty());
        let mut ports: Vec<_> =
            places.iter().map(|place| has_vlans(place).then(|| sub_port(place))).collect();
        let room = if ports.iter().any(Option::is_some) { BURST_MAX } else { 0 };
        ports.truncate(if room > 0 { ports.len() } else { 0 });
        // A worker sends two bursts at once.
        Self { queues, ports, burst: Vec::with_capacity(room), unfit: Vec::with_capacity(2 * room) }
    }

    /// The queues of the devices.
    pub fn devices_mut(&mut self) -> &mut Q {
        &mut self.queues
    }

    /// The first port of the port's device.
    pub fn first_of(&self, port: PortId) -> PortId {
        self.sub_port(port).map_or(port, |at| at.first)
    }

    /// The port that a frame of the device of `first` is of, by its tags; `first` for one that is nobody's.
    pub fn port_of(&self, first: PortId, frame: &[u8]) -> PortId {
        let found = Vlan::of_frame(frame).and_then(|(vlan, _)| find(&self.ports, first, vlan));
        found.map_or(first, |index| PortId(index as u8))
    }

    #[inline(always)]
    fn sub_port(&self, port: PortId) -> Option<&SubPort<Q::Frame>> {
        self.ports.get(port.index())?.as_ref()
    }

    #[inline(never)]
    fn receive_tagged(&mut self, port: PortId, burst: &mut Vec<Q::Frame>) -> u64 {
        let Self { queues, ports, burst: raw, .. } = self;
        let is_first = |at: &&SubPort<_>| at.first == port;
        let mut of_device = ports.iter().flatten().filter(is_first).peekable();
        let mut unusable = 0;
        // The device is asked by its first port, once all have taken what was theirs: so nothing waits beyond a burst.
        if of_device.peek().is_some() && of_device.all(|at| at.waiting.is_empty()) {
            unusable = queues.receive(port, raw);
            raw.iter().for_each(Frame::prefetch);
            for mut frame in raw.drain(..) {
                let to = sort(ports, port, &mut frame);
                if let Some(Some(at)) = ports.get_mut(to) {
                    at.waiting.push(frame);
                }
            }
        }
        if let Some(Some(at)) = ports.get_mut(port.index()) {
            let room = BURST_MAX.saturating_sub(burst.len()).min(at.waiting.len());
            burst.extend(at.waiting.drain(..room));
        }
        unusable
    }

    #[inline(never)]
    fn transmit_tagged(&mut self, port: PortId, burst: &mut Vec<Q::Frame>) {
        let Some((first, tags)) = self.sub_port(port).map(|at| (at.first, at.tags)) else { return };
        // Drivers leave more room in front than tunnel and tags take. What lacks it stays, like what finds no place.
        self.unfit.extend(burst.extract_if(.., |frame| !push(frame, &tags)));
        self.queues.transmit(first, burst);
        burst.iter_mut().for_each(|frame| pop(frame, tags.bytes().len()));
        burst.append(&mut self.unfit);
    }
}

/// The index of the port of a device that is in `vlan`.
#[inline]
fn find<F>(ports: &[Option<SubPort<F>>], first: PortId, vlan: Vlan) -> Option<usize> {
    let is_it = |at: &SubPort<F>| at.vlan == vlan && at.first == first;
    ports.iter().position(|port| port.as_ref().is_some_and(is_it))
}

/// The index of the port that a frame of the device of `first` is for. Takes its tags off; what is for none is made such
/// that the path drops it.
#[inline]
fn sort<F: Frame>(ports: &[Option<SubPort<F>>], first: PortId, frame: &mut F) -> usize {
    let Some((vlan, len)) = Vlan::of_frame(frame.bytes()) else { return first.index() };
    if let Some(found) = find(ports, first, vlan) {
        pop(frame, len);
        return found;
    }
    if vlan == Vlan::NONE && !push(frame, &Vlan::NOWHERE.tags()) {
        frame.truncate(0);
    }
    first.index()
}

/// Takes tags of VLAN 0 off a frame in no VLAN: they say nothing but a priority (IEEE 802.1Q-2018 section 6.9.1).
#[inline]
pub fn take_priority<F: Frame>(frame: &mut F) {
    if let Some((Vlan::NONE, len)) = Vlan::of_frame(frame.bytes()) {
        pop(frame, len);
    }
}

/// Puts tags behind the addresses. False, and the frame is unchanged, where there is no room.
#[inline]
fn push<F: Frame>(frame: &mut F, tags: &Tags) -> bool {
    let tags = tags.bytes();
    if frame.bytes().len() < OFFSET || !frame.grow(tags.len()) {
        return false;
    }
    if let Some(head) = frame.bytes_mut().get_mut(..OFFSET + tags.len()) {
        head.copy_within(tags.len().., 0);
        head.iter_mut().skip(OFFSET).zip(tags).for_each(|(to, from)| *to = *from);
    }
    true
}

/// Takes `len` bytes from behind the addresses; the frame has them.
#[inline]
fn pop<F: Frame>(frame: &mut F, len: usize) {
    if len > 0
        && let Some(head) = frame.bytes_mut().get_mut(..OFFSET + len)
    {
        head.copy_within(..OFFSET, len);
        frame.shrink(len);
    }
}

impl<Q: Queues> Queues for Tagged<Q> {
    type Frame = Q::Frame;

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<Q::Frame>) -> u64 {
        match self.sub_port(port) {
            None => self.queues.receive(port, burst),
            Some(_) => self.receive_tagged(port, burst),
        }
    }

    #[inline]
    fn transmit(&mut self, port: PortId, burst: &mut Vec<Q::Frame>) {
        match self.sub_port(port) {
            None => self.queues.transmit(port, burst),
            Some(_) => self.transmit_tagged(port, burst),
        }
    }

    #[inline]
    fn can_transmit(&self, port: PortId) -> bool {
        self.queues.can_transmit(self.first_of(port))
    }

    #[inline]
    fn new_frame(&mut self, bytes: &[u8]) -> Option<Q::Frame> {
        self.queues.new_frame(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::{HeapFrame, MemoryQueues};

    const A: PortId = PortId(0);
    const B: PortId = PortId(1);
    const ELSE: PortId = PortId(2);
    const C: PortId = PortId(3);

    /// One device with ports of VLAN 100, of none, and of 7 in 200; and a device of its own between them.
    fn queues() -> Tagged<MemoryQueues> {
        let place = |first, vlan: &[u16]| Place { first, vlan: vlan.to_vec() };
        let places = [place(A, &[100]), place(A, &[]), place(ELSE, &[]), place(A, &[200, 7])];
        Tagged::new(MemoryQueues::new(4), &places)
    }

    fn frame(tags: &[u8], end: u8) -> Vec<u8> {
        [&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], tags, &[8, 0, end]].concat()
    }

    fn received(queues: &mut Tagged<MemoryQueues>, port: PortId) -> Vec<Vec<u8>> {
        let mut burst = Vec::with_capacity(BURST_MAX);
        assert_eq!(queues.receive(port, &mut burst), 0);
        burst.into_iter().map(|frame| frame.0).collect()
    }

    #[test]
    fn frames_come_to_the_port_of_their_vlan_without_tags_and_in_order() {
        let mut queues = queues();
        let came: [(&[u8], u8); 7] = [
            (&[0x81, 0, 0, 100], 1),
            (&[], 2),
            (&[0x88, 0xa8, 0, 200, 0x81, 0, 0, 7], 3),
            (&[0x81, 0, 0xf0, 100], 4),
            (&[0x81, 0, 0xe0, 0], 5),
            (&[0x81, 0, 0, 200, 0x81, 0, 0, 7], 6),
            (&[0x81, 0, 0, 200], 7),
        ];
        for (tags, end) in came {
            queues.devices_mut().push(A, frame(tags, end));
        }
        queues.devices_mut().push(ELSE, frame(&[0x81, 0, 0, 100], 8));
        let plain = |end| frame(&[], end);
        assert_eq!(received(&mut queues, B), Vec::<Vec<u8>>::new(), "the device is asked by its first port");
        assert_eq!(received(&mut queues, A), [plain(1), plain(4), frame(&[0x81, 0, 0, 200], 7)]);
        assert_eq!(received(&mut queues, B), [plain(2), plain(5)]);
        assert_eq!(received(&mut queues, ELSE), [frame(&[0x81, 0, 0, 100], 8)], "as it came");
        assert_eq!(received(&mut queues, C), [plain(3), plain(6)]);
        assert!([A, B, ELSE, C].into_iter().all(|port| received(&mut queues, port).is_empty()));
    }

    #[test]
    fn a_vlan_is_of_its_device() {
        let places = [A, B].map(|first| Place { first, vlan: vec![100] });
        let mut queues = Tagged::new(MemoryQueues::new(2), &places);
        queues.devices_mut().push(B, frame(&[0x81, 0, 0, 100], 1));
        assert!(received(&mut queues, A).is_empty());
        assert_eq!(received(&mut queues, B), [frame(&[], 1)]);
    }

    #[test]
    fn what_is_in_no_vlan_where_all_ports_are_is_marked() {
        let mut queues = Tagged::new(MemoryQueues::new(1), &[Place { first: A, vlan: vec![100] }]);
        queues.devices_mut().push(A, frame(&[], 1));
        queues.devices_mut().push(A, frame(&[0x81, 0, 0, 0], 2));
        queues.devices_mut().push(A, vec![1; 11]);
        let nowhere = frame(&[0x81, 0, 0xf, 0xff], 1);
        let and_zero = frame(&[0x81, 0, 0xf, 0xff, 0x81, 0, 0, 0], 2);
        assert_eq!(received(&mut queues, A), [nowhere, and_zero, vec![]]);
    }

    #[test]
    fn no_more_than_a_burst_waits_and_nothing_is_lost() {
        let mut queues = queues();
        for end in 0..=255 {
            let tags: &[u8] = if end % 4 == 0 { &[0x81, 0, 0, 100] } else { &[] };
            queues.devices_mut().push(A, frame(tags, end));
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        while a.len() + b.len() < 256 {
            for _ in 0..3 {
                a.extend(received(&mut queues, A));
            }
            b.extend(received(&mut queues, B));
            assert!(received(&mut queues, B).is_empty(), "more than a burst has waited");
        }
        assert_eq!(a, (0..=255).step_by(4).map(|end| frame(&[], end)).collect::<Vec<_>>());
        assert_eq!(b, (0..=255).filter(|end| end % 4 > 0).map(|end| frame(&[], end)).collect::<Vec<_>>());
    }

    /// A queue with room for one frame.
    struct Narrow(Vec<HeapFrame>);

    impl Queues for Narrow {
        type Frame = HeapFrame;

        fn receive(&mut self, _: PortId, _: &mut Vec<HeapFrame>) -> u64 {
            0
        }

        fn transmit(&mut self, port: PortId, burst: &mut Vec<HeapFrame>) {
            assert_eq!(port, A);
            self.0.extend(burst.drain(..1));
        }

        fn can_transmit(&self, port: PortId) -> bool {
            port == A
        }

        fn new_frame(&mut self, _: &[u8]) -> Option<HeapFrame> {
            None
        }
    }

    #[test]
    fn frames_leave_with_their_tags_and_what_is_left_has_none() {
        let places = [Place { first: A, vlan: Vec::new() }, Place { first: A, vlan: vec![200, 7] }];
        let mut queues = Tagged::new(Narrow(Vec::new()), &places);
        assert!(queues.can_transmit(B));
        let mut burst = vec![HeapFrame(vec![9; 11]), HeapFrame(frame(&[], 1)), HeapFrame(frame(&[], 2))];
        queues.transmit(B, &mut burst);
        let tagged = frame(&[0x88, 0xa8, 0, 200, 0x81, 0, 0, 7], 1);
        assert_eq!(queues.port_of(A, &tagged), B);
        assert_eq!(queues.devices_mut().0, [HeapFrame(tagged)]);
        assert_eq!(burst, [HeapFrame(frame(&[], 2)), HeapFrame(vec![9; 11])]);
        queues.transmit(A, &mut burst);
        assert_eq!(queues.devices_mut().0.pop(), Some(HeapFrame(frame(&[], 2))), "as it is");
    }
}
