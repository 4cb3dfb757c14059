//! Routing by server ids in QUIC connection ids.

use std::collections::BTreeMap;

use super::{in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{Backend, ForwardMode, Frontend, ProtocolSelector, Quic, QuicLb, QuicServerId};
use crate::config::problem::QuicProblem;
use crate::config::raw::{At, RawRule};
use crate::config::text::QuicKind;

/// Seven of eight: the last says that there is no server id (draft-ietf-quic-load-balancers-21 section 3).
const CONFIG: (i128, i128) = (0, 6);
/// Server id and nonce: a connection id of QUIC has 20 bytes at most (RFC 9000 section 17.2), and one before them.
const PLAINTEXT_LEN_MAX: u8 = 19;
const SERVER_ID_LENGTH: (i128, i128) = (1, 15);
const NONCE_LENGTH: (i128, i128) = (4, 18);
/// Server id and nonce for one pass of encryption instead of four, and the least nonce.
const BLOCK_LEN: u8 = 16;
const NONCE_LEN_MIN: u8 = 4;
/// Katran's numbers have 16, 24 or 32 bits; a server id is the last bytes of one.
const KATRAN_ID_LEN: (usize, usize) = (1, 4);

/// What the rule says of it, in its ranges.
pub(super) fn check(
    raw: &RawRule,
    subject: &str,
    mode: Option<ForwardMode>,
    frontend: Option<Frontend>,
    report: &mut Report,
) -> Option<Quic> {
    let quic = &raw.quic;
    let kind = quic.kind.given().copied();
    if !matches!(kind, Some(At { value: QuicKind::QuicLb, .. })) && !quic.kind.is_broken() {
        let numbers = [
            ("quic_config", &quic.config),
            ("quic_server_id_length", &quic.server_id_length),
            ("quic_nonce_length", &quic.nonce_length),
        ];
        let places = numbers.into_iter().filter_map(|(key, field)| Some((key, field.given()?.place)));
        let places = places.chain(quic.key.given().map(|at| ("quic_key", at.place)));
        for (key, place) in places {
            report.error(place, QuicProblem::KeyOfQuicLb { subject: subject.to_owned(), key });
        }
    }
    let At { value: kind, place } = kind?;
    if let Some(frontend) = frontend.filter(|at| !at.protocol.overlaps(ProtocolSelector::Udp)) {
        report.error(place, QuicProblem::NotUdp { subject: subject.to_owned(), frontend });
    }
    if mode == Some(ForwardMode::FullNat) {
        report.error(place, QuicProblem::FullNat { subject: subject.to_owned() });
    }
    match kind {
        QuicKind::Katran => Some(Quic::Katran),
        QuicKind::QuicLb => quic_lb(raw, subject, place, report).map(Quic::QuicLb),
    }
}

fn quic_lb(raw: &RawRule, subject: &str, place: Place, report: &mut Report) -> Option<QuicLb> {
    let quic = &raw.quic;
    let config: Option<u8> = in_range(subject, "quic_config", &quic.config, CONFIG, report);
    required(subject, "quic_server_id_length", &quic.server_id_length, place, report);
    let field = &quic.server_id_length;
    let server_id_len: u8 = in_range(subject, "quic_server_id_length", field, SERVER_ID_LENGTH, report)?;
    let nonce_len = in_range(subject, "quic_nonce_length", &quic.nonce_length, NONCE_LENGTH, report);
    let nonce_len = nonce_len.unwrap_or(BLOCK_LEN.saturating_sub(server_id_len).max(NONCE_LEN_MIN));
    if server_id_len + nonce_len > PLAINTEXT_LEN_MAX {
        let subject = subject.to_owned();
        let place = quic.nonce_length.place_or(place);
        report.error(place, QuicProblem::TooLong { subject, server_id_len, nonce_len });
    }
    let key = quic.key.value().copied();
    Some(QuicLb { config: config.unwrap_or(0), server_id_len, nonce_len, key })
}

/// Whether each backend can be told by its server id.
pub(super) fn compare(
    quic: Option<Quic>,
    raw: &RawRule,
    subject: &str,
    backends: &[Backend],
    report: &mut Report,
) {
    let (Some(quic), place) = (quic, raw.quic.kind.place_or(raw.place)) else { return };
    let allowed @ (_, most) = match quic {
        Quic::Katran => KATRAN_ID_LEN,
        Quic::QuicLb(QuicLb { server_id_len, .. }) => (server_id_len.into(), server_id_len.into()),
    };
    let mut seen = BTreeMap::new();
    for Backend { address: backend, quic_server_id, .. } in backends.iter().copied() {
        let subject = || subject.to_owned();
        if let Some(id) = quic_server_id
            && !(allowed.0..=most).contains(&id.as_bytes().len())
        {
            report.error(place, QuicProblem::Length { subject: subject(), backend, id, allowed });
            continue;
        }
        let Some(id) = quic_server_id.or_else(|| QuicServerId::of_address(backend, most)) else { continue };
        // One of Katran's is a number, however many zeros it begins with.
        let number = id.as_bytes().iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        if let Some(other) = seen.insert(number, backend) {
            report.error(place, QuicProblem::Same { subject: subject(), backend, other, id });
        }
    }
}
