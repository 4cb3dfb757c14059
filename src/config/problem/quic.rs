//! Routing by server ids in QUIC connection ids, against the rest of the rule.

use std::fmt;
use std::net::IpAddr;

use crate::config::model::{Frontend, QuicServerId};

/// What does not go with the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuicProblem {
    /// A key that only QUIC-LB knows.
    KeyOfQuicLb {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
    },
    /// A frontend that takes no UDP.
    NotUdp {
        /// The rule.
        subject: String,
        /// The rule's frontend.
        frontend: Frontend,
    },
    /// Full NAT, which does not look at connection ids.
    FullNat {
        /// The rule.
        subject: String,
    },
    /// A server id and a nonce that no connection id has room for.
    TooLong {
        /// The rule.
        subject: String,
        /// Bytes of the server id.
        server_id_len: u8,
        /// Bytes of the nonce.
        nonce_len: u8,
    },
    /// A server id that does not stand in connection ids so.
    Length {
        /// The rule.
        subject: String,
        /// Whose it is.
        backend: IpAddr,
        /// The id.
        id: QuicServerId,
        /// How many bytes it may have.
        allowed: (usize, usize),
    },
    /// Two backends of one name.
    Same {
        /// The rule.
        subject: String,
        /// The second.
        backend: IpAddr,
        /// The first.
        other: IpAddr,
        /// The id.
        id: QuicServerId,
    },
}

impl fmt::Display for QuicProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyOfQuicLb { subject, key } => {
                write!(
                    f,
                    "{subject} has {key}, which has no effect without quic = \"quic-lb\"; delete it, or add that"
                )
            }
            Self::NotUdp { subject, frontend } => {
                write!(
                    f,
                    "{subject} has quic, which has no effect: its frontend {frontend} takes no UDP; delete it"
                )
            }
            Self::FullNat { subject } => write!(
                f,
                "{subject} has quic and forward = \"full-nat\", which does not look at connection ids in this version; \
                 delete quic, or use another forward"
            ),
            Self::TooLong { subject, server_id_len, nonce_len } => write!(
                f,
                "{subject} has quic_server_id_length {server_id_len} and quic_nonce_length {nonce_len}, and a connection id \
                 has room for 19 in all; make one shorter"
            ),
            Self::Length { subject, backend, id, allowed: (least, most) } => {
                write!(
                    f,
                    "{subject} has backend {backend} with quic_server_id {id}, and its server ids have "
                )?;
                match least == most {
                    true => write!(f, "{most} bytes; write it so, or change quic_server_id_length"),
                    false => write!(f, "{least} to {most} bytes; write it so"),
                }
            }
            Self::Same { subject, backend, other, id } => write!(
                f,
                "{subject} has backends {other} and {backend} with one server id, {id}; give each a quic_server_id of its own"
            ),
        }
    }
}
