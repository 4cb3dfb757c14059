//! `--backend`.

use super::{BACKEND, Overlay, address_and_port, parsed, put};
use crate::config::raw::{Field, RawBackend};
use crate::config::section::Keys;
use crate::config::subject_of;
use crate::config::text;

impl Overlay<'_> {
    /// `ADDR[:PORT][,weight=N][,state=STATE][,quic_server_id=HEX]`.
    pub(super) fn backend(&mut self, pool: &str, text: &str) -> (RawBackend, Option<u16>) {
        const OPTIONS: Keys = &["weight", "state", "quic_server_id"];
        let mut parts = text.split(',');
        let endpoint = parts.next().unwrap_or_default();
        let (address, port) = address_and_port(endpoint);
        let subject = subject_of("pool", pool);
        let port = port.map(|port| parsed(&subject, port, "port", &BACKEND, text::port, self.report));
        let address = parsed(&subject, address, BACKEND.key, &BACKEND, text::address, self.report);
        let mut backend = RawBackend {
            place: BACKEND.place(),
            address,
            weight: Field::Absent,
            state: Field::Absent,
            quic_server_id: Field::Absent,
        };
        let subject = backend.address.value().map_or(subject, |address| format!("backend {address}"));
        for option in parts {
            match option.split_once('=') {
                Some(("weight", weight)) => {
                    let weight = parsed(&subject, weight, "weight", &BACKEND, text::integer, self.report);
                    put(&mut backend.weight, weight, format!("weight of {subject}"), &BACKEND, self.report);
                }
                Some(("state", state)) => {
                    let state = parsed(&subject, state, "state", &BACKEND, text::admin_state, self.report);
                    put(&mut backend.state, state, format!("state of {subject}"), &BACKEND, self.report);
                }
                Some(("quic_server_id", id)) => {
                    let key = "quic_server_id";
                    let id = parsed(&subject, id, key, &BACKEND, text::quic_server_id, self.report);
                    put(
                        &mut backend.quic_server_id,
                        id,
                        format!("{key} of {subject}"),
                        &BACKEND,
                        self.report,
                    );
                }
                _ => self.unknown_option(&subject, option, OPTIONS, &BACKEND),
            }
        }
        (backend, port.and_then(|port| port.value().copied()))
    }
}
