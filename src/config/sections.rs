//! The sections of the file: which keys each has, and how they are read.

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::error::Report;
use super::file::Source;
use super::raw::{
    At, Field, RawAcl, RawBackend, RawConfig, RawControl, RawDataplane, RawNatRule, RawNeighbour,
    RawOutbound, RawPool, RawPort, RawProbe, RawQuic, RawRoute, RawRule, RawWay, RuleProbe,
};
use super::section::{Keys, Naming, Section};
use super::text;

pub(crate) const ROOT_KEYS: Keys = &[
    "dataplane",
    "control",
    "port",
    "route",
    "neighbour",
    "pool",
    "probe",
    "acl",
    "rule",
    "nat_rule",
    "outbound_rule",
];
pub(crate) const DATAPLANE_KEYS: Keys =
    &["workers", "management_cpu", "flows_per_worker", "frames", "idle", "hash_key", "eal"];
pub(crate) const CONTROL_KEYS: Keys =
    &["socket", "socket_group", "listen", "listen_anywhere", "token_file", "metrics", "state_directory"];
pub(crate) const PORT_KEYS: Keys =
    &["name", "device", "vlan", "addresses", "gateway", "gateway6", "mac", "mtu"];
pub(crate) const ROUTE_KEYS: Keys = &["destination", "via", "port"];
pub(crate) const NEIGHBOUR_KEYS: Keys = &["address", "mac"];
pub(crate) const POOL_KEYS: Keys = &["name", "backends", "addresses", "instances", "drain_timeout"];
pub(crate) const BACKEND_KEYS: Keys = &["address", "weight", "state", "quic_server_id"];
pub(crate) const PROBE_KEYS: Keys = &[
    "name", "kind", "port", "path", "host", "status", "body", "verify", "ca_file", "interval", "timeout",
    "rise", "fall", "via",
];
pub(crate) const RULE_KEYS: Keys = &[
    "name",
    "frontend",
    "pool",
    "backend_port",
    "forward",
    "source_addresses",
    "client_address",
    "tunnel_source",
    "tunnel_port",
    "gue_variant",
    "vni",
    "inner_mac",
    "mss_clamp",
    "quic",
    "quic_config",
    "quic_server_id_length",
    "quic_nonce_length",
    "quic_key",
    "hairpin",
    "icmp_echo",
    "distribution",
    "idle_timeout",
    "tcp_reset",
    "probe",
    "no_healthy_backends",
    "acl",
];
pub(crate) const OUTBOUND_KEYS: Keys =
    &["name", "pool", "frontends", "protocol", "ports_per_backend", "idle_timeout", "tcp_reset"];
pub(crate) const ACL_KEYS: Keys = &["name", "rules"];

pub(crate) const NAT_RULE_KEYS: Keys = &[
    "name",
    "frontend",
    "backend",
    "pool",
    "backend_port",
    "ports",
    "forward",
    "idle_timeout",
    "tcp_reset",
    "icmp_echo",
    "acl",
];

/// Reads a whole file. What is wrong is reported, and what is right is in the result.
pub(crate) fn read(text: &str, report: &mut Report) -> RawConfig {
    let (source, tree) = Source::parse(text, report);
    let root = Section::root(&source, &tree, ROOT_KEYS, report);
    let mut reader = Reader { source: &source, root: &root, report };
    RawConfig {
        dataplane: reader.single("dataplane", "[dataplane]", DATAPLANE_KEYS, dataplane),
        control: reader.single("control", "[control]", CONTROL_KEYS, control),
        ports: reader.each("port", "[[port]]", "name", PORT_KEYS, port),
        routes: reader.each("route", "[[route]]", "destination", ROUTE_KEYS, route),
        neighbours: reader.each("neighbour", "[[neighbour]]", "address", NEIGHBOUR_KEYS, neighbour),
        pools: reader.each("pool", "[[pool]]", "name", POOL_KEYS, pool),
        probes: reader.each("probe", "[[probe]]", "name", PROBE_KEYS, probe),
        acls: reader.each("acl", "[[acl]]", "name", ACL_KEYS, acl),
        rules: reader.each("rule", "[[rule]]", "name", RULE_KEYS, rule),
        nat_rules: reader.each("nat_rule", "[[nat_rule]]", "name", NAT_RULE_KEYS, nat_rule),
        outbound: reader.each("outbound_rule", "[[outbound_rule]]", "name", OUTBOUND_KEYS, outbound),
        // A misspelt section has lost its content as well.
        is_partial: source.is_partial || !root.misspelt.is_empty(),
    }
}

struct Reader<'r, 's, 't> {
    source: &'s Source<'t>,
    root: &'r Section<'s, 't>,
    report: &'r mut Report,
}

type ReadSection<T> = fn(&Source<'_>, &Section<'_, '_>, &mut Report) -> T;

impl<'s, 't> Reader<'_, 's, 't> {
    /// A table that is there once, or not at all.
    fn single<T: Default>(
        &mut self,
        key: &'static str,
        kind: &'static str,
        keys: Keys,
        read: ReadSection<T>,
    ) -> T {
        let naming = Naming { kind, by: "", key, form: kind };
        let Field::Given(At { value, .. }) = self.root.get(key) else { return T::default() };
        let section = Section::open(self.source, value, naming, keys, self.report);
        section.map_or_else(T::default, |section| read(self.source, &section, self.report))
    }

    /// A list of tables.
    fn each<T>(
        &mut self,
        key: &'static str,
        form: &'static str,
        by: &'static str,
        keys: Keys,
        read: ReadSection<T>,
    ) -> Vec<T> {
        let naming = Naming { kind: key, by, key, form };
        let mut all = Vec::new();
        for value in self.items(naming) {
            if let Some(section) = Section::open(self.source, value, naming, keys, self.report) {
                all.push(read(self.source, &section, self.report));
            }
        }
        all
    }

    fn items(&mut self, naming: Naming) -> Vec<&'s Spanned<DeValue<'t>>> {
        match self.root.get(naming.key) {
            Field::Absent | Field::Broken => Vec::new(),
            Field::Given(At { value, place }) => match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                other => {
                    self.report.error(place, naming.wrong_type(other));
                    Vec::new()
                }
            },
        }
    }
}

fn dataplane(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawDataplane {
    RawDataplane {
        workers: section.parsed("workers", text::cpu_list, report),
        management_cpu: section.integer("management_cpu", report),
        flows_per_worker: section.integer("flows_per_worker", report),
        frames: section.integer("frames", report),
        idle: section.parsed("idle", text::idle, report),
        hash_key: section.parsed("hash_key", text::hash_key, report),
        eal: section.parsed_list("eal", text::line, report).0.into_iter().map(|at| at.value).collect(),
    }
}

fn control(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawControl {
    RawControl {
        socket: section.parsed("socket", text::socket_path, report),
        socket_group: section.parsed("socket_group", text::group, report),
        listen: section.parsed("listen", text::socket_address, report),
        listen_anywhere: section.boolean("listen_anywhere", report),
        token_file: section.parsed("token_file", text::line, report),
        metrics: section.parsed("metrics", text::metrics, report),
        state_directory: section.parsed("state_directory", text::line, report),
    }
}

fn port(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawPort {
    let (addresses, addresses_are_whole) = section.parsed_list("addresses", text::cidr, report);
    RawPort {
        place: section.place,
        name: section.parsed("name", text::any, report),
        device: section.parsed("device", text::line, report),
        vlan: section.integers("vlan", report),
        addresses,
        addresses_are_whole,
        gateway: section.parsed("gateway", text::gateway, report),
        gateway6: section.parsed("gateway6", text::gateway6, report),
        mac: section.parsed("mac", text::mac, report),
        mtu: section.integer("mtu", report),
    }
}

fn route(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawRoute {
    RawRoute {
        place: section.place,
        destination: section.parsed("destination", text::network, report),
        via: section.parsed("via", text::address, report),
        port: section.parsed("port", text::any, report),
    }
}

fn neighbour(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawNeighbour {
    RawNeighbour {
        place: section.place,
        address: section.parsed("address", text::address, report),
        mac: section.parsed("mac", text::mac, report),
    }
}

fn pool(source: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawPool {
    RawPool {
        place: section.place,
        name: section.parsed("name", text::any, report),
        backends: match section.list("backends", report) {
            Field::Absent => Field::Absent,
            Field::Broken => Field::Broken,
            Field::Given(At { value, place }) => Field::at(backends(source, value, report), place),
        },
        addresses: section.parsed("addresses", text::address_range, report),
        instances: section.integer("instances", report),
        drain_timeout: section.parsed("drain_timeout", text::duration, report),
    }
}

fn backends(source: &Source<'_>, items: &DeArray<'_>, report: &mut Report) -> Vec<RawBackend> {
    let naming =
        Naming { kind: "backend", by: "address", key: "backends", form: "{ address = \"10.0.0.4\" }" };
    let open = |item, report: &mut Report| {
        let section = Section::open(source, item, naming, BACKEND_KEYS, report)?;
        Some(RawBackend {
            place: section.place,
            address: section.parsed("address", text::address, report),
            weight: section.integer("weight", report),
            state: section.parsed("state", text::admin_state, report),
            quic_server_id: section.parsed("quic_server_id", text::quic_server_id, report),
        })
    };
    items.iter().filter_map(|item| open(item, report)).collect()
}

fn probe(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawProbe {
    RawProbe {
        place: section.place,
        name: section.parsed("name", text::any, report),
        kind: section.parsed("kind", text::probe_kind, report),
        port: section.integer("port", report),
        path: section.parsed("path", text::url_path, report),
        host: section.parsed("host", text::host, report),
        status: section.parsed("status", text::statuses, report),
        body: section.parsed("body", text::line, report),
        verify: section.boolean("verify", report),
        ca_file: section.parsed("ca_file", text::line, report),
        via: section.parsed("via", text::probe_via, report),
        interval: section.parsed("interval", text::duration, report),
        timeout: section.parsed("timeout", text::duration, report),
        rise: section.integer("rise", report),
        fall: section.integer("fall", report),
    }
}

fn rule(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawRule {
    RawRule {
        place: section.place,
        name: section.parsed("name", text::any, report),
        frontend: section.parsed("frontend", text::frontend, report),
        pool: section.parsed("pool", text::any, report),
        backend_port: section.integer("backend_port", report),
        forward: section.parsed("forward", text::forward, report),
        way: way(section, report),
        tcp_reset: section.boolean("tcp_reset", report),
        hairpin: section.boolean("hairpin", report),
        icmp_echo: section.boolean("icmp_echo", report),
        mss_clamp: section.clamp("mss_clamp", report),
        quic: quic(section, report),
        distribution: section.parsed("distribution", text::distribution, report),
        idle_timeout: section.parsed("idle_timeout", text::duration, report),
        probe: section.parsed("probe", |name| Ok(RuleProbe::Named(name.to_owned())), report),
        no_healthy_backends: section.parsed("no_healthy_backends", text::no_healthy_backends, report),
        acl: section.parsed("acl", text::any, report),
    }
}

fn acl(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawAcl {
    RawAcl {
        place: section.place,
        name: section.parsed("name", text::any, report),
        rules: section.parsed_items("rules", text::acl_rule, report),
    }
}

fn nat_rule(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawNatRule {
    RawNatRule {
        place: section.place,
        name: section.parsed("name", text::any, report),
        frontend: section.parsed("frontend", text::frontend, report),
        backend: section.parsed("backend", text::backend, report),
        pool: section.parsed("pool", text::any, report),
        backend_port: section.integer("backend_port", report),
        ports: section.parsed_items("ports", text::nat_port, report),
        forward: section.parsed("forward", text::nat_forward, report),
        idle_timeout: section.parsed("idle_timeout", text::duration, report),
        tcp_reset: section.boolean("tcp_reset", report),
        icmp_echo: section.boolean("icmp_echo", report),
        acl: section.parsed("acl", text::any, report),
    }
}

fn outbound(_: &Source<'_>, section: &Section<'_, '_>, report: &mut Report) -> RawOutbound {
    RawOutbound {
        place: section.place,
        name: section.parsed("name", text::any, report),
        pool: section.parsed("pool", text::any, report),
        frontends: section.parsed_items("frontends", text::address, report),
        protocol: section.parsed("protocol", text::outbound_protocol, report),
        ports_per_backend: section.integer("ports_per_backend", report),
        idle_timeout: section.parsed("idle_timeout", text::duration, report),
        tcp_reset: section.boolean("tcp_reset", report),
    }
}

fn quic(section: &Section<'_, '_>, report: &mut Report) -> RawQuic {
    RawQuic {
        kind: section.parsed("quic", text::quic, report),
        config: section.integer("quic_config", report),
        server_id_length: section.integer("quic_server_id_length", report),
        nonce_length: section.integer("quic_nonce_length", report),
        key: section.parsed("quic_key", text::quic_key, report),
    }
}

fn way(section: &Section<'_, '_>, report: &mut Report) -> RawWay {
    RawWay {
        source_addresses: section.parsed_items("source_addresses", text::addresses, report),
        client_address: section.parsed_items("client_address", text::client_address, report),
        tunnel_source: section.parsed("tunnel_source", text::tunnel_source, report),
        tunnel_port: section.integer("tunnel_port", report),
        gue_variant: section.integer("gue_variant", report),
        vni: section.integer("vni", report),
        inner_mac: section.parsed("inner_mac", text::mac, report),
    }
}

/// Every section with its keys, for tests that must know them all.
#[cfg(test)]
pub(crate) const SECTIONS: [(&str, Keys); 12] = [
    ("dataplane", DATAPLANE_KEYS),
    ("control", CONTROL_KEYS),
    ("port", PORT_KEYS),
    ("route", ROUTE_KEYS),
    ("neighbour", NEIGHBOUR_KEYS),
    ("pool", POOL_KEYS),
    ("backends", BACKEND_KEYS),
    ("probe", PROBE_KEYS),
    ("rule", RULE_KEYS),
    ("nat_rule", NAT_RULE_KEYS),
    ("outbound_rule", OUTBOUND_KEYS),
    ("acl", ACL_KEYS),
];
