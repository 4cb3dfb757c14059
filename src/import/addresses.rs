//! The addresses file: what Azure's files do not say.
//!
//! ```toml
//! [frontends]                       # who asks for what is in `docs/AZURE.md`
//! public = "203.0.113.10"
//! relay-pip = "203.0.113.20-203.0.113.39"   # of a role's instances, one each; or a list
//!
//! [pools]
//! Front = "10.20.1.4-10.20.1.99"    # or a list: ["10.20.1.4", "10.20.1.5"]
//!
//! [members]
//! "jump-nic/ip" = "10.20.1.20"
//!
//! [local_ports]
//! "Relay/Media" = 3478
//!
//! [[port]]                          # sections of guideway's own go on as they are
//! name = "outside"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Findings, Place, suggestion};
use super::source::Source;
use crate::config::AddressRange;

/// Sections that become part of the result as they are.
const PASSED_ON: [&str; 5] = ["dataplane", "control", "port", "route", "neighbour"];
const OWN: [&str; 4] = ["frontends", "pools", "members", "local_ports"];

/// Who is in a pool, or the addresses of its instances, as the addresses file says it.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    Range(AddressRange),
    List(Vec<IpAddr>),
}

impl Listed {
    /// The first so many of them.
    pub(super) fn first(&self, count: usize) -> Vec<IpAddr> {
        match self {
            Self::Range(range) => range.addresses().take(count).collect(),
            Self::List(list) => list.iter().copied().take(count).collect(),
        }
    }
}

/// A value and where it was said.
type Said<T> = (Place, T);

/// What the file says. What was asked for is remembered.
#[derive(Default)]
pub(super) struct Addresses {
    frontends: BTreeMap<String, Said<Listed>>,
    pools: BTreeMap<String, Said<Listed>>,
    members: BTreeMap<String, Said<IpAddr>>,
    local_ports: BTreeMap<String, Said<u16>>,
    used: BTreeSet<(&'static str, String)>,
    /// All that was asked for.
    asked: BTreeSet<(&'static str, String)>,
    /// Where several addresses are said for what has one.
    several: BTreeSet<Place>,
    /// Sections that go on as they are.
    pub(super) settings: Vec<Said<String>>,
}

impl Addresses {
    pub(super) fn read(source: Option<&Source>, findings: &mut Findings) -> Self {
        let mut addresses = Self::default();
        let Some(source) = source else { return addresses };
        match DeTable::parse(&source.text) {
            Ok(table) => Reader { source, findings, addresses: &mut addresses }.root(table.get_ref()),
            Err(error) => {
                let place = source.place(error.span().map_or(0, |span| span.start));
                findings.error(&place, error.message().replace('\n', " "));
            }
        }
        addresses
    }

    /// The address of a frontend that is known by several names: the first that is there.
    pub(super) fn frontend(&mut self, names: &[String]) -> Option<IpAddr> {
        let (place, listed) = self.instance_frontends(names)?;
        let found = listed.first(2);
        if found.len() != 1 {
            self.several.insert(place);
        }
        found.first().copied()
    }

    /// The addresses of a role's instances, one each.
    pub(super) fn instance_frontends(&mut self, names: &[String]) -> Option<Said<Listed>> {
        let place = names.iter().find_map(|name| self.frontends.get(&key(name))).map(|said| said.0.clone());
        place.zip(Self::find("frontends", &self.frontends, names, &mut self.used, &mut self.asked))
    }

    pub(super) fn pool(&mut self, name: &str) -> Option<Said<Listed>> {
        let names = [name.to_owned()];
        let place = self.pools.get(&key(name)).map(|(place, _)| place.clone());
        place.zip(Self::find("pools", &self.pools, &names, &mut self.used, &mut self.asked))
    }

    pub(super) fn member(&mut self, name: &str) -> Option<IpAddr> {
        Self::find("members", &self.members, &[name.to_owned()], &mut self.used, &mut self.asked)
    }

    pub(super) fn local_port(&mut self, name: &str) -> Option<u16> {
        Self::find("local_ports", &self.local_ports, &[name.to_owned()], &mut self.used, &mut self.asked)
    }

    fn find<T: Clone>(
        section: &'static str,
        map: &BTreeMap<String, Said<T>>,
        names: &[String],
        used: &mut BTreeSet<(&'static str, String)>,
        asked: &mut BTreeSet<(&'static str, String)>,
    ) -> Option<T> {
        asked.extend(names.iter().map(|name| (section, name.clone())));
        let name = names.iter().map(|name| key(name)).find(|name| map.contains_key(name))?;
        let value = map.get(&name).map(|(_, value)| value.clone());
        used.insert((section, name));
        value
    }

    /// Speaks of lists for frontends that have one address.
    pub(super) fn report_several(&self, findings: &mut Findings) {
        for place in &self.several {
            findings
                .error(place, "this must be one address: only those of instances can be a range or a list");
        }
    }

    /// Speaks of what nobody has asked for: it may be misspelt.
    pub(super) fn report_unused(&self, findings: &mut Findings) {
        let all = |section, keys: Vec<(&String, &Place)>| {
            keys.into_iter()
                .map(move |(name, place)| (section, name.clone(), place.clone()))
                .collect::<Vec<_>>()
        };
        let mut said = all("frontends", self.frontends.iter().map(|(name, said)| (name, &said.0)).collect());
        said.extend(all("pools", self.pools.iter().map(|(name, said)| (name, &said.0)).collect()));
        said.extend(all("members", self.members.iter().map(|(name, said)| (name, &said.0)).collect()));
        said.extend(all(
            "local_ports",
            self.local_ports.iter().map(|(name, said)| (name, &said.0)).collect(),
        ));
        for (section, name, place) in said {
            if !self.used.contains(&(section, name.clone())) {
                let names =
                    self.asked.iter().filter(|asked| asked.0 == section).map(|asked| asked.1.as_str());
                let suggestion = suggestion(&name, names);
                findings
                    .note(&place, format!("[{section}] has \"{name}\", which nothing here uses{suggestion}"));
            }
        }
    }
}

/// Azure's names do not differ by case.
fn key(name: &str) -> String {
    name.to_lowercase()
}

struct Reader<'r> {
    source: &'r Source,
    findings: &'r mut Findings,
    addresses: &'r mut Addresses,
}

impl Reader<'_> {
    fn root(&mut self, table: &DeTable<'_>) {
        // A second reading, for what goes on as it is.
        let whole: toml::Table = toml::from_str(&self.source.text).unwrap_or_default();
        for (name, value) in table {
            let place = self.source.place(name.span().start);
            let section = name.get_ref().as_ref();
            if PASSED_ON.contains(&section) {
                let part = whole.get(section).cloned().map(|value| (section.to_owned(), value));
                match toml::to_string(&part.into_iter().collect::<toml::Table>()) {
                    Ok(text) => self.addresses.settings.push((place, text)),
                    Err(error) => self.findings.error(&place, error.to_string()),
                }
                continue;
            }
            let Some(known) = OWN.into_iter().find(|own| *own == section) else {
                let suggestion = suggestion(section, OWN.into_iter().chain(PASSED_ON));
                self.findings.error(
                    &place,
                    format!("the addresses file has an unknown section \"{section}\"{suggestion}"),
                );
                continue;
            };
            let DeValue::Table(entries) = value.get_ref() else {
                self.findings.error(&place, format!("{section} must be a section, written [{section}]"));
                continue;
            };
            entries.iter().for_each(|(name, value)| self.entry(known, name.get_ref(), value));
        }
        // In the order of the file.
        self.addresses.settings.sort_by(|a, b| a.0.cmp(&b.0));
    }

    fn entry(&mut self, section: &'static str, name: &str, value: &Spanned<DeValue<'_>>) {
        let place = self.source.place(value.span().start);
        let name = key(name);
        match section {
            "frontends" => {
                if let Some(listed) = self.listed(value) {
                    self.addresses.frontends.insert(name, (place, listed));
                }
            }
            "members" => {
                if let Some(address) = self.address(value) {
                    self.addresses.members.insert(name, (place, address));
                }
            }
            "local_ports" => {
                if let Some(port) = self.port(value) {
                    self.addresses.local_ports.insert(name, (place, port));
                }
            }
            _ => {
                if let Some(listed) = self.listed(value) {
                    self.addresses.pools.insert(name, (place, listed));
                }
            }
        }
    }

    fn wrong(&mut self, span: Range<usize>, what: &str) {
        let place = self.source.place(span.start);
        self.findings.error(&place, what);
    }

    fn address(&mut self, value: &Spanned<DeValue<'_>>) -> Option<IpAddr> {
        let address = value.get_ref().as_str().and_then(|text| text.parse().ok());
        if address.is_none() {
            self.wrong(value.span(), "this must be one address, as in \"203.0.113.10\" or \"2001:db8::10\"");
        }
        address
    }

    fn port(&mut self, value: &Spanned<DeValue<'_>>) -> Option<u16> {
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse::<u16>().ok());
        let port = number.filter(|port| *port > 0);
        if port.is_none() {
            self.wrong(value.span(), "this must be a port, 1 to 65535");
        }
        port
    }

    fn listed(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Listed> {
        match value.get_ref() {
            DeValue::Array(items) => {
                let list: Vec<IpAddr> = items.iter().filter_map(|item| self.address(item)).collect();
                Some(Listed::List(list))
            }
            DeValue::String(text) if text.contains('-') => {
                let range = range(text);
                if range.is_none() {
                    let what =
                        "this must be a range of addresses, lowest first, as in \"10.0.1.4-10.0.1.99\"";
                    self.wrong(value.span(), what);
                }
                range.map(Listed::Range)
            }
            _ => self.address(value).map(|address| Listed::List(vec![address])),
        }
    }
}

fn range(text: &str) -> Option<AddressRange> {
    let (first, last) = text.split_once('-')?;
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(AddressRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::report::Weight;

    fn read(text: &str) -> (Addresses, Findings) {
        let mut findings = Findings::default();
        let addresses = Addresses::read(Some(&Source::new("a.toml", text)), &mut findings);
        (addresses, findings)
    }

    #[test]
    fn what_is_there_is_found_and_what_is_not_used_is_said() {
        let (mut addresses, mut findings) = read(
            "[frontends]\nPublic = \"203.0.113.10\"\npubic = \"203.0.113.11\"\n\
             [pools]\nFront = \"10.0.0.4-10.0.0.9\"\nback = [\"10.1.0.1\"]\n\
             [local_ports]\n\"Relay/Media\" = 3478\n[members]\nnic = \"10.0.0.1\"\n\
             [[port]]\nname = \"outside\"\n",
        );
        assert_eq!(addresses.frontend(&["x".into(), "public".into()]).unwrap().to_string(), "203.0.113.10");
        assert_eq!(addresses.local_port("relay/media"), Some(3478));
        assert_eq!(addresses.member("nic").unwrap().to_string(), "10.0.0.1");
        assert!(matches!(addresses.pool("front"), Some((_, Listed::Range(range))) if range.len() == 6));
        assert!(matches!(addresses.pool("Back"), Some((_, Listed::List(list))) if list.len() == 1));
        assert_eq!(addresses.settings[0].1, "[[port]]\nname = \"outside\"\n");
        addresses.report_unused(&mut findings);
        let said: Vec<String> = findings.list.iter().map(ToString::to_string).collect();
        let expected =
            "a.toml:3:9: note: [frontends] has \"pubic\", which nothing here uses; did you mean public?";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let table = [
            ("[frontends]\na = 1", "a.toml:2:5: error: this must be one address"),
            ("[pools]\na = \"10.0.0.9-10.0.0.4\"", "a.toml:2:5: error: this must be a range"),
            ("[pools]\na = \"10.0.0.4-::1\"", "a.toml:2:5: error: this must be a range"),
            ("[pools]\na = [\"10.0.0.4\", \"x\"]", "a.toml:2:18: error: this must be one address"),
            ("[local_ports]\na = 65536", "a.toml:2:5: error: this must be a port"),
            ("[local_ports]\na = 0", "a.toml:2:5: error: this must be a port"),
            ("frontends = 3", "a.toml:1:1: error: frontends must be a section"),
            (
                "[frontend]",
                "a.toml:1:2: error: the addresses file has an unknown section \"frontend\"; did you mean frontends?",
            ),
            ("[frontends", "a.toml:1:11: error: "),
        ];
        for (text, expected) in table {
            let (_, findings) = read(text);
            let first = findings.of(Weight::Error).next().unwrap().to_string();
            assert!(first.starts_with(expected), "{text:?}: {first}");
        }
    }
}
