//! `--probe`.

use super::{Overlay, PROBE, Parse, find, parsed, put};
use crate::config::raw::{Field, RawProbe, RuleProbe};
use crate::config::section::Keys;
use crate::config::subject_of;
use crate::config::text;

impl Overlay<'_> {
    /// `NAME=KIND:PORT[/PATH][,interval=..]`.
    pub(super) fn probe(&mut self, text: &str) {
        let Some((name, value)) = self.split(text, &PROBE) else { return };
        let mut parts = value.split(',');
        let Some((kind, target)) = parts.next().and_then(|target| target.split_once(':')) else {
            return self.malformed(text, &PROBE);
        };
        let (port, path) = target.find('/').map_or((target, ""), |slash| target.split_at(slash));
        let subject = format!("probe of {}", subject_of("rule", name));
        let mut probe = RawProbe::new(PROBE.place());
        probe.kind = parsed(&subject, kind, "kind", &PROBE, text::probe_kind, self.report);
        probe.port = parsed(&subject, port, "port", &PROBE, text::integer, self.report);
        if !path.is_empty() {
            probe.path = parsed(&subject, path, "path", &PROBE, text::url_path, self.report);
        }
        for option in parts {
            self.probe_option(&subject, option, &mut probe);
        }
        let own = Field::at(RuleProbe::Own(Box::new(probe)), PROBE.place());
        if self.has_rule(name, &PROBE)
            && let Some(rule) = find(&mut self.raw.rules, name, |rule| &rule.name)
        {
            put(&mut rule.probe, own, subject, &PROBE, self.report);
        }
    }

    fn probe_option(&mut self, subject: &str, option: &str, probe: &mut RawProbe) {
        const OPTIONS: Keys =
            &["interval", "timeout", "rise", "fall", "via", "host", "status", "body", "verify", "ca_file"];
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let Some(key) = OPTIONS.iter().copied().find(|known| *known == key && !value.is_empty()) else {
            return self.unknown_option(subject, option, OPTIONS, &PROBE);
        };
        match key {
            "interval" => self.probe_key(subject, key, value, text::duration, &mut probe.interval),
            "timeout" => self.probe_key(subject, key, value, text::duration, &mut probe.timeout),
            "rise" => self.probe_key(subject, key, value, text::integer, &mut probe.rise),
            "fall" => self.probe_key(subject, key, value, text::integer, &mut probe.fall),
            "host" => self.probe_key(subject, key, value, text::host, &mut probe.host),
            "status" => self.probe_key(subject, key, value, text::statuses, &mut probe.status),
            "body" => self.probe_key(subject, key, value, text::line, &mut probe.body),
            "verify" => self.probe_key(subject, key, value, text::yes_or_no, &mut probe.verify),
            "ca_file" => self.probe_key(subject, key, value, text::line, &mut probe.ca_file),
            _ => self.probe_key(subject, key, value, text::probe_via, &mut probe.via),
        }
    }

    fn probe_key<T>(
        &mut self,
        subject: &str,
        key: &'static str,
        value: &str,
        parse: Parse<T>,
        slot: &mut Field<T>,
    ) {
        let field = parsed(subject, value, key, &PROBE, parse, self.report);
        put(slot, field, format!("{key} of {subject}"), &PROBE, self.report);
    }
}
