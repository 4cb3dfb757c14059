//! Whom NAT rules lead to.

use std::net::{IpAddr, SocketAddr};

use super::{BadText, forward, port};
use crate::config::model::ForwardMode;

/// `10.0.0.4:22`, or `10.0.0.4`; IPv6 with a port in brackets.
pub(crate) fn backend(text: &str) -> Result<(IpAddr, Option<u16>), BadText> {
    match text.parse::<SocketAddr>() {
        Ok(both) if both.port() == 0 => Err(BadText::Port),
        Ok(both) => Ok((both.ip(), Some(both.port()))),
        Err(_) => text.parse().map(|address| (address, None)).map_err(|_| BadText::Backend),
    }
}

/// `10.0.0.4=2201`.
pub(crate) fn nat_port(text: &str) -> Result<(IpAddr, u16), BadText> {
    let (address, own) = text.split_once('=').ok_or(BadText::NatPort)?;
    Ok((address.trim().parse().map_err(|_| BadText::NatPort)?, port(own.trim())?))
}

/// The ways of NAT rules.
pub(crate) fn nat_forward(text: &str) -> Result<ForwardMode, BadText> {
    let known = forward(text).ok().filter(|mode| matches!(mode, ForwardMode::Nat | ForwardMode::Dsr));
    known.ok_or(BadText::Choice("nat or dsr"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_have_a_port_or_none() {
        let address: IpAddr = "2001:db8::4".parse().unwrap();
        assert_eq!(backend("10.0.0.4:22"), Ok(([10, 0, 0, 4].into(), Some(22))));
        assert_eq!(backend("10.0.0.4"), Ok(([10, 0, 0, 4].into(), None)));
        assert_eq!(backend("[2001:db8::4]:22"), Ok((address, Some(22))));
        assert_eq!(backend("2001:db8::4"), Ok((address, None)));
        assert_eq!(backend("10.0.0.4:0"), Err(BadText::Port));
        for text in ["10.0.0.4:", "10.0.0:22", "web", "10.0.0.4:22/tcp", ""] {
            assert_eq!(backend(text), Err(BadText::Backend), "{text}");
        }
        assert_eq!(nat_port("10.0.0.4=2201"), Ok(([10, 0, 0, 4].into(), 2201)));
        assert_eq!(nat_port("2001:db8::4=1"), Ok((address, 1)));
        assert_eq!(nat_port("10.0.0.4=0"), Err(BadText::Port));
        assert_eq!(nat_port("10.0.0.4:2201"), Err(BadText::NatPort));
    }
}
