//! One table of the file, read key by key: what is there, of what type, and what it says.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Place, Report};
use super::file::Source;
use super::problem::ValueProblem;
use super::raw::{At, Field};
use super::text::{BadText, RawClamp};

/// One table of the file, read key by key.
pub(crate) struct Section<'s, 't> {
    source: &'s Source<'t>,
    table: &'s DeTable<'t>,
    /// `None` for the file itself.
    naming: Option<Naming>,
    pub(crate) place: Place,
    is_damaged: bool,
    /// Keys that were likely meant by unknown ones: these are not missing as well.
    pub(crate) misspelt: Vec<&'static str>,
}

impl<'s, 't> Section<'s, 't> {
    fn new(source: &'s Source<'t>, table: &'s DeTable<'t>, naming: Option<Naming>, place: Place) -> Self {
        Self { source, table, naming, place, is_damaged: false, misspelt: Vec::new() }
    }

    /// How findings call it: "port outside". Made only for findings: a file has tens of thousands of tables.
    pub(crate) fn subject(&self) -> String {
        self.naming.map_or_else(|| "the file".to_owned(), |naming| naming.subject(self.table))
    }

    /// Opens `value` as a table with `keys`, and reports what is neither.
    pub(crate) fn open(
        source: &'s Source<'t>,
        value: &'s Spanned<DeValue<'t>>,
        naming: Naming,
        keys: &'static [&'static str],
        report: &mut Report,
    ) -> Option<Self> {
        let span = value.span();
        let place = source.place(&span);
        let DeValue::Table(table) = value.get_ref() else {
            if !source.value_is_damaged(&span) {
                report.error(place, naming.wrong_type(value.get_ref()));
            }
            return None;
        };
        let mut section = Self::new(source, table, Some(naming), place);
        section.is_damaged = source.table_is_damaged(&span);
        section.report_unknown(keys, report);
        Some(section)
    }

    /// The file's outermost table.
    pub(crate) fn root(
        source: &'s Source<'t>,
        table: &'s DeTable<'t>,
        keys: Keys,
        report: &mut Report,
    ) -> Self {
        let mut section = Self::new(source, table, None, Place::Whole);
        section.is_damaged = source.is_partial;
        section.report_unknown(keys, report);
        section
    }

    fn report_unknown(&mut self, keys: Keys, report: &mut Report) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if keys.contains(&name) || self.source.value_is_damaged(&key.span()) {
                continue;
            }
            let place = self.source.place(&key.span());
            let (subject, key) = (self.subject(), name.to_owned());
            let near = nearest(name, keys.iter().copied());
            self.misspelt.extend(near);
            report.error(place, ValueProblem::UnknownKey { subject, key, near, allowed: keys });
        }
    }

    /// The value of `key`, if it is there and sound TOML.
    pub(crate) fn get(&self, key: &'static str) -> Field<&'s Spanned<DeValue<'t>>> {
        match self.table.get(key) {
            None if self.is_damaged || self.misspelt.contains(&key) => Field::Broken,
            None => Field::Absent,
            Some(value) => match value.get_ref() {
                // Its parts are judged one by one.
                DeValue::Array(_) | DeValue::Table(_) => Field::at(value, self.source.place(&value.span())),
                _ if self.source.value_is_damaged(&value.span()) => Field::Broken,
                _ => Field::at(value, self.source.place(&value.span())),
            },
        }
    }

    fn wrong_type(&self, key: &'static str, place: Place, found: &DeValue<'_>, report: &mut Report) {
        // Keys that are one thing here and another there.
        let example = match (self.naming.map(|naming| naming.kind), key) {
            (Some("port"), "addresses") => "[\"198.51.100.2/24\"]",
            (Some("route"), "port") => "\"inside\"",
            (Some("probe"), "via") => "\"host\"",
            _ => example(key),
        };
        let subject = self.subject();
        report.error(place, ValueProblem::WrongType { subject, key, found: type_name(found), example });
    }

    fn typed<T>(
        &self,
        key: &'static str,
        of: fn(&DeValue<'_>) -> Option<T>,
        report: &mut Report,
    ) -> Field<T> {
        match self.get(key) {
            Field::Absent => Field::Absent,
            Field::Broken => Field::Broken,
            Field::Given(At { value, place }) => match of(value.get_ref()) {
                Some(typed) => Field::at(typed, place),
                None => {
                    self.wrong_type(key, place, value.get_ref(), report);
                    Field::Broken
                }
            },
        }
    }

    /// A whole number of any size.
    pub(crate) fn integer(&self, key: &'static str, report: &mut Report) -> Field<i128> {
        self.typed(key, as_integer, report)
    }

    /// A list of whole numbers.
    pub(crate) fn integers(&self, key: &'static str, report: &mut Report) -> Field<Vec<i128>> {
        self.typed(
            key,
            |value| value.as_array()?.iter().map(|item| as_integer(item.get_ref())).collect(),
            report,
        )
    }

    /// A whole number, `true` or `false`.
    pub(crate) fn clamp(&self, key: &'static str, report: &mut Report) -> Field<RawClamp> {
        let of = |value: &DeValue<'_>| match value.as_bool() {
            Some(true) => Some(RawClamp::FromMtu),
            Some(false) => Some(RawClamp::Off),
            None => as_integer(value).map(RawClamp::To),
        };
        self.typed(key, of, report)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &'static str, report: &mut Report) -> Field<bool> {
        self.typed(key, |value| value.as_bool(), report)
    }

    /// A string that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        parse: fn(&str) -> Result<T, BadText>,
        report: &mut Report,
    ) -> Field<T> {
        match self.get(key) {
            Field::Absent => Field::Absent,
            Field::Broken => Field::Broken,
            Field::Given(At { value, place }) => self.parsed_value(key, value, place, parse, report),
        }
    }

    fn parsed_value<T>(
        &self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        place: Place,
        parse: fn(&str) -> Result<T, BadText>,
        report: &mut Report,
    ) -> Field<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, place, value.get_ref(), report);
            return Field::Broken;
        };
        match parse(text) {
            Ok(meaning) => Field::at(meaning, place),
            Err(why) => {
                report.error(place, bad_value(&self.subject(), key, text, why));
                Field::Broken
            }
        }
    }

    /// The items of a list, and where it is.
    pub(crate) fn list(&self, key: &'static str, report: &mut Report) -> Field<&'s DeArray<'t>> {
        match self.get(key) {
            Field::Absent => Field::Absent,
            Field::Broken => Field::Broken,
            Field::Given(At { value, place }) => match value.get_ref() {
                DeValue::Array(items) => Field::at(items, place),
                other => {
                    self.wrong_type(key, place, other, report);
                    Field::Broken
                }
            },
        }
    }

    /// A list of strings that `parse` understands; broken where any is.
    pub(crate) fn parsed_items<T>(
        &self,
        key: &'static str,
        parse: fn(&str) -> Result<T, BadText>,
        report: &mut Report,
    ) -> Field<Vec<At<T>>> {
        let place = match self.get(key) {
            Field::Absent => return Field::Absent,
            Field::Broken => return Field::Broken,
            Field::Given(at) => at.place,
        };
        let (items, are_whole) = self.parsed_list(key, parse, report);
        if are_whole { Field::at(items, place) } else { Field::Broken }
    }

    /// A list of strings that `parse` understands. The flag is false where any is broken.
    pub(crate) fn parsed_list<T>(
        &self,
        key: &'static str,
        parse: fn(&str) -> Result<T, BadText>,
        report: &mut Report,
    ) -> (Vec<At<T>>, bool) {
        let items = match self.list(key, report) {
            Field::Absent => return (Vec::new(), true),
            Field::Broken => return (Vec::new(), false),
            Field::Given(items) => items.value,
        };
        let (mut whole, mut values) = (true, Vec::with_capacity(items.len()));
        for item in items.iter() {
            let place = self.source.place(&item.span());
            let field = if self.source.value_is_damaged(&item.span()) {
                Field::Broken
            } else {
                self.parsed_value(key, item, place, parse, report)
            };
            match field {
                Field::Given(at) => values.push(at),
                Field::Absent | Field::Broken => whole = false,
            }
        }
        (values, whole)
    }
}

/// What may be written in a table.
pub(crate) type Keys = &'static [&'static str];

/// How findings call a table: "backend 10.0.0.4", by the key that tells it from its like.
#[derive(Clone, Copy)]
pub(crate) struct Naming {
    /// "backend".
    pub(crate) kind: &'static str,
    /// The key whose value is the name; empty where there is one such table only.
    pub(crate) by: &'static str,
    /// The key under which it stands.
    pub(crate) key: &'static str,
    /// How it is written.
    pub(crate) form: &'static str,
}

impl Naming {
    fn subject(self, table: &DeTable<'_>) -> String {
        match table.get(self.by).and_then(|name| name.get_ref().as_str()) {
            _ if self.by.is_empty() => self.kind.to_owned(),
            name => super::subject_of(self.kind, name.unwrap_or_default()),
        }
    }

    pub(crate) fn wrong_type(self, found: &DeValue<'_>) -> ValueProblem {
        ValueProblem::NotSection { key: self.key, found: type_name(found), form: self.form }
    }
}

/// The finding about a text that `parse` did not understand. Secrets stay out of it.
pub(crate) fn bad_value(subject: &str, key: &'static str, text: &str, why: BadText) -> ValueProblem {
    match why {
        BadText::HashKey => {
            // Of flags too: there is one.
            let subject = if key == "hash_key" { "[dataplane]" } else { subject };
            ValueProblem::BadSecret { subject: subject.to_owned(), key }
        }
        why => ValueProblem::BadValue { subject: subject.to_owned(), key, text: text.to_owned(), why },
    }
}

/// The one of `known` that was likely meant by `word`.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // The distance is quadratic in the length; no known word is that long.
    let word = Some(word).filter(|word| word.len() <= super::NAME_LEN_MAX)?;
    let distances = known.map(|known| (strsim::damerau_levenshtein(word, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    // Two slips, in no more than half of the letters.
    (distance <= 2 && distance * 2 <= word.chars().count()).then_some(known)
}

fn as_integer(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    let digits = i128::from_str_radix(integer.as_str(), integer.radix());
    // Beyond i128 it is beyond every limit as well.
    Some(digits.unwrap_or(if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX }))
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// How a key is written, for the findings that ask for it.
pub(crate) fn example(key: &str) -> &'static str {
    match key {
        "workers" => "\"2-5\"",
        "management_cpu" | "gue_variant" | "quic_config" => "0",
        "flows_per_worker" => "1048576",
        "frames" => "131071",
        "idle" => "\"spin\"",
        "hash_key" => "\"32 hex digits\"",
        "eal" => "[\"--file-prefix=gw\"]",
        "socket" => "\"/run/guideway/control.sock\"",
        "socket_group" => "\"guideway\"",
        "listen" => "\"127.0.0.1:9465\"",
        "token_file" => "\"/etc/guideway/token\"",
        "metrics" => "\"127.0.0.1:9464\"",
        "state_directory" => "\"/var/lib/guideway\"",
        "name" | "pool" | "acl" => "\"web\"",
        "device" => "\"0000:3b:00.0\"",
        "vlan" => "[100]",
        "destination" => "\"10.9.0.0/16\"",
        "gateway" => "\"198.51.100.1\"",
        "gateway6" => "\"2001:db8:1::1\"",
        "mtu" => "1500",
        "address" | "backend" => "\"10.0.0.4\"",
        "mac" => "\"02:00:00:00:00:04\"",
        "backends" => "[{ address = \"10.0.0.4\" }]",
        "addresses" => "\"10.0.1.4-10.0.1.99\"",
        "instances" | "rise" | "fall" => "2",
        "weight" => "1",
        "state" => "\"auto\"",
        "kind" => "\"http\"",
        "port" | "backend_port" => "8443",
        "path" => "\"/healthz\"",
        "interval" | "timeout" => "\"5s\"",
        "via" => "\"10.0.0.254\"",
        "ca_file" => "\"/etc/ssl/our-ca.pem\"",
        "frontend" => "\"203.0.113.10:443/tcp\"",
        "ports" => "[\"10.0.0.4=2201\"]",
        "forward" => "\"nat\"",
        "distribution" => "\"5-tuple\"",
        "idle_timeout" | "drain_timeout" => "\"4m\"",
        "source_addresses" => "[\"10.0.0.2\"]",
        "client_address" => "[\"toa\"]",
        "tunnel_source" => "\"10.0.0.2\"",
        "tunnel_port" => "6080",
        "rules" => "[\"permit 198.51.100.0/24\"]",
        "vni" => "1",
        "inner_mac" => "\"02:00:00:00:00:04\"",
        "mss_clamp" => "1400",
        "icmp_echo" => "true",
        "quic" => "\"quic-lb\"",
        "quic_server_id_length" => "2",
        "quic_nonce_length" => "6",
        "quic_server_id" => "\"000b\"",
        "tcp_reset" | "hairpin" | "verify" | "listen_anywhere" => "false",
        "host" => "\"www.example.org\"",
        "status" => "\"200\"",
        "body" => "\"ready\"",
        "probe" => "\"web-ready\"",
        "no_healthy_backends" => "\"drop\"",
        _ => example_of_outbound(key),
    }
}

fn example_of_outbound(key: &str) -> &'static str {
    match key {
        "frontends" => "[\"203.0.113.11\"]",
        "protocol" => "\"any\"",
        "ports_per_backend" => "1024",
        _ => "a value",
    }
}
