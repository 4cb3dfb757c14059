//! `--quic`.

use super::{Overlay, QUIC, find, parsed, put};
use crate::config::raw::{Field, RawQuic};
use crate::config::section::Keys;
use crate::config::subject_of;
use crate::config::text;

impl Overlay<'_> {
    /// `NAME=KIND[,OPTION=VALUE]`. What the file says of it goes.
    pub(super) fn quic(&mut self, text: &str) {
        let Some((name, value)) = self.split(text, &QUIC) else { return };
        let subject = subject_of("rule", name);
        let mut parts = value.split(',');
        let kind = parts.next().unwrap_or_default();
        let kind = parsed(&subject, kind, QUIC.key, &QUIC, text::quic, self.report);
        let mut quic = RawQuic::default();
        for option in parts {
            self.quic_option(&subject, option, &mut quic);
        }
        if self.has_rule(name, &QUIC)
            && let Some(rule) = find(&mut self.raw.rules, name, |rule| &rule.name)
        {
            put(&mut rule.quic.kind, kind, subject, &QUIC, self.report);
            let kind = std::mem::take(&mut rule.quic.kind);
            rule.quic = RawQuic { kind, ..quic };
        }
    }

    fn quic_option(&mut self, subject: &str, option: &str, quic: &mut RawQuic) {
        const OPTIONS: Keys = &["config", "server_id_length", "nonce_length", "key"];
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = match key {
            _ if value.is_empty() => None,
            "config" => Some(("quic_config", &mut quic.config)),
            "server_id_length" => Some(("quic_server_id_length", &mut quic.server_id_length)),
            "nonce_length" => Some(("quic_nonce_length", &mut quic.nonce_length)),
            "key" => {
                let field = parsed(subject, value, "quic_key", &QUIC, text::quic_key, self.report);
                return put(&mut quic.key, field, format!("quic_key of {subject}"), &QUIC, self.report);
            }
            _ => None,
        };
        let Some((key, slot)): Option<(&'static str, &mut Field<i128>)> = number else {
            // What is behind "key=" is not shown.
            return self.unknown_option(subject, key, OPTIONS, &QUIC);
        };
        let field = parsed(subject, value, key, &QUIC, text::integer, self.report);
        put(slot, field, format!("{key} of {subject}"), &QUIC, self.report);
    }
}
