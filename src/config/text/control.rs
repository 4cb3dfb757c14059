//! Values of `[control]`.

use std::net::SocketAddr;

use nix::unistd::Group;

use super::{BadText, SOCKET_PATH_BYTES_MAX, line};

/// The path of a Unix socket.
pub(crate) fn socket_path(text: &str) -> Result<String, BadText> {
    line(text).ok().filter(|path| path.len() <= SOCKET_PATH_BYTES_MAX).ok_or(BadText::SocketPath)
}

/// A group of this machine, by name or number; its number.
pub(crate) fn group(text: &str) -> Result<u32, BadText> {
    if let Ok(number) = text.parse() {
        // The kernel's "no group" (chown(2)) is none.
        return Some(number).filter(|number| *number != u32::MAX).ok_or(BadText::Group);
    }
    let name = line(text).map_err(|_| BadText::Group)?;
    let found = Group::from_name(&name).ok().flatten();
    found.map(|group| group.gid.as_raw()).ok_or(BadText::Group)
}

/// `127.0.0.1:9465`.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, BadText> {
    text.parse().map_err(|_| BadText::SocketAddress)
}

/// `127.0.0.1:9464`, or `off`.
pub(crate) fn metrics(text: &str) -> Result<Option<SocketAddr>, BadText> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| BadText::MetricsAddress)
}
