//! `[control]`: who may talk to the running program, and how.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::error::Report;
use crate::config::model::{ControlSettings, Metrics, Remote};
use crate::config::problem::{ControlProblem, NoEffect};
use crate::config::raw::{Field, RawControl};

/// Where the control API listens unless told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/guideway/control.sock";

/// Where metrics are served unless told otherwise.
pub const METRICS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

const STATE_DIRECTORY_DEFAULT: &str = "/var/lib/guideway";

pub(super) fn check(raw: &RawControl, report: &mut Report) -> ControlSettings {
    let path =
        |field: &Field<String>, default: &str| PathBuf::from(field.value().map_or(default, String::as_str));
    ControlSettings {
        socket: path(&raw.socket, SOCKET_DEFAULT),
        socket_group: raw.socket_group.value().copied(),
        remote: remote(raw, report),
        metrics: raw
            .metrics
            .value()
            .map_or(Metrics::Default, |address| address.map_or(Metrics::Off, Metrics::At)),
        state_directory: path(&raw.state_directory, STATE_DIRECTORY_DEFAULT),
    }
}

/// The API over TCP, where it is asked for.
fn remote(raw: &RawControl, report: &mut Report) -> Option<Remote> {
    let Some(listen) = raw.listen.given() else {
        if let Some(token_file) = raw.token_file.given()
            && raw.listen.is_absent()
        {
            report.warn(token_file.place, NoEffect::TokenFile);
        }
        return None;
    };
    let address = listen.value;
    let anywhere = raw.listen_anywhere.value().copied().unwrap_or(false) || raw.listen_anywhere.is_broken();
    if !address.ip().is_loopback() && !anywhere {
        report.error(listen.place, ControlProblem::ListenAnywhere { address });
    }
    if raw.token_file.is_absent() {
        report.error(listen.place, ControlProblem::NoToken { address });
    }
    Some(Remote { address, token_file: raw.token_file.value()?.into() })
}
