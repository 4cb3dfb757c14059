//! How packets reach a backend.

use std::net::IpAddr;

use super::{BadText, RANGE_LEN_MAX, address, cidr, digits};
use crate::config::model::{AddressRange, Cidr, ForwardMode, OutboundProtocol, TunnelSource, number};

/// `nat`, `full-nat` and so on.
pub(crate) fn forward(text: &str) -> Result<ForwardMode, BadText> {
    let known = ForwardMode::ALL.iter().find(|(word, _)| *word == text).map(|(_, mode)| *mode);
    known.ok_or(BadText::Choice("nat, full-nat, dsr, ipip, gre, gue or vxlan"))
}

/// `tcp`, `udp`, `any`.
pub(crate) fn outbound_protocol(text: &str) -> Result<OutboundProtocol, BadText> {
    match text {
        "tcp" => Ok(OutboundProtocol::Tcp),
        "udp" => Ok(OutboundProtocol::Udp),
        "any" => Ok(OutboundProtocol::Any),
        _ => Err(BadText::Choice("tcp, udp or any")),
    }
}

/// What of the client full NAT passes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientAddress {
    Toa,
    ProxyV2,
}

/// `toa`, `proxy-v2`.
pub(crate) fn client_address(text: &str) -> Result<ClientAddress, BadText> {
    match text {
        "toa" => Ok(ClientAddress::Toa),
        "proxy-v2" => Ok(ClientAddress::ProxyV2),
        _ => Err(BadText::Choice("toa or proxy-v2")),
    }
}

/// `1400`, `true`; `false` is the default.
pub(crate) fn mss_clamp(text: &str) -> Result<RawClamp, BadText> {
    match text {
        "true" => Ok(RawClamp::FromMtu),
        "false" => Ok(RawClamp::Off),
        _ => text.parse().map(RawClamp::To).map_err(|_| BadText::Clamp),
    }
}

/// The most that either end may ask for as its maximum segment size, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RawClamp {
    Off,
    FromMtu,
    To(i128),
}

/// `100`, `200,100`: VLAN tags, the outer first.
pub(crate) fn vlans(text: &str) -> Result<Vec<i128>, BadText> {
    text.split(',').map(|tag| digits::<i128>(tag.trim())).collect::<Option<_>>().ok_or(BadText::Vlans)
}

/// `10.0.1.4-10.0.1.99`.
pub(crate) fn address_range(text: &str) -> Result<AddressRange, BadText> {
    let (first, last) = text.split_once('-').ok_or(BadText::AddressRange)?;
    let parse = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| BadText::AddressRange);
    let range = AddressRange { first: parse(first)?, last: parse(last)? };
    let same_16 = number(range.first) >> 16 == number(range.last) >> 16;
    match () {
        () if range.first.is_ipv4() != range.last.is_ipv4() => Err(BadText::AddressRange),
        () if range.last < range.first => Err(BadText::RangeBackwards),
        () if !same_16 && range.len() > RANGE_LEN_MAX => Err(BadText::RangeTooLong),
        () => Ok(range),
    }
}

/// The same, or one address.
pub(crate) fn addresses(text: &str) -> Result<AddressRange, BadText> {
    match text.parse() {
        Ok(address) => Ok(AddressRange { first: address, last: address }),
        Err(_) => address_range(text),
    }
}

/// The most bits of a tunnel's source that a flow's hash takes the place of.
const TUNNEL_SOURCE_BITS_MAX: u32 = 16;

/// `10.0.0.1`, `172.16.0.0/16`.
pub(crate) fn tunnel_source(text: &str) -> Result<TunnelSource, BadText> {
    if !text.contains('/') {
        let address = address(text)?;
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        return Ok(TunnelSource(Cidr { address, prefix_len }));
    }
    let network = cidr(text)?;
    match () {
        () if !network.is_first(network.address) => Err(BadText::HostBits),
        () if network.host_bits() > TUNNEL_SOURCE_BITS_MAX => Err(BadText::TunnelPrefix),
        () => Ok(TunnelSource(network)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses_are_bounded() {
        assert_eq!(address_range("10.0.1.4-10.0.1.99").map(AddressRange::len), Ok(96));
        assert_eq!(address_range("10.0.0.0-10.0.255.255").map(AddressRange::len), Ok(65_536));
        assert_eq!(address_range("10.0.255.0-10.1.14.255").map(AddressRange::len), Ok(4096));
        assert_eq!(address_range("10.0.255.0-10.1.15.0"), Err(BadText::RangeTooLong));
        assert_eq!(address_range("10.0.1.4-10.0.1.3"), Err(BadText::RangeBackwards));
        assert_eq!(address_range("10.0.1.4"), Err(BadText::AddressRange));
        assert_eq!(addresses("10.0.1.4").map(AddressRange::len), Ok(1));
        assert_eq!(address_range("10.0.1.4-2001:db8::1"), Err(BadText::AddressRange));
        assert_eq!(address_range("2001:db8::-2001:db8::ffff").map(AddressRange::len), Ok(65_536));
        assert_eq!(address_range("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Err(BadText::RangeTooLong));
        let last = address_range("2001:db8::fff0-2001:db8::1:0").unwrap().addresses().last();
        assert_eq!(last, "2001:db8::1:0".parse().ok());
    }

    #[test]
    fn sources_of_tunnels_are_addresses_and_networks() {
        let bits = |text| tunnel_source(text).map(|source| source.0.host_bits());
        assert_eq!((bits("10.0.0.1"), bits("10.0.0.1/32"), bits("2001:db8::1")), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(
            (bits("172.16.0.0/16"), bits("2001:db8::/112"), bits("10.0.0.4/30")),
            (Ok(16), Ok(16), Ok(2))
        );
        assert_eq!(
            (bits("172.16.0.0/15"), bits("2001:db8::/111")),
            (Err(BadText::TunnelPrefix), Err(BadText::TunnelPrefix))
        );
        assert_eq!(
            (bits("172.16.0.1/16"), bits("10.0.0.0/33")),
            (Err(BadText::HostBits), Err(BadText::PrefixLen))
        );
        assert_eq!((bits("a"), bits("a/16")), (Err(BadText::Address), Err(BadText::Cidr)));
    }

    #[test]
    fn ways_print_as_they_are_written() {
        for (word, mode) in ForwardMode::ALL {
            assert_eq!((forward(word), mode.to_string().as_str()), (Ok(mode), word));
        }
        assert_eq!(forward("nat "), Err(BadText::Choice("nat, full-nat, dsr, ipip, gre, gue or vxlan")));
        assert_eq!(vlans("200, 100"), Ok(vec![200, 100]));
        for text in ["", "1,", "-1", "a"] {
            assert_eq!(vlans(text), Err(BadText::Vlans), "{text}");
        }
        assert_eq!((mss_clamp("true"), mss_clamp("1400")), (Ok(RawClamp::FromMtu), Ok(RawClamp::To(1400))));
        assert_eq!(mss_clamp("yes"), Err(BadText::Clamp));
    }
}
