//! Backends by what they call themselves in QUIC connection ids.

use std::net::IpAddr;

use super::ids::Ids;
use super::{BackendId, BackendIdentity, FrontendId, Snapshot, WideMap};
use crate::config::{Backend, Model, Quic, QuicLb, QuicServerId, Rule};
use crate::packet::quic::{Coding, ServerId};

/// Of all frontends.
pub(crate) struct QuicServers {
    /// Whether any frontend has a [`Frontend::quic`](super::Frontend::quic).
    pub(crate) are_asked: bool,
    /// Frontend and server id → backend.
    by_id: WideMap,
}

/// What reads the connection ids of a rule, if they are read.
pub(super) fn coding(rule: &Rule) -> Option<Coding> {
    match rule.quic? {
        Quic::Katran => Some(Coding::Katran),
        Quic::QuicLb(QuicLb { config, server_id_len, nonce_len, key }) => {
            Coding::quic_lb(config, server_id_len.into(), nonce_len.into(), key.map(|key| key.0))
        }
    }
}

/// All server ids that stand for a backend of the rule. Katran's numbers are of one of three lengths, by the version that
/// the server writes: each that holds the number stands for it.
fn server_ids(rule: &Rule) -> impl Iterator<Item = (IpAddr, ServerId)> {
    let of_one = |backend: &Backend, quic: Quic| {
        let given = backend.quic_server_id;
        let ids: Vec<ServerId> = match quic {
            Quic::QuicLb(QuicLb { server_id_len, .. }) => {
                let id = given.or_else(|| QuicServerId::of_address(backend.address, server_id_len.into()));
                id.and_then(|id| ServerId::of_bytes(id.as_bytes())).into_iter().collect()
            }
            Quic::Katran => {
                let of_len = |len| given.or_else(|| QuicServerId::of_address(backend.address, len));
                [(1, 2), (2, 3), (3, 4)]
                    .into_iter()
                    .filter_map(|(version, len)| katran(version, len, of_len(len)?))
                    .collect()
            }
        };
        ids
    };
    let backends = rule.quic.map(|quic| (quic, &rule.pool.backends)).into_iter();
    backends.flat_map(move |(quic, backends)| {
        backends
            .iter()
            .flat_map(move |backend| of_one(backend, quic).into_iter().map(|id| (backend.address, id)))
    })
}

/// Katran's number of a version that has so many bytes; `None` where it does not fit.
fn katran(version: u8, len: usize, id: QuicServerId) -> Option<ServerId> {
    let number = id
        .as_bytes()
        .iter()
        .try_fold(0u32, |number, byte| (number >> 24 == 0).then_some(number << 8 | u32::from(*byte)))?;
    let fits = len == 4 || number >> (8 * len) == 0;
    fits.then(|| ServerId::of_katran(version, number))
}

/// The key of a rule's server id among all rules'.
fn key(frontend: FrontendId, id: ServerId) -> [u64; 3] {
    let [low, high, kind] = id.words();
    [low, high, kind | u64::from(frontend.0) << 8 | 1 << 32]
}

impl Snapshot {
    /// The backend of the frontend that calls itself so, if there is one.
    pub fn backend_of_server(&self, frontend: FrontendId, id: ServerId) -> Option<BackendId> {
        self.quic_servers.by_id.get(key(frontend, id)).map(|id| BackendId(id as u32))
    }

    /// Whether flows of UDP that are there may go to the backend: it is up, or only takes no new ones.
    pub fn keeps_udp(&self, id: BackendId) -> bool {
        self.to_backend(id).is_some_and(|backend| backend.leaving == super::Leaving::None)
    }
}

/// The backends of all rules.
pub(super) fn servers(ids: &Ids, model: &Model) -> QuicServers {
    let of_rule = |rule: &Rule| {
        let frontend = ids.frontend(rule.frontend);
        let id = |(address, server)| {
            let identity = BackendIdentity { frontend: rule.frontend, address, port: rule.backend_port };
            Some((key(frontend?, server), ids.backend(&identity)?.0.into()))
        };
        server_ids(rule).filter_map(id).collect::<Vec<_>>()
    };
    QuicServers {
        are_asked: model.rules.iter().any(|rule| rule.quic.is_some()),
        by_id: WideMap::of(model.rules.iter().flat_map(of_rule)),
    }
}
