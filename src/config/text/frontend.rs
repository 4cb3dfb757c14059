//! What clients use: `203.0.113.10:443/tcp` and its broader forms.

use std::net::IpAddr;

use super::{BadText, digits};
use crate::config::model::{Cidr, Frontend, ProtocolSelector};
use crate::wire::{ipv4, ipv6};

/// The shortest prefixes of a frontend: a network that one operator has.
const PREFIX_LEN_MIN: (u8, u8) = (8, 16);

/// `ADDR[/PREFIX]:PORT[-PORT]/PROTO`, IPv6 in brackets.
pub(crate) fn frontend(text: &str) -> Result<Frontend, BadText> {
    let (host, protocol) = text.rsplit_once('/').ok_or(BadText::Frontend)?;
    let (network, ports) = host.rsplit_once(':').ok_or(BadText::Frontend)?;
    let network = bracketed(network)?;
    let protocol = selector(protocol)?;
    let (first_port, last_port) = port_range(ports)?;
    let has_all = (first_port, last_port) == ALL_PORTS;
    match protocol {
        ProtocolSelector::Any if !has_all => return Err(BadText::PortOfAny),
        ProtocolSelector::Other(_) if !has_all && protocol != ProtocolSelector::SCTP => {
            return Err(BadText::PortOfOther);
        }
        _ => {}
    }
    let Cidr { address, prefix_len } = network;
    Ok(Frontend { address, prefix_len, first_port, last_port, protocol })
}

const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// An address or a network before a port: of IPv6 in brackets, for it has colons of its own.
fn bracketed(text: &str) -> Result<Cidr, BadText> {
    let (text, is_ipv6) = match text.strip_prefix('[') {
        Some(rest) => (rest.strip_suffix(']').ok_or(BadText::Frontend)?, true),
        None => (text, false),
    };
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address: IpAddr = address.parse().map_err(|_| BadText::Frontend)?;
    if address.is_ipv6() != is_ipv6 {
        return Err(BadText::Frontend);
    }
    let most = Frontend::prefix_len_max(address);
    let Some(prefix) = prefix else { return Ok(Cidr { address, prefix_len: most }) };
    let least = if is_ipv6 { PREFIX_LEN_MIN.1 } else { PREFIX_LEN_MIN.0 };
    let prefix_len =
        digits(prefix).filter(|len| (least..=most).contains(len)).ok_or(BadText::FrontendPrefix)?;
    let network = Cidr { address, prefix_len };
    if network.is_first(address) { Ok(network) } else { Err(BadText::HostBits) }
}

/// A name or a number.
fn selector(text: &str) -> Result<ProtocolSelector, BadText> {
    let named = ProtocolSelector::NAMED.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    match text {
        "tcp" => return Ok(ProtocolSelector::Tcp),
        "udp" => return Ok(ProtocolSelector::Udp),
        "any" => return Ok(ProtocolSelector::Any),
        _ => {}
    }
    match named.or_else(|| digits::<u8>(text)).ok_or(BadText::Protocol)? {
        ipv4::PROTOCOL_TCP => Ok(ProtocolSelector::Tcp),
        ipv4::PROTOCOL_UDP => Ok(ProtocolSelector::Udp),
        ipv4::PROTOCOL_ICMP | ipv6::PROTOCOL_ICMPV6 => Err(BadText::ProtocolIcmp),
        number => Ok(ProtocolSelector::Other(number)),
    }
}

/// `443`, `8000-8100`, or `0` for all.
fn port_range(text: &str) -> Result<(u16, u16), BadText> {
    let port = |text: &str| digits::<u16>(text).filter(|port| *port != 0);
    match text.split_once('-') {
        None if digits(text) == Some(0) => Ok(ALL_PORTS),
        None => port(text).map(|port| (port, port)).ok_or(BadText::Port),
        Some((first, last)) => {
            let range = port(first).zip(port(last)).filter(|(first, last)| first <= last);
            range.ok_or(BadText::PortRange)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_print_as_they_are_written() {
        for text in [
            "203.0.113.10:443/tcp",
            "[2001:db8::10]:443/udp",
            "203.0.113.10:8000-8100/udp",
            "203.0.113.10:0/tcp",
            "203.0.113.10:0/any",
            "203.0.113.0/28:443/tcp",
            "[2001:db8::/64]:0/any",
            "203.0.113.10:0/sctp",
            "203.0.113.10:5060/sctp",
            "203.0.113.10:0/gre",
            "203.0.113.10:0/esp",
            "[2001:db8::10]:0/ah",
            "203.0.113.10:0/89",
        ] {
            assert_eq!(frontend(text).unwrap().to_string(), text);
        }
        let same = [
            ("203.0.113.10:443/6", "203.0.113.10:443/tcp"),
            ("203.0.113.10/32:443/17", "203.0.113.10:443/udp"),
            ("203.0.113.10:80-80/tcp", "203.0.113.10:80/tcp"),
            ("203.0.113.10:0/47", "203.0.113.10:0/gre"),
        ];
        for (one, other) in same {
            assert_eq!(frontend(one), frontend(other));
        }
    }

    #[test]
    fn bad_frontends_say_why() {
        let bad = [
            ("203.0.113.10:443", BadText::Frontend),
            ("203.0.113.10/tcp", BadText::Frontend),
            ("203.0.113:443/tcp", BadText::Frontend),
            ("2001:db8::10:443/tcp", BadText::Frontend),
            ("[2001:db8::10:443/tcp", BadText::Frontend),
            ("[203.0.113.10]:443/tcp", BadText::Frontend),
            ("[2001:db8::10]/tcp", BadText::Frontend),
            ("[fe80::1%1]:443/tcp", BadText::Frontend),
            ("[2001:db8::]/64:443/tcp", BadText::Frontend),
            ("203.0.113.10:65536/tcp", BadText::Port),
            ("203.0.113.10:+80/tcp", BadText::Port),
            ("203.0.113.10:90-80/tcp", BadText::PortRange),
            ("203.0.113.10:0-80/tcp", BadText::PortRange),
            ("203.0.113.10:80-/tcp", BadText::PortRange),
            ("203.0.113.10:443/any", BadText::PortOfAny),
            ("203.0.113.10:443/gre", BadText::PortOfOther),
            ("203.0.113.10:0/icmp", BadText::Protocol),
            ("203.0.113.10:0/256", BadText::Protocol),
            ("203.0.113.10:0/+89", BadText::Protocol),
            ("203.0.113.10:0/1", BadText::ProtocolIcmp),
            ("[2001:db8::10]:0/58", BadText::ProtocolIcmp),
            ("203.0.113.0/33:80/tcp", BadText::FrontendPrefix),
            ("0.0.0.0/0:80/tcp", BadText::FrontendPrefix),
            ("[2001:db8::/129]:80/tcp", BadText::FrontendPrefix),
            ("203.0.113.10/28:80/tcp", BadText::HostBits),
        ];
        for (text, why) in bad {
            assert_eq!(frontend(text), Err(why), "{text}");
        }
    }

    #[test]
    fn the_more_specific_frontend_comes_first() {
        let ascending = [
            "203.0.113.10:443/tcp",
            "203.0.113.10:440-450/tcp",
            "203.0.113.10:0/tcp",
            "203.0.113.10:0/any",
            "203.0.113.8/29:443/tcp",
            "203.0.113.0/28:443/tcp",
            "203.0.113.0/28:0/any",
        ];
        let all = ascending.map(|text| frontend(text).unwrap());
        assert!(all.is_sorted_by(|one, next| one.precedence() < next.precedence()));
        let address = "203.0.113.10".parse().unwrap();
        assert!(all.iter().all(|one| one.takes(address, Some(443), 6) && one.takes(address, None, 6)));
        assert!(all.iter().all(|one| !one.takes("203.0.113.16".parse().unwrap(), Some(443), 6)));
        assert!(all.iter().all(|one| !one.takes(address, Some(443), 132)));
        let by_udp = all.iter().filter(|one| one.takes(address, Some(443), 17));
        assert_eq!(by_udp.count(), 2);
    }
}
