//! What became of a frame, in words.

use std::fmt::Write;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::Names;
use crate::config::Frontend;
use crate::io::PortId;
use crate::watch::{About, Direction, End, FlowStory};
use crate::wire::{icmp, icmpv6};

/// One line: the end first, then by what and by whom.
pub(super) fn comment(about: &About, frame: &[u8], names: &Names) -> String {
    let verb = |done: &str| match about.direction {
        Direction::Received => done.to_owned(),
        Direction::Sent => format!("sent: {done}"),
    };
    let mut text = match about.end {
        End::Forwarded(..) => verb("forwarded"),
        End::Answered(..) => format!("{} ({})", verb("answered"), kind(frame)),
        End::Controlled => format!("taken note of ({})", kind(frame)),
        End::HandedOver => "handed over to another worker".into(),
        End::Dropped(reason) => format!("dropped: {}", reason.label()),
        End::Originated => format!("originated ({})", kind(frame)),
    };
    if let Some(flow) = &about.flow {
        let (whither, rule) = (whither(about, flow), rule(flow.frontend, names));
        // Writing to a string does not fail. What drops a frame is not the rule.
        let _ = match about.end {
            End::Dropped(_) if whither.is_empty() => write!(text, ", for rule {rule}"),
            End::Dropped(_) => write!(text, ", on its way{whither} for rule {rule}"),
            _ => write!(text, "{whither} by rule {rule}"),
        };
    }
    if let End::Forwarded(port, _) | End::Answered(port, _) = about.end
        && about.direction == Direction::Received
    {
        let _ = write!(text, ", on {}", self::port(port, names));
    }
    let _ = write!(text, ", worker {}", about.worker);
    text
}

/// " to 10.0.0.4:8080", or " from" there to the client.
fn whither(about: &About, flow: &FlowStory) -> String {
    let client = about.rewritten.filter(|_| flow.is_response).map(|rewritten| rewritten.destination);
    match (flow.backend, flow.is_response) {
        (Some(backend), false) => format!(" to {backend}"),
        (Some(backend), true) => {
            format!(" from {backend}{}", client.map(|client| format!(" to {client}")).unwrap_or_default())
        }
        (None, _) => String::new(),
    }
}

/// The name of a rule, or its frontend where a reload has taken the name.
pub(super) fn rule(frontend: Frontend, names: &Names) -> String {
    names.rules.get(&frontend).cloned().unwrap_or_else(|| frontend.to_string())
}

/// The name of a port.
pub(super) fn port(port: PortId, names: &Names) -> String {
    names.ports.get(port.index()).cloned().unwrap_or_else(|| port.0.to_string())
}

/// What a frame is that we answer, keep or send ourselves.
fn kind(frame: &[u8]) -> &'static str {
    // Of a long frame only the beginning is kept.
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return "unknown" };
    match (packet.net, packet.transport) {
        (Some(LaxNetSlice::Arp(_)), _) => "ARP",
        // Of flows whose backend's drain is over its time.
        (_, Some(TransportSlice::Tcp(tcp))) if tcp.rst() => "reset",
        (_, Some(TransportSlice::Tcp(_))) => "TCP",
        (_, Some(TransportSlice::Icmpv4(icmp))) => match icmp.type_u8() {
            icmp::TYPE_ECHO | icmp::TYPE_ECHO_REPLY => "echo",
            _ => "ICMP error",
        },
        (_, Some(TransportSlice::Icmpv6(icmp))) => match icmp.type_u8() {
            icmpv6::TYPE_ECHO | icmpv6::TYPE_ECHO_REPLY => "echo",
            icmpv6::TYPE_SOLICITATION | icmpv6::TYPE_ADVERTISEMENT => "neighbour discovery",
            icmpv6::TYPE_LISTENER_REPORT => "groups",
            _ => "ICMP error",
        },
        (_, Some(TransportSlice::Udp(_))) => "UDP",
        (Some(LaxNetSlice::Ipv4(ip)), None) if ip.payload().fragmented => "fragment",
        (Some(LaxNetSlice::Ipv6(ip)), None) if ip.payload().fragmented => "fragment",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MacAddr, mld, nd};

    #[test]
    fn frames_are_named_by_what_they_are() {
        let (mac, us) = (MacAddr([2, 0, 0, 0, 0, 1]), "2001:db8::1".parse().unwrap());
        assert_eq!(kind(&nd::probe(mac, us)), "neighbour discovery");
        assert_eq!(kind(&mld::report(mac, us, us)), "groups");
        let mut part = Vec::new();
        let mut header =
            etherparse::Ipv4Header::new(8, 64, etherparse::IpNumber::ICMP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        header.more_fragments = true;
        part.extend([0; 12]);
        part.extend([8, 0]);
        header.write(&mut part).unwrap();
        part.extend([0; 8]);
        assert_eq!(kind(&part), "fragment");
    }
}
