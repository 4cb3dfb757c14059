//! Every reason for which a frame is not sent on. Each has a counter, a label and a line in
//! `docs/COUNTERS.md`.

/// One row a reason: variant, label, and the sentence an operator reads.
macro_rules! drop_reasons {
    ($($variant:ident $label:literal $meaning:literal,)*) => {
        /// Why a frame was not sent on.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $meaning] $variant,)*
        }

        impl DropReason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in counters and metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// What happened, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    EthernetTruncated "ethernet-truncated" "The frame is shorter than an Ethernet header.",
    WrongMac "wrong-mac" "The frame is addressed to another station, or is IP in a broadcast or multicast frame.",
    BroadcastSource "broadcast-source" "An echo request says it comes from the Ethernet broadcast address, where no answer may go.",
    NotIp "not-ip" "The frame carries neither IPv4, IPv6 nor ARP.",
    Segmented "segmented" "The driver delivered the frame in several pieces.",
    VlanTagged "vlan-tagged" "The frame is in a VLAN, or in more than one, that no port of its device is in.",
    VlanMissing "vlan-missing" "The frame is in no VLAN, and each port of its device is in one; or it has a tag of VLAN 4095, which is none.",
    ArpMalformed "arp-malformed" "The ARP packet is cut short, or not one for IPv4 over Ethernet.",
    ArpNotOurs "arp-not-ours" "The ARP packet does not concern an address of ours.",
    ArpConflict "arp-conflict" "Another station claims an address of ours.",
    NdMalformed "nd-malformed" "A neighbour solicitation or advertisement is one that must be discarded: its hop limit, checksum, code, target, an option or a fragment header is wrong.",
    NdNotOurs "nd-not-ours" "The neighbour solicitation or advertisement does not concern an address of ours.",
    NdConflict "nd-conflict" "Another station claims an IPv6 address of ours.",
    Ipv4Truncated "ipv4-truncated" "The frame ends before the IPv4 header or before the packet's total length.",
    Ipv4BadHeader "ipv4-bad-header" "The version is not 4, or header length and total length contradict each other.",
    Ipv4BadChecksum "ipv4-bad-checksum" "The checksum of the IPv4 header is wrong.",
    Ipv6Truncated "ipv6-truncated" "The frame ends before the IPv6 header or before the payload length.",
    Ipv6BadHeader "ipv6-bad-header" "The version is not 6, the packet is longer than 65,535 bytes, or says that it is a jumbogram.",
    Ipv6BadExtension "ipv6-bad-extension" "An extension header ends beyond the packet or within its own fixed part, is a second fragment header, or is hop-by-hop options that are not the first.",
    Ipv6LongExtensions "ipv6-long-extensions" "The packet has more than 8 extension headers, or more than 256 bytes of them.",
    Ipv6SourceRoute "ipv6-source-route" "The packet has a routing header of type 0, which is forbidden, or one that still names nodes to visit.",
    Fragment "fragment" "A fragment of what does not go on in parts: an ICMP message other than an echo request to us, a segment that is answered by a reset, or what lacks something that the other family needs, as a UDP datagram without a checksum does.",
    FragmentTiny "fragment-tiny" "A first fragment does not hold the whole header of what it carries.",
    FragmentInHeader "fragment-in-header" "A TCP fragment begins where the TCP header still is, which only the first may hold.",
    FragmentBadLength "fragment-bad-length" "A fragment is empty, ends beyond 65,535 bytes, or is not the last and no multiple of 8 bytes long.",
    FragmentDuplicate "fragment-duplicate" "The same part of the datagram has come before.",
    FragmentOverlap "fragment-overlap" "Parts of the datagram overlap, or differ on its end (RFC 5722): what is left of it is dropped.",
    FragmentTooMany "fragment-too-many" "The datagram has more than 64 parts: what is left of it is dropped.",
    FragmentTableFull "fragment-table-full" "The fragment waited for the first of its datagram, and gave way to younger ones.",
    FragmentLimit "fragment-limit" "The worker has taken its 400,000 fragments of this second.",
    FragmentTimedOut "fragment-timed-out" "The first fragment of the datagram did not come within two seconds, or was lost between two workers.",
    MartianSource "martian-source" "The source address is one no sender can have: our own, in 0.0.0.0/8 or 127.0.0.0/8, or above 223.255.255.255; or in ::/64, fe80::/10 or ff00::/8.",
    TcpTruncated "tcp-truncated" "The packet ends before the TCP header does.",
    TcpBadOffset "tcp-bad-offset" "The data offset is below 5, or points past the end of the packet.",
    TcpBadFlags "tcp-bad-flags" "No TCP segment has this combination of control bits: SYN with FIN or RST, or none of SYN, ACK and RST.",
    UdpTruncated "udp-truncated" "The packet ends before the UDP header does.",
    UdpBadLength "udp-bad-length" "The UDP length is not that of the packet's payload.",
    PortZero "port-zero" "A port of the packet is 0, which is reserved.",
    IcmpMalformed "icmp-malformed" "The ICMP message is cut short or its checksum is wrong.",
    IcmpBadQuote "icmp-bad-quote" "The packet that an ICMP error quotes has a wrong header, or is cut off before its ports.",
    IcmpUnhandled "icmp-unhandled" "An ICMP message to an address of ours that is neither an echo request nor an error about a packet of a rule's.",
    IcmpUnknownTunnel "icmp-unknown-tunnel" "An ICMP error about a packet in a tunnel quotes too little to say whose it was, or one that its backend has not been sent.",
    EchoOff "echo-off" "An echo request to a frontend whose rules all say that none is answered.",
    EchoLimited "echo-limited" "An echo request that would have been one too many to answer.",
    ErrorLimited "error-limited" "An ICMP error about the packet would have been one too many to send.",
    NoRule "no-rule" "The packet is for an address of ours, but no rule takes its protocol and port.",
    AclDenied "acl-denied" "The access list of the rule does not let the client begin a flow.",
    Hairpin "hairpin" "A backend's own connection to a frontend would come back to that backend.",
    MartianDestination "martian-destination" "A backend's packet is to an address no client can have: in 0.0.0.0/8 or 127.0.0.0/8, or above 223.255.255.255; or in ::/64, fe80::/10 or ff00::/8.",
    WrongPort "wrong-port" "A packet with a backend's source address came in by a port that does not lead to it.",
    NotOurs "not-ours" "The packet is neither for us nor from a backend to a client.",
    TtlExceeded "ttl-exceeded" "The packet has no hop left.",
    NoBackendAvailable "no-backend-available" "The rule has no backend that takes new flows.",
    NoSourcePort "no-source-port" "Full NAT has no port of its source addresses left for a new flow.",
    OutboundNoPort "outbound-no-port" "A backend opens a connection, and its outbound rule has no port left that it could leave from to there.",
    OutboundTableFull "outbound-table-full" "A backend opens a connection, and the worker that has its flows has as many as it can have.",
    OutboundNoFlow "outbound-no-flow" "A backend's segment is of no connection that is known, and does not begin one.",
    OutboundFiltered "outbound-filtered" "The packet is to a port of an outbound rule, from somebody to whom the backend has sent nothing from there, or for too long.",
    OutboundHairpin "outbound-hairpin" "A backend's packet is to an address that backends' own connections leave from.",
    NoRoute "no-route" "The destination is on no connected network, and there is no gateway.",
    NeighbourUnresolved "neighbour-unresolved" "The next hop's Ethernet address is not known yet; it is being asked for.",
    NoHeadroom "no-headroom" "The driver left no room in front of the packet for the headers of its tunnel.",
    ExceedsMtu "exceeds-mtu" "The packet is larger than the MTU of the port it would leave by, and may not be cut up.",
    NoFrame "no-frame" "The packet was to leave in parts, and there was no memory for one of them.",
    TransmitFull "transmit-full" "The transmit queue of the port took no more frames.",
    HandoverFull "handover-full" "The queue to the worker that owns the flow was full.",
    ControlFull "control-full" "An answer to a probe found the queue to the management thread full.",
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_the_order_is_that_of_the_counters() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
    }

    #[test]
    fn every_reason_has_a_line_in_the_documentation() {
        let docs = include_str!("../docs/COUNTERS.md");
        for reason in DropReason::ALL {
            let row = format!("| `{}` | {} |", reason.label(), reason.meaning());
            assert!(docs.contains(&row), "docs/COUNTERS.md lacks: {row}");
        }
    }
}
