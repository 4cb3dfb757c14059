//! Small parsers: from the text of one value to what it means. Pure; file and flags share them.

mod acl;
mod control;
mod forward;
mod frontend;
mod nat_rule;
mod quic;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::model::{AdminState, Cidr, Distribution, HashKey, Idle, NoHealthyBackends};
use super::probe::{ProbeKind, Statuses, Via};
use crate::wire::MacAddr;

pub(crate) use acl::acl_rule;
pub(crate) use control::{group, metrics, socket_address, socket_path};
pub(crate) use forward::{
    ClientAddress, RawClamp, address_range, addresses, client_address, forward, mss_clamp, outbound_protocol,
    tunnel_source, vlans,
};
pub(crate) use frontend::frontend;
pub(crate) use nat_rule::{backend, nat_forward, nat_port};
pub(crate) use quic::{QuicKind, quic, quic_key, quic_server_id};

/// What is wrong with a text. Displays as the end of a sentence that quotes the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadText {
    /// No address at all.
    Address,
    /// No IPv4 address.
    Ipv4Address,
    /// IPv4 under the key for IPv6.
    Ipv4Gateway,
    /// IPv6 under the key for IPv4.
    Ipv6Gateway,
    /// No IPv6 address.
    Ipv6Address,
    /// No address in its network.
    Cidr,
    /// More bits than an address has.
    PrefixLen,
    /// No `ADDR:PORT/PROTO`.
    Frontend,
    /// No rule of an access list.
    AclRule,
    /// No address of a backend, with a port or without.
    Backend,
    /// No address of a backend with the port that it is to have.
    NatPort,
    /// No protocol's name or number.
    Protocol,
    /// ICMP, which is answered or goes with the flows it is about.
    ProtocolIcmp,
    /// Not 1 to 65535.
    Port,
    /// No `FIRST-LAST`.
    PortRange,
    /// Some ports of all protocols.
    PortOfAny,
    /// Some ports of a protocol without any.
    PortOfOther,
    /// Not 8 to 32, or 16 to 128.
    FrontendPrefix,
    /// No network's first address.
    HostBits,
    /// More addresses than 16 bits can tell apart.
    TunnelPrefix,
    /// No whole number, and not `true`.
    Clamp,
    /// No VLAN tags.
    Vlans,
    /// No network by its first address.
    Route,
    /// No duration with a unit.
    Duration,
    /// No whole number.
    Integer,
    /// No list of CPUs.
    CpuList,
    /// A CPU number beyond [`CPU_MAX`].
    CpuTooLarge,
    /// One CPU for two workers.
    CpuTwice,
    /// No Ethernet address.
    Mac,
    /// No station's Ethernet address.
    MacNotUnicast,
    /// No 32 hex digits. The text is never shown.
    HashKey,
    /// No 1 to 15 bytes in hex.
    QuicServerId,
    /// No `FIRST-LAST`.
    AddressRange,
    /// The last address lies before the first.
    RangeBackwards,
    /// More addresses than a pool's range may have.
    RangeTooLong,
    /// No path of a URL.
    UrlPath,
    /// No host of a URL.
    Host,
    /// No statuses of HTTP.
    Statuses,
    /// Nothing, or control characters.
    Blank,
    /// Longer than the kernel's name of a Unix socket.
    SocketPath,
    /// No address and port.
    SocketAddress,
    /// No address and port, and not "off".
    MetricsAddress,
    /// No group of this machine.
    Group,
    /// None of the words that may stand there, which are these.
    Choice(&'static str),
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuicServerId => "which is not 1 to 15 bytes in hex; write it as 000b",
            Self::Address => "which is not an address; write it as 10.0.0.4 or 2001:db8::4",
            Self::Ipv4Address => "which is not an IPv4 address; write it as 198.51.100.1",
            Self::Ipv4Gateway => "which is IPv4; use the key gateway",
            Self::Ipv6Gateway => "which is IPv6; use the key gateway6",
            Self::Ipv6Address => "which is not an IPv6 address; write it as 2001:db8::1",
            Self::Cidr => "which is not an address with its prefix; write it as 198.51.100.2/24 or 2001:db8:1::2/64",
            Self::PrefixLen => "whose prefix is too long; the most are /32 for IPv4 and /128 for IPv6",
            Self::Frontend => {
                "which is not ADDR:PORT/PROTO; write it as 203.0.113.10:443/tcp or [2001:db8::10]:443/tcp"
            }
            Self::AclRule => "which is not a rule with a network by its first address; write it as permit 198.51.100.0/24 or deny 0.0.0.0/0",
            Self::Backend => "which is not a backend; write it as 10.0.0.4:22 or [2001:db8::4]:22, or without a port",
            Self::NatPort => "which is not a backend with its port; write it as 10.0.0.4=2201",
            Self::Protocol => "whose protocol is unknown; use tcp, udp, any, sctp, gre, esp, ah or a number to 255",
            Self::ProtocolIcmp => "whose protocol is ICMP, which goes with the flows it is about; icmp_echo says whether pings are answered",
            Self::Port => "whose port is not a number from 1 to 65535",
            Self::PortRange => "whose ports are not a range of 1 to 65535; write it as 8000-8100, or 0 for all",
            Self::PortOfAny => "which has some ports of any protocol; write port 0 for all ports, or make a rule for tcp and one for udp",
            Self::PortOfOther => "whose protocol has no ports; write port 0",
            Self::FrontendPrefix => "whose prefix is not /8 to /32, or of IPv6 /16 to /128",
            Self::HostBits => "whose address is not the first of its network; correct the address, or the prefix",
            Self::TunnelPrefix => "whose prefix is not /16 to /32, or of IPv6 /112 to /128",
            Self::Clamp => "which is neither a number of bytes nor true",
            Self::Vlans => "which is not one VLAN tag or two; write them as 100 or 200,100, the outer first",
            Self::Route => "which is no network, or its address is not the first; write it as 10.9.0.0/16",
            Self::Duration => "which is not a duration with a unit; write it as 250ms, 5s, 4m or 1h30m",
            Self::Integer => "which is not a whole number",
            Self::CpuList => "which is not a list of CPUs; write it as 2-5 or 0,2-5",
            Self::CpuTooLarge => "which has a CPU above 1023",
            Self::CpuTwice => "which has a CPU twice; each worker needs its own",
            Self::Mac => "which is not an Ethernet address; write it as 02:00:00:00:00:04",
            Self::MacNotUnicast => "which is no station's address: it is zero, multicast or broadcast",
            Self::HashKey => "which is not 32 hex digits",
            Self::AddressRange => "which is not a range of addresses; write it as 10.0.1.4-10.0.1.99",
            Self::RangeBackwards => "which ends before it begins; swap the two addresses",
            Self::RangeTooLong => "which is too long; stay within one /16 (of IPv6 one /112), or below 4097 addresses",
            Self::UrlPath => "which is not a path; begin it with / and leave out spaces",
            Self::Host => "which is not a host; write a name or an address, with a port or without",
            Self::Statuses => "which is not a list of statuses; write it as 200 or 200,204 or 200-299",
            Self::Blank => "which is empty or has control characters",
            Self::SocketPath => "which is empty, has control characters, or is longer than 107 bytes",
            Self::SocketAddress => "which is not an address with a port; write it as 127.0.0.1:9465",
            Self::MetricsAddress => "which is not an address with a port; write it as 127.0.0.1:9464, or off",
            Self::Group => "which is not a group of this machine; make it with: groupadd --system NAME",
            Self::Choice(words) => return write!(f, "which is unknown; choose {words}"),
        })
    }
}

/// The largest CPU number: the kernel's `CPU_SETSIZE` (sched.h) less one.
pub const CPU_MAX: usize = 1023;

/// The most addresses of a pool's range that leaves its /16, or of IPv6 its /112.
pub const RANGE_LEN_MAX: u64 = 4096;

/// The most bytes in the path of a Unix socket: `sun_path` less its closing zero, unix(7).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// An address.
pub(crate) fn address(text: &str) -> Result<IpAddr, BadText> {
    text.parse().map_err(|_| BadText::Address)
}

/// An IPv4 address under `gateway`.
pub(crate) fn gateway(text: &str) -> Result<Ipv4Addr, BadText> {
    let other = || if Ipv6Addr::from_str(text).is_ok() { BadText::Ipv6Gateway } else { BadText::Ipv4Address };
    text.parse().map_err(|_| other())
}

/// An IPv6 address under `gateway6`.
pub(crate) fn gateway6(text: &str) -> Result<Ipv6Addr, BadText> {
    let other = || if Ipv4Addr::from_str(text).is_ok() { BadText::Ipv4Gateway } else { BadText::Ipv6Address };
    text.parse().map_err(|_| other())
}

/// An address in its network, `198.51.100.2/24`.
pub(crate) fn cidr(text: &str) -> Result<Cidr, BadText> {
    let (address, prefix) = text.split_once('/').ok_or(BadText::Cidr)?;
    let prefix_len = digits::<u8>(prefix).ok_or(BadText::Cidr)?;
    let address: IpAddr = address.parse().map_err(|_| BadText::Cidr)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    if prefix_len <= bits { Ok(Cidr { address, prefix_len }) } else { Err(BadText::PrefixLen) }
}

/// A network, by its first address: `10.9.0.0/16`.
pub(crate) fn network(text: &str) -> Result<Cidr, BadText> {
    cidr(text).ok().filter(|cidr| cidr.is_first(cidr.address)).ok_or(BadText::Route)
}

/// 1 to 65535.
pub(crate) fn port(text: &str) -> Result<u16, BadText> {
    digits(text).filter(|port| *port != 0).ok_or(BadText::Port)
}

/// `4m`, `250ms`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, BadText> {
    // humantime reads a bare 0; nothing here is measured in "0".
    let has_unit = text.chars().last().is_some_and(char::is_alphabetic);
    humantime::parse_duration(text).ok().filter(|_| has_unit).ok_or(BadText::Duration)
}

/// A whole number; underscores as in TOML.
pub(crate) fn integer(text: &str) -> Result<i128, BadText> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    text.replace('_', "").parse().ok().filter(|_| is_plain).ok_or(BadText::Integer)
}

/// `0,2-5`: in the order given, no CPU twice.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>, BadText> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        for cpu in cpu_range(part.trim())? {
            if cpus.contains(&cpu) {
                return Err(BadText::CpuTwice);
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn cpu_range(text: &str) -> Result<RangeInclusive<usize>, BadText> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = digits(first).ok_or(BadText::CpuList)?;
    let last = digits(last).ok_or(BadText::CpuList)?;
    match () {
        () if last < first => Err(BadText::CpuList),
        () if last > CPU_MAX => Err(BadText::CpuTooLarge),
        () => Ok(first..=last),
    }
}

/// The Ethernet address of a station.
pub(crate) fn mac(text: &str) -> Result<MacAddr, BadText> {
    let mac: MacAddr = text.parse().map_err(|_| BadText::Mac)?;
    if mac.is_group() || mac == MacAddr::ZERO { Err(BadText::MacNotUnicast) } else { Ok(mac) }
}

/// 32 hex digits.
pub(crate) fn hash_key(text: &str) -> Result<HashKey, BadText> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(BadText::HashKey)?;
    Ok(HashKey(key.to_be_bytes()))
}

/// The path of an HTTP request: printable ASCII, as RFC 9112 section 3.2.1 wants it.
pub(crate) fn url_path(text: &str) -> Result<String, BadText> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    // As the library sees it that asks.
    let is_path = is_path && text.parse::<hyper::http::uri::PathAndQuery>().is_ok();
    if is_path { Ok(text.to_owned()) } else { Err(BadText::UrlPath) }
}

/// Any text of one line.
pub(crate) fn line(text: &str) -> Result<String, BadText> {
    let is_blank = text.trim().is_empty() || text.chars().any(char::is_control);
    if is_blank { Err(BadText::Blank) } else { Ok(text.to_owned()) }
}

/// Any text; names are judged later, where their kind is known.
pub(crate) fn any(text: &str) -> Result<String, BadText> {
    Ok(text.to_owned())
}

/// `spin`, `pause`, `sleep`.
pub(crate) fn idle(text: &str) -> Result<Idle, BadText> {
    match text {
        "spin" => Ok(Idle::Spin),
        "pause" => Ok(Idle::Pause),
        "sleep" => Ok(Idle::Sleep),
        _ => Err(BadText::Choice("spin, pause or sleep")),
    }
}

/// `auto`, `up`, `down`, `drain`.
pub(crate) fn admin_state(text: &str) -> Result<AdminState, BadText> {
    match text {
        "auto" => Ok(AdminState::Auto),
        "up" => Ok(AdminState::Up),
        "down" => Ok(AdminState::Down),
        "drain" => Ok(AdminState::Drain),
        _ => Err(BadText::Choice("auto, up, down or drain")),
    }
}

/// `5-tuple`, `source-ip`, `source-ip-protocol`.
pub(crate) fn distribution(text: &str) -> Result<Distribution, BadText> {
    match text {
        "5-tuple" => Ok(Distribution::FiveTuple),
        "source-ip" => Ok(Distribution::SourceIp),
        "source-ip-protocol" => Ok(Distribution::SourceIpProtocol),
        _ => Err(BadText::Choice("5-tuple, source-ip or source-ip-protocol")),
    }
}

/// `drop`, `all`.
pub(crate) fn no_healthy_backends(text: &str) -> Result<NoHealthyBackends, BadText> {
    match text {
        "drop" => Ok(NoHealthyBackends::Drop),
        "all" => Ok(NoHealthyBackends::All),
        _ => Err(BadText::Choice("drop or all")),
    }
}

/// `tcp`, `http`, `https`.
pub(crate) fn probe_kind(text: &str) -> Result<ProbeKind, BadText> {
    match text {
        "tcp" => Ok(ProbeKind::Tcp),
        "http" => Ok(ProbeKind::Http),
        "https" => Ok(ProbeKind::Https),
        _ => Err(BadText::Choice("tcp, http or https")),
    }
}

/// `host`, `port`.
pub(crate) fn probe_via(text: &str) -> Result<Via, BadText> {
    match text {
        "host" => Ok(Via::Host),
        "port" => Ok(Via::Port),
        _ => Err(BadText::Choice("host or port")),
    }
}

/// What a `Host` header says: a name or an address, with a port or without.
pub(crate) fn host(text: &str) -> Result<String, BadText> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_sound = !text.is_empty() && text.len() <= 255 && text.bytes().all(is_host);
    if is_sound { Ok(text.to_owned()) } else { Err(BadText::Host) }
}

/// `true`, `false`, as the file has them.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, BadText> {
    text.parse().map_err(|_| BadText::Choice("true or false"))
}

/// Statuses of HTTP: numbers and ranges, as in `200,204` or `200-299`.
pub(crate) fn statuses(text: &str) -> Result<Statuses, BadText> {
    let status = |text: &str| digits::<u16>(text.trim()).filter(|status| (100..=599).contains(status));
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = (status(first)?, status(last)?);
        (range.0 <= range.1).then_some(range)
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().map(Statuses).ok_or(BadText::Statuses)
}

/// Digits only: `parse` alone would take a plus sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_numbers_and_ranges() {
        assert_eq!(cpu_list("0,2-5"), Ok(vec![0, 2, 3, 4, 5]));
        assert_eq!(cpu_list("3, 1"), Ok(vec![3, 1]));
        let bad = [
            ("", BadText::CpuList),
            ("1,", BadText::CpuList),
            ("5-2", BadText::CpuList),
            ("+1", BadText::CpuList),
            ("1,0-2", BadText::CpuTwice),
            ("1024", BadText::CpuTooLarge),
            ("0-18446744073709551615", BadText::CpuTooLarge),
            ("99999999999999999999", BadText::CpuList),
        ];
        for (text, why) in bad {
            assert_eq!(cpu_list(text), Err(why), "{text}");
        }
    }

    #[test]
    fn addresses_need_their_prefix() {
        let outside = Cidr { address: [198, 51, 100, 2].into(), prefix_len: 24 };
        assert_eq!(cidr("198.51.100.2/24"), Ok(outside));
        assert_eq!(cidr("2001:db8:1::2/64").unwrap().to_string(), "2001:db8:1::2/64");
        assert_eq!(cidr("198.51.100.2"), Err(BadText::Cidr));
        assert_eq!(cidr("198.51.100.2/33"), Err(BadText::PrefixLen));
        assert_eq!(cidr("198.51.100.2/256"), Err(BadText::Cidr));
        assert_eq!(cidr("2001:db8::/129"), Err(BadText::PrefixLen));
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("4m", 240_000), ("5s", 5_000), ("250ms", 250), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "4", "4 parsecs", "-3s", "99999999999999999999s"] {
            assert_eq!(duration(text), Err(BadText::Duration), "{text}");
        }
    }

    #[test]
    fn statuses_are_numbers_and_ranges() {
        assert_eq!(statuses("200"), Ok(Statuses::default()));
        assert_eq!(statuses("200-299, 404"), Ok(Statuses(vec![(200, 299), (404, 404)])));
        assert_eq!(statuses("204,301-303").unwrap().to_string(), "204,301-303");
        for text in ["", "200,", "99", "600", "299-200", "200-", "+200", "200 299", "ok"] {
            assert_eq!(statuses(text), Err(BadText::Statuses), "{text}");
        }
    }

    #[test]
    fn paths_and_hosts_can_be_asked_for() {
        for text in ["/", "/healthz?deep=1", "/a%20b"] {
            assert_eq!(url_path(text).as_deref(), Ok(text));
        }
        for text in ["", "healthz", "/a b", "/\u{e4}", "/a<b"] {
            assert_eq!(url_path(text), Err(BadText::UrlPath), "{text}");
        }
        for text in ["www.example.org", "10.0.0.4:8080", "[2001:db8::1]"] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a/b", "a\r\nX: y"] {
            assert_eq!(host(text), Err(BadText::Host), "{text:?}");
        }
    }

    #[test]
    fn hash_keys_are_sixteen_bytes_in_the_order_written() {
        let key = hash_key("000102030405060708090a0b0c0d0eFF").unwrap();
        assert_eq!(key.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        for text in ["", "00", "+00102030405060708090a0b0c0d0eff", "000102030405060708090a0b0c0d0e0g"] {
            assert_eq!(hash_key(text), Err(BadText::HashKey), "{text}");
        }
    }

    #[test]
    fn stations_have_unicast_addresses() {
        assert_eq!(mac("02:00:00:00:00:04"), Ok(MacAddr([2, 0, 0, 0, 0, 4])));
        for text in ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"] {
            assert_eq!(mac(text), Err(BadText::MacNotUnicast), "{text}");
        }
        assert_eq!(mac("02-00-00-00-00-04"), Err(BadText::Mac));
    }
}
