//! Functions of networks: `parseCidr`, `cidrSubnet`, `cidrHost`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use super::Call;
use crate::import::arm::template::{Value, made};
use crate::import::arm::tree::Kind;

/// A network's first address as a number.
#[derive(Clone, Copy)]
struct Network {
    first: u128,
    len: u32,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, len) = text.trim().split_once('/')?;
        let (number, bits) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), Ipv4Addr::BITS),
            IpAddr::V6(address) => (address.to_bits(), Ipv6Addr::BITS),
        };
        let len = len.parse().ok().filter(|len| *len <= bits)?;
        let network = Self { first: 0, len, bits };
        Some(Self { first: number & !network.hosts(), ..network })
    }

    /// The part of an address that tells hosts apart, all ones.
    fn hosts(self) -> u128 {
        u128::MAX.checked_shr(u128::BITS - (self.bits - self.len)).unwrap_or(0)
    }

    fn address(self, number: u128) -> String {
        match u32::try_from(number) {
            Ok(number) if self.bits == Ipv4Addr::BITS => Ipv4Addr::from_bits(number).to_string(),
            _ => Ipv6Addr::from_bits(number).to_string(),
        }
    }

    fn subnet(self, len: i64, index: i64) -> Option<String> {
        let len = u32::try_from(len).ok().filter(|len| (self.len..=self.bits).contains(len))?;
        let index = u128::try_from(index).ok()?;
        // As many as the longer prefix tells apart.
        let last = u128::MAX.checked_shr(u128::BITS - (len - self.len)).unwrap_or(0);
        let step = index.checked_shl(self.bits - len).unwrap_or(0);
        (index <= last).then(|| format!("{}/{len}", self.address(self.first | step)))
    }

    /// 0 is the first that a host can have, as Azure counts.
    fn host(self, index: i64) -> Option<String> {
        let step = u128::try_from(index).ok()?.checked_add(1)?;
        (step <= self.hosts()).then(|| self.address(self.first | step))
    }

    fn parts(self) -> [(&'static str, String); 6] {
        let hosts = self.hosts();
        let last = self.first | hosts;
        let whole = u128::MAX.checked_shr(u128::BITS - self.bits).unwrap_or(0);
        let (first_host, last_host) = if hosts < 2 { (self.first, last) } else { (self.first + 1, last - 1) };
        [
            ("network", self.address(self.first)),
            ("netmask", self.address(whole ^ hosts)),
            ("broadcast", self.address(last)),
            ("firstUsable", self.address(first_host)),
            ("lastUsable", self.address(last_host)),
            ("cidr", self.len.to_string()),
        ]
    }
}

impl Call<'_> {
    pub(super) fn networks(&self) -> Option<Value> {
        let network = |text: &str| Network::parse(text).ok_or_else(|| format!("\"{text}\" is not a network"));
        let within = |found: Option<String>| {
            found.map(Kind::text).ok_or_else(|| format!("{}() goes beyond the network", self.name))
        };
        Some(match (self.name, self.values) {
            ("parsecidr", [Kind::Text(text)]) => network(text).map(|network| {
                let member = |(name, text): (&str, String)| match (name, text.parse()) {
                    ("cidr", Ok(len)) => (Rc::from(name), made(Kind::Integer(len))),
                    _ => (Rc::from(name), made(Kind::text(text))),
                };
                Kind::Object(network.parts().map(member).into())
            }),
            ("cidrsubnet", [Kind::Text(text), Kind::Integer(len), Kind::Integer(index)]) => {
                network(text).and_then(|network| within(network.subnet(*len, *index)))
            }
            ("cidrhost", [Kind::Text(text), Kind::Integer(index)]) => {
                network(text).and_then(|network| within(network.host(*index)))
            }
            _ => return None,
        })
    }
}
