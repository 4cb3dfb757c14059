//! `--forward` and `--route`.

use super::{FORWARD, Overlay, Parse, ROUTE, find, parsed, put};
use crate::config::error::Place;
use crate::config::raw::{At, Field, RawRoute, RawWay};
use crate::config::section::Keys;
use crate::config::subject_of;
use crate::config::text;

impl Overlay<'_> {
    /// `NAME=MODE[,OPTION=VALUE]`. What the file says of the way goes with the file's way.
    pub(super) fn forward(&mut self, text: &str) {
        let Some((name, value)) = self.split(text, &FORWARD) else { return };
        let subject = subject_of("rule", name);
        let mut parts = value.split(',');
        let mode = parts.next().unwrap_or_default();
        let mode = parsed(&subject, mode, FORWARD.key, &FORWARD, text::forward, self.report);
        let mut way = RawWay::default();
        for option in parts {
            self.way_option(&subject, option, &mut way);
        }
        if self.has_rule(name, &FORWARD)
            && let Some(rule) = find(&mut self.raw.rules, name, |rule| &rule.name)
        {
            put(&mut rule.forward, mode, subject, &FORWARD, self.report);
            rule.way = way;
        }
    }

    fn way_option(&mut self, subject: &str, option: &str, way: &mut RawWay) {
        const OPTIONS: Keys = &[
            "source_addresses",
            "client_address",
            "tunnel_source",
            "tunnel_port",
            "gue_variant",
            "vni",
            "inner_mac",
        ];
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let Some(key) = OPTIONS.iter().copied().find(|known| *known == key && !value.is_empty()) else {
            return self.unknown_option(subject, option, OPTIONS, &FORWARD);
        };
        match key {
            "source_addresses" => {
                self.way_item(subject, key, value, text::addresses, &mut way.source_addresses);
            }
            "client_address" => {
                self.way_item(subject, key, value, text::client_address, &mut way.client_address);
            }
            "tunnel_source" => {
                self.way_key(subject, key, value, text::tunnel_source, &mut way.tunnel_source);
            }
            "tunnel_port" => self.way_key(subject, key, value, text::integer, &mut way.tunnel_port),
            "gue_variant" => self.way_key(subject, key, value, text::integer, &mut way.gue_variant),
            "vni" => self.way_key(subject, key, value, text::integer, &mut way.vni),
            _ => self.way_key(subject, key, value, text::mac, &mut way.inner_mac),
        }
    }

    fn way_key<T>(
        &mut self,
        subject: &str,
        key: &'static str,
        value: &str,
        parse: Parse<T>,
        slot: &mut Field<T>,
    ) {
        let field = parsed(subject, value, key, &FORWARD, parse, self.report);
        put(slot, field, format!("{key} of {subject}"), &FORWARD, self.report);
    }

    /// One more of a list.
    fn way_item<T>(
        &mut self,
        subject: &str,
        key: &'static str,
        value: &str,
        parse: Parse<T>,
        slot: &mut Field<Vec<At<T>>>,
    ) {
        let item = parsed(subject, value, key, &FORWARD, parse, self.report);
        match (item, &mut *slot) {
            (Field::Given(item), Field::Given(list)) => list.value.push(item),
            (Field::Given(item), Field::Absent) => *slot = Field::at(vec![item], FORWARD.place()),
            _ => *slot = Field::Broken,
        }
    }

    /// `DESTINATION=VIA[,port=NAME]`.
    pub(super) fn route(&mut self, text: &str) {
        let Some((destination, way)) = self.split(text, &ROUTE) else { return };
        let subject = "the command line";
        let (via, port) = way.split_once(',').map_or((way, None), |(via, port)| (via, Some(port)));
        let destination = parsed(subject, destination, "destination", &ROUTE, text::network, self.report);
        let via = parsed(subject, via, ROUTE.key, &ROUTE, text::address, self.report);
        let mut route = RawRoute { place: ROUTE.place(), destination, via, port: Field::Absent };
        match port
            .map(|option| option.split_once('=').filter(|(key, name)| *key == "port" && !name.is_empty()))
        {
            None => {}
            Some(Some((_, name))) => route.port = Field::at(name.to_owned(), ROUTE.place()),
            Some(None) => {
                self.malformed(text, &ROUTE);
                route.port = Field::Broken;
            }
        }
        // What the command line says of a network replaces what the file says of it.
        if let Some(own) = route.destination.value() {
            let is_of_file = |other: &RawRoute| matches!(other.place, Place::Line(_));
            let is_same = |other: &RawRoute| other.destination.value() == Some(own);
            self.raw.routes.retain(|other| !(is_of_file(other) && is_same(other)));
        }
        self.raw.routes.push(route);
    }
}
