//! A model as the text of a file that means the same: what was said by flags, and what holds by default, included.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use super::model::{
    Acl, Backend, ControlSettings, DataplaneSettings, Encapsulation, Forward, FullNat, HashKey, Idle,
    Metrics, Model, MssClamp, NatRule, NatTarget, OutboundRule, Pool, Port, Quic, QuicLb, Remote, Rule,
    Spread, StaticNeighbour, StaticRoute, Tunnel,
};
use super::probe::{Probe, ProbeKind};

/// The text of a file that gives `model`, its secrets apart: the hash key and keys of QUIC-LB are left out.
pub fn to_text(model: &Model) -> String {
    text_of(model, None, false)
}

/// The same with keys of QUIC-LB, and a hash key if there is one, for who knows them anyway.
pub fn to_text_with(model: &Model, key: Option<HashKey>) -> String {
    text_of(model, key, true)
}

fn text_of(model: &Model, key: Option<HashKey>, with_secrets: bool) -> String {
    let Model { dataplane, control, ports, routes, neighbours, pools, acls, nat_rules, rules, outbound } =
        model;
    let mut text = Text::default();
    text.dataplane(dataplane, key);
    text.control(control);
    ports.iter().for_each(|port| text.port(port));
    routes.iter().for_each(|route| text.route(*route, ports));
    neighbours.iter().for_each(|neighbour| text.neighbour(*neighbour));
    pools.iter().for_each(|pool| text.pool(pool));
    acls.iter().for_each(|acl| text.acl(acl));
    // Probes keep their names; one that a rule has of its own is given one that is free.
    let given: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.probe_name.as_deref()).collect();
    let mut free = (1..).map(|n: usize| format!("probe-{n}")).filter(|name| !given.contains(name.as_str()));
    let mut rules_of = Vec::with_capacity(rules.len());
    let mut named: BTreeMap<(Option<&str>, &Arc<Probe>), String> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| !rule.is_nat_rule) {
        let name = rule.probe.as_ref().map(|probe| {
            named.entry((rule.probe_name.as_deref(), probe)).or_insert_with_key(|(given, probe)| {
                let name = given.map(str::to_owned).or_else(|| free.next()).unwrap_or_default();
                text.probe(&name, probe);
                name
            })
        });
        rules_of.push((rule, name.cloned()));
    }
    for (rule, name) in &rules_of {
        text.rule(rule, name.as_deref(), with_secrets);
    }
    nat_rules.iter().for_each(|rule| text.nat_rule(rule));
    outbound.iter().for_each(|rule| text.outbound(rule));
    text.0
}

/// Writing to a string does not fail.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, heading: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}{heading}");
    }

    /// What TOML knows as it stands: numbers, lists.
    fn plain(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn quoted(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(value));
    }

    fn duration(&mut self, key: &str, value: std::time::Duration) {
        self.quoted(key, humantime::format_duration(value));
    }

    fn dataplane(&mut self, settings: &DataplaneSettings, key: Option<HashKey>) {
        let DataplaneSettings { workers, management_cpu, flows_per_worker, frames, idle, hash_key: _, eal } =
            settings;
        self.section("[dataplane]");
        if let Some(workers) = workers {
            self.quoted("workers", list(workers));
        }
        management_cpu.iter().for_each(|cpu| self.plain("management_cpu", cpu));
        self.plain("flows_per_worker", flows_per_worker);
        frames.iter().for_each(|frames| self.plain("frames", frames));
        self.quoted(
            "idle",
            match idle {
                Idle::Spin => "spin",
                Idle::Pause => "pause",
                Idle::Sleep => "sleep",
            },
        );
        if let Some(HashKey(key)) = key {
            self.quoted("hash_key", key.map(|byte| format!("{byte:02x}")).concat());
        }
        if !eal.is_empty() {
            self.plain("eal", format!("[{}]", list(eal.iter().map(quoted))));
        }
    }

    fn control(&mut self, settings: &ControlSettings) {
        let ControlSettings { socket, socket_group, remote, metrics, state_directory } = settings;
        self.section("[control]");
        self.quoted("socket", socket.display());
        socket_group.iter().for_each(|group| self.quoted("socket_group", group));
        if let Some(Remote { address, token_file }) = remote {
            self.quoted("listen", address);
            if !address.ip().is_loopback() {
                self.plain("listen_anywhere", true);
            }
            self.quoted("token_file", token_file.display());
        }
        match metrics {
            // It says more than the address: that guideway may do without.
            Metrics::Default => {}
            Metrics::At(address) => self.quoted("metrics", address),
            Metrics::Off => self.quoted("metrics", "off"),
        }
        self.quoted("state_directory", state_directory.display());
    }

    fn port(&mut self, port: &Port) {
        let Port { name, device, vlan, addresses, gateway, gateway6, mac, mtu } = port;
        self.section("[[port]]");
        self.quoted("name", name);
        device.iter().for_each(|device| self.quoted("device", device));
        if !vlan.is_empty() {
            self.plain("vlan", format!("[{}]", list(vlan)));
        }
        self.plain("addresses", format!("[{}]", list(addresses.iter().map(quoted))));
        gateway.iter().for_each(|gateway| self.quoted("gateway", gateway));
        gateway6.iter().for_each(|gateway| self.quoted("gateway6", gateway));
        mac.iter().for_each(|mac| self.quoted("mac", mac));
        self.plain("mtu", mtu);
    }

    fn route(&mut self, route: StaticRoute, ports: &[Port]) {
        let StaticRoute { destination, via, port } = route;
        self.section("[[route]]");
        self.quoted("destination", destination);
        self.quoted("via", via);
        ports.get(port.index()).iter().for_each(|port| self.quoted("port", &port.name));
    }

    fn neighbour(&mut self, neighbour: StaticNeighbour) {
        let StaticNeighbour { address, mac } = neighbour;
        self.section("[[neighbour]]");
        self.quoted("address", address);
        self.quoted("mac", mac);
    }

    fn pool(&mut self, pool: &Pool) {
        let Pool { name, backends, drain_timeout } = pool;
        self.section("[[pool]]");
        self.quoted("name", name);
        drain_timeout.iter().for_each(|timeout| self.duration("drain_timeout", *timeout));
        self.0 += "backends = [\n";
        for Backend { address, weight, state, quic_server_id } in backends {
            let id = quic_server_id.map_or_else(String::new, |id| format!(", quic_server_id = \"{id}\""));
            let _ = writeln!(
                self.0,
                "  {{ address = \"{address}\", weight = {weight}, state = \"{state}\"{id} }},"
            );
        }
        self.0 += "]\n";
    }

    fn probe(&mut self, name: &str, probe: &Probe) {
        let Probe {
            kind,
            port,
            path,
            host,
            status,
            body,
            verify,
            ca_file,
            via,
            interval,
            timeout,
            rise,
            fall,
        } = probe;
        self.section("[[probe]]");
        self.quoted("name", name);
        self.quoted("kind", kind);
        port.iter().for_each(|port| self.plain("port", port));
        if *kind != ProbeKind::Tcp {
            self.quoted("path", path);
            host.iter().for_each(|host| self.quoted("host", host));
            self.quoted("status", status);
            body.iter().for_each(|body| self.quoted("body", body));
        }
        if *kind == ProbeKind::Https {
            self.plain("verify", verify);
            ca_file.iter().for_each(|file| self.quoted("ca_file", file.display()));
        }
        self.quoted("via", via);
        self.duration("interval", *interval);
        self.duration("timeout", *timeout);
        self.plain("rise", rise);
        self.plain("fall", fall);
    }

    /// What only some ways to forward know.
    fn way(&mut self, forward: &Forward) {
        match forward {
            Forward::Nat | Forward::Dsr => {}
            Forward::FullNat(FullNat { source_addresses, toa, proxy_v2 }) => {
                if !source_addresses.is_empty() {
                    self.plain(
                        "source_addresses",
                        format!("[{}]", list(source_addresses.iter().map(quoted))),
                    );
                }
                let words =
                    [("toa", *toa), ("proxy-v2", *proxy_v2)].into_iter().filter(|(_, is_said)| *is_said);
                let words: Vec<String> = words.map(|(word, _)| quoted(word)).collect();
                if !words.is_empty() {
                    self.plain("client_address", format!("[{}]", list(words)));
                }
            }
            Forward::Tunnel(Tunnel { source, encapsulation }) => {
                source.iter().for_each(|source| self.quoted("tunnel_source", source));
                match encapsulation {
                    Encapsulation::Ipip | Encapsulation::Gre => {}
                    Encapsulation::Gue { port, variant } => {
                        self.plain("tunnel_port", port);
                        self.plain("gue_variant", *variant as u8);
                    }
                    Encapsulation::Vxlan { port, vni, inner_mac } => {
                        self.plain("tunnel_port", port);
                        self.plain("vni", vni);
                        inner_mac.iter().for_each(|mac| self.quoted("inner_mac", mac));
                    }
                }
            }
        }
    }

    fn quic(&mut self, quic: &Quic, with_secrets: bool) {
        let Quic::QuicLb(QuicLb { config, server_id_len, nonce_len, key }) = quic else {
            return self.quoted("quic", "katran");
        };
        self.quoted("quic", "quic-lb");
        self.plain("quic_config", config);
        self.plain("quic_server_id_length", server_id_len);
        self.plain("quic_nonce_length", nonce_len);
        if let Some(HashKey(key)) = key.filter(|_| with_secrets) {
            self.quoted("quic_key", key.map(|byte| format!("{byte:02x}")).concat());
        }
    }

    fn rule(&mut self, rule: &Rule, probe_name: Option<&str>, with_secrets: bool) {
        let Rule {
            name,
            frontend,
            pool,
            backend_port,
            forward,
            distribution,
            idle_timeout,
            tcp_reset,
            hairpin,
            icmp_echo,
            mss_clamp,
            quic,
            probe: _,
            probe_name: _,
            no_healthy_backends,
            acl,
            is_nat_rule: _,
        } = rule;
        self.section("[[rule]]");
        self.quoted("name", name);
        self.quoted("frontend", frontend);
        self.quoted("pool", &pool.name);
        // Where packets keep their port, there is none to be said.
        Some(backend_port)
            .filter(|port| **port != 0)
            .iter()
            .for_each(|port| self.plain("backend_port", port));
        self.quoted("forward", forward.mode());
        self.way(forward);
        if forward.mode().translates() {
            self.plain("tcp_reset", tcp_reset);
            self.plain("hairpin", hairpin);
        }
        self.plain("icmp_echo", icmp_echo);
        match mss_clamp {
            None => {}
            Some(MssClamp::FromMtu) => self.plain("mss_clamp", true),
            Some(MssClamp::To(bytes)) => self.plain("mss_clamp", bytes),
        }
        quic.iter().for_each(|quic| self.quic(quic, with_secrets));
        self.quoted("distribution", distribution);
        self.duration("idle_timeout", *idle_timeout);
        probe_name.iter().for_each(|name| self.quoted("probe", name));
        self.quoted("no_healthy_backends", no_healthy_backends);
        acl.iter().for_each(|acl| self.quoted("acl", &acl.name));
    }

    fn acl(&mut self, acl: &Acl) {
        let Acl { name, rules } = acl;
        self.section("[[acl]]");
        self.quoted("name", name);
        self.0 += "rules = [\n";
        for rule in rules {
            let _ = writeln!(self.0, "  \"{rule}\",");
        }
        self.0 += "]\n";
    }

    fn nat_rule(&mut self, rule: &NatRule) {
        let NatRule {
            name,
            frontend,
            target,
            backend_port,
            forward,
            idle_timeout,
            tcp_reset,
            icmp_echo,
            acl,
        } = rule;
        self.section("[[nat_rule]]");
        self.quoted("name", name);
        self.quoted("frontend", frontend);
        match target {
            NatTarget::One(address) if *backend_port == 0 => self.quoted("backend", address),
            NatTarget::One(address) => self.quoted("backend", SocketAddr::new(*address, *backend_port)),
            // Ports that nobody said are no part of the configuration.
            NatTarget::Each(Spread { pool, fixed, ports: _, former: _ }) => {
                self.quoted("pool", &pool.name);
                if *backend_port != 0 {
                    self.plain("backend_port", backend_port);
                }
                if !fixed.is_empty() {
                    let fixed = fixed.iter().map(|(address, port)| quoted(format!("{address}={port}")));
                    self.plain("ports", format!("[{}]", list(fixed)));
                }
            }
        }
        self.quoted("forward", forward.mode());
        self.duration("idle_timeout", *idle_timeout);
        if forward.mode().translates() {
            self.plain("tcp_reset", tcp_reset);
        }
        self.plain("icmp_echo", icmp_echo);
        acl.iter().for_each(|acl| self.quoted("acl", &acl.name));
    }

    fn outbound(&mut self, rule: &OutboundRule) {
        let OutboundRule { name, pool, frontends, protocol, ports_per_backend, idle_timeout, tcp_reset } =
            rule;
        self.section("[[outbound_rule]]");
        self.quoted("name", name);
        self.quoted("pool", &pool.name);
        self.plain("frontends", format!("[{}]", list(frontends.iter().map(quoted))));
        self.quoted("protocol", protocol);
        ports_per_backend.iter().for_each(|ports| self.plain("ports_per_backend", ports));
        self.duration("idle_timeout", *idle_timeout);
        self.plain("tcp_reset", tcp_reset);
    }
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
