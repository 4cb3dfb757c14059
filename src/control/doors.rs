//! The ways in which others come to the management thread: the control socket, the control API over TCP, metrics.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::access::{Token, TokenError};
use super::api::Request;
use super::metrics::{self, Scrape};
use super::server;
use super::socket::{Socket, SocketError};
use crate::config::{ControlSettings, METRICS_DEFAULT, Metrics, Remote, SOCKET_DEFAULT};

/// What is asked for, to be answered one at a time.
pub struct Doors {
    /// Of the control API.
    pub requests: mpsc::Receiver<Request>,
    /// Of metrics.
    pub scrapes: mpsc::Receiver<Scrape>,
    /// Removed at the end.
    _socket: Option<Socket>,
}

/// A way in that was asked for, and cannot be had.
#[derive(Debug)]
pub enum DoorsError {
    /// The Unix socket.
    Socket(SocketError),
    /// The token for TCP.
    Token(TokenError),
    /// TCP, or metrics: what, where, why, and the flag that says so.
    Address(&'static str, SocketAddr, io::Error, &'static str),
    /// The runtime.
    System(io::Error),
}

impl fmt::Display for DoorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "{error}"),
            Self::Token(error) => write!(f, "{error}"),
            Self::Address(what, address, error, flag) => {
                let why = match error.kind() {
                    ErrorKind::AddrInUse => "something listens there already".to_owned(),
                    _ => error.to_string(),
                };
                write!(f, "{what} at {address}: {why}; name another place with {flag}")
            }
            Self::System(error) => write!(f, "cannot watch for requests: {error}"),
        }
    }
}

impl Doors {
    /// Opens all that `settings` say. What is only there by default is done without where it cannot be had, so that a
    /// trial needs no rights, and two at a time are possible. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When something that was asked for cannot be had.
    pub fn open(settings: &ControlSettings) -> Result<Self, DoorsError> {
        let (sender, requests) = server::channel();
        let socket = open_socket(settings).map_err(DoorsError::Socket)?;
        if let Some(socket) = &socket {
            server::start_unix(socket, sender.clone()).map_err(DoorsError::System)?;
            log::info!("control socket: {}", socket.path().display());
        }
        if let Some(Remote { address, token_file }) = &settings.remote {
            Token::read(token_file).map_err(DoorsError::Token)?;
            let address = server::start_tcp(*address, token_file.clone(), sender)
                .map_err(|error| DoorsError::Address("control API", *address, error, "--control-listen"))?;
            log::info!("control API: http://{address}, for who has the token");
        }
        Ok(Self { requests, scrapes: open_metrics(settings.metrics)?, _socket: socket })
    }
}

fn open_socket(settings: &ControlSettings) -> Result<Option<Socket>, SocketError> {
    let path = &settings.socket;
    let socket = match Socket::bind(path) {
        Ok(socket) => socket,
        Err(error @ SocketError::System(..)) if path.as_os_str() == SOCKET_DEFAULT => {
            log::warn!("{error}; running without");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if let Some(group) = settings.socket_group {
        socket.give_to(group)?;
    }
    Ok(Some(socket))
}

fn open_metrics(settings: Metrics) -> Result<mpsc::Receiver<Scrape>, DoorsError> {
    let nothing = || mpsc::channel(1).1;
    let address = match settings {
        Metrics::Off => return Ok(nothing()),
        Metrics::Default => METRICS_DEFAULT,
        Metrics::At(address) => address,
    };
    match metrics::start(address) {
        Ok((scrapes, address)) => {
            log::info!("metrics: http://{address}/metrics");
            Ok(scrapes)
        }
        Err(error) => {
            let error =
                DoorsError::Address("metrics", address, error, "--metrics ADDR:PORT, or --metrics off");
            if settings != Metrics::Default {
                return Err(error);
            }
            log::warn!("{error}; running without");
            Ok(nothing())
        }
    }
}
