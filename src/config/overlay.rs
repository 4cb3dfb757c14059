//! Flags laid over what the file says. A flag's value is read by the same parsers as the file's.

mod backend;
mod forward;
mod probe;
mod quic;

use std::collections::{BTreeMap, HashSet};

use super::error::{Place, Report};
use super::flags::ConfigFlags;
use super::problem::{FlagProblem, NameProblem, ValueProblem};
use super::raw::{At, Field, RawBackend, RawConfig, RawNeighbour, RawPool, RawPort, RawRule};
use super::section::{Keys, bad_value, nearest};
use super::subject_of;
use super::text::{self, BadText};

/// Puts what `flags` say into `raw`.
pub(crate) fn apply(flags: &ConfigFlags, raw: &mut RawConfig, report: &mut Report) {
    settings(flags, raw, report);
    let mut overlay = Overlay { raw, report };
    overlay.ports(flags);
    flags.route.iter().for_each(|text| overlay.route(text));
    for text in &flags.neighbour {
        overlay.neighbour(text);
    }
    for text in &flags.frontend {
        overlay.frontend(text);
    }
    overlay.backends(&flags.backend);
    overlay.rules(flags);
}

/// The flags that are there once.
fn settings(flags: &ConfigFlags, raw: &mut RawConfig, report: &mut Report) {
    let (dataplane, control) = (&mut raw.dataplane, &mut raw.control);
    single(&flags.workers, &WORKERS, text::cpu_list, &mut dataplane.workers, report);
    single(&flags.management_cpu, &MANAGEMENT_CPU, text::integer, &mut dataplane.management_cpu, report);
    single(
        &flags.flows_per_worker,
        &FLOWS_PER_WORKER,
        text::integer,
        &mut dataplane.flows_per_worker,
        report,
    );
    single(&flags.frames, &FRAMES, text::integer, &mut dataplane.frames, report);
    single(&flags.idle, &IDLE, text::idle, &mut dataplane.idle, report);
    single(&flags.hash_key, &HASH_KEY, text::hash_key, &mut dataplane.hash_key, report);
    single(&flags.control_socket, &CONTROL_SOCKET, text::socket_path, &mut control.socket, report);
    single(&flags.control_socket_group, &SOCKET_GROUP, text::group, &mut control.socket_group, report);
    single(&flags.control_listen, &LISTEN, text::socket_address, &mut control.listen, report);
    if flags.control_listen_anywhere {
        control.listen_anywhere = Field::at(true, LISTEN_ANYWHERE.place());
    }
    single(&flags.control_token_file, &TOKEN_FILE, text::line, &mut control.token_file, report);
    single(&flags.metrics, &METRICS, text::metrics, &mut control.metrics, report);
    single(&flags.state_directory, &STATE_DIRECTORY, text::line, &mut control.state_directory, report);
}

/// A flag, its twin in the file, and how it is written.
struct Flag {
    name: &'static str,
    key: &'static str,
    form: &'static str,
}

impl Flag {
    const fn new(name: &'static str, key: &'static str, form: &'static str) -> Self {
        Self { name, key, form }
    }

    fn place(&self) -> Place {
        Place::Flag(self.name)
    }
}

const WORKERS: Flag = Flag::new("--workers", "workers", "--workers 2-5");
const MANAGEMENT_CPU: Flag = Flag::new("--management-cpu", "management_cpu", "--management-cpu 0");
const FLOWS_PER_WORKER: Flag =
    Flag::new("--flows-per-worker", "flows_per_worker", "--flows-per-worker 1048576");
const FRAMES: Flag = Flag::new("--frames", "frames", "--frames 131071");
const IDLE: Flag = Flag::new("--idle", "idle", "--idle spin");
const HASH_KEY: Flag = Flag::new("--hash-key", "hash_key", "--hash-key HEX");
const CONTROL_SOCKET: Flag = Flag::new("--control-socket", "socket", "--control-socket PATH");
const SOCKET_GROUP: Flag =
    Flag::new("--control-socket-group", "socket_group", "--control-socket-group GROUP");
const LISTEN: Flag = Flag::new("--control-listen", "listen", "--control-listen 127.0.0.1:9465");
const LISTEN_ANYWHERE: Flag =
    Flag::new("--control-listen-anywhere", "listen_anywhere", "--control-listen-anywhere");
const TOKEN_FILE: Flag = Flag::new("--control-token-file", "token_file", "--control-token-file PATH");
const METRICS: Flag = Flag::new("--metrics", "metrics", "--metrics 127.0.0.1:9464");
const STATE_DIRECTORY: Flag = Flag::new("--state-directory", "state_directory", "--state-directory PATH");
const PORT: Flag = Flag::new("--port", "device", "--port outside=0000:3b:00.0");
const ADDRESS: Flag = Flag::new("--address", "address", "--address outside=198.51.100.2/24");
const GATEWAY: Flag = Flag::new("--gateway", "gateway", "--gateway outside=198.51.100.1");
const GATEWAY6: Flag = Flag::new("--gateway6", "gateway6", "--gateway6 outside=2001:db8:1::1");
const VLAN: Flag = Flag::new("--vlan", "vlan", "--vlan outside=100");
const ROUTE: Flag = Flag::new("--route", "via", "--route 10.9.0.0/16=10.0.0.254");
const MAC: Flag = Flag::new("--mac", "mac", "--mac outside=02:00:00:00:00:01");
const MTU: Flag = Flag::new("--mtu", "mtu", "--mtu outside=1500");
const NEIGHBOUR: Flag = Flag::new("--neighbour", "mac", "--neighbour 10.0.0.4=02:00:00:00:00:04");
const FRONTEND: Flag = Flag::new("--frontend", "frontend", "--frontend web=203.0.113.10:443/tcp");
const BACKEND: Flag = Flag::new("--backend", "address", "--backend web=10.0.0.4:8443,weight=2");
const FORWARD: Flag = Flag::new("--forward", "forward", "--forward web=gue,tunnel_port=6080");
const TCP_RESET: Flag = Flag::new("--tcp-reset", "tcp_reset", "--tcp-reset web=true");
const HAIRPIN: Flag = Flag::new("--hairpin", "hairpin", "--hairpin web=true");
const ICMP_ECHO: Flag = Flag::new("--icmp-echo", "icmp_echo", "--icmp-echo web=false");
const MSS_CLAMP: Flag = Flag::new("--mss-clamp", "mss_clamp", "--mss-clamp web=1400");
const QUIC: Flag = Flag::new("--quic", "quic", "--quic web=quic-lb,server_id_length=2");
const POOL: Flag = Flag::new("--pool", "pool", "--pool https=web");
const DISTRIBUTION: Flag = Flag::new("--distribution", "distribution", "--distribution web=5-tuple");
const IDLE_TIMEOUT: Flag = Flag::new("--idle-timeout", "idle_timeout", "--idle-timeout web=4m");
const PROBE: Flag = Flag::new("--probe", "kind", "--probe web=http:8081/healthz,interval=5s");
const NO_HEALTHY_BACKENDS: Flag =
    Flag::new("--no-healthy-backends", "no_healthy_backends", "--no-healthy-backends web=drop");

type Parse<T> = fn(&str) -> Result<T, BadText>;

fn single<T>(text: &Option<String>, flag: &Flag, parse: Parse<T>, field: &mut Field<T>, report: &mut Report) {
    if let Some(text) = text {
        *field = parsed("the command line", text, flag.key, flag, parse, report);
    }
}

fn parsed<T>(
    subject: &str,
    text: &str,
    key: &'static str,
    flag: &Flag,
    parse: Parse<T>,
    report: &mut Report,
) -> Field<T> {
    match parse(text) {
        Ok(value) => Field::at(value, flag.place()),
        Err(why) => {
            report.error(flag.place(), bad_value(subject, key, text, why));
            Field::Broken
        }
    }
}

struct Overlay<'a> {
    raw: &'a mut RawConfig,
    report: &'a mut Report,
}

impl Overlay<'_> {
    fn ports(&mut self, flags: &ConfigFlags) {
        for text in &flags.port {
            self.port(text);
        }
        self.addresses(&flags.address);
        for text in &flags.gateway {
            self.port_value(text, &GATEWAY, text::gateway, |port| &mut port.gateway);
        }
        for text in &flags.gateway6 {
            self.port_value(text, &GATEWAY6, text::gateway6, |port| &mut port.gateway6);
        }
        for text in &flags.vlan {
            self.port_value(text, &VLAN, text::vlans, |port| &mut port.vlan);
        }
        for text in &flags.mac {
            self.port_value(text, &MAC, text::mac, |port| &mut port.mac);
        }
        for text in &flags.mtu {
            self.port_value(text, &MTU, text::integer, |port| &mut port.mtu);
        }
    }

    fn rules(&mut self, flags: &ConfigFlags) {
        for text in &flags.pool {
            self.rule_value(text, &POOL, text::any, |rule| &mut rule.pool);
        }
        for text in &flags.distribution {
            self.rule_value(text, &DISTRIBUTION, text::distribution, |rule| &mut rule.distribution);
        }
        for text in &flags.idle_timeout {
            self.rule_value(text, &IDLE_TIMEOUT, text::duration, |rule| &mut rule.idle_timeout);
        }
        flags.forward.iter().for_each(|text| self.forward(text));
        flags.quic.iter().for_each(|text| self.quic(text));
        self.switches(&flags.tcp_reset, &TCP_RESET, |rule| &mut rule.tcp_reset);
        self.switches(&flags.hairpin, &HAIRPIN, |rule| &mut rule.hairpin);
        self.switches(&flags.icmp_echo, &ICMP_ECHO, |rule| &mut rule.icmp_echo);
        for text in &flags.mss_clamp {
            self.rule_value(text, &MSS_CLAMP, text::mss_clamp, |rule| &mut rule.mss_clamp);
        }
        let slot: fn(&mut RawRule) -> &mut Field<_> = |rule| &mut rule.no_healthy_backends;
        for text in &flags.no_healthy_backends {
            self.rule_value(text, &NO_HEALTHY_BACKENDS, text::no_healthy_backends, slot);
        }
        for text in &flags.probe {
            self.probe(text);
        }
    }

    fn switches(&mut self, texts: &[String], flag: &Flag, slot: fn(&mut RawRule) -> &mut Field<bool>) {
        texts.iter().for_each(|text| self.rule_value(text, flag, text::yes_or_no, slot));
    }

    /// `NAME=VALUE`, neither empty.
    fn split<'t>(&mut self, text: &'t str, flag: &Flag) -> Option<(&'t str, &'t str)> {
        let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        if pair.is_none() {
            self.malformed(text, flag);
        }
        pair
    }

    fn malformed(&mut self, text: &str, flag: &Flag) {
        self.report.error(flag.place(), FlagProblem::Form { text: text.to_owned(), form: flag.form });
    }

    fn port(&mut self, text: &str) {
        let Some((name, device)) = self.split(text, &PORT) else { return };
        let subject = subject_of("port", name);
        let device = parsed(&subject, device, PORT.key, &PORT, text::line, self.report);
        if find(&mut self.raw.ports, name, |port| &port.name).is_none() {
            let name = Field::at(name.to_owned(), PORT.place());
            self.raw.ports.push(RawPort { name, ..RawPort::new(PORT.place()) });
        }
        if let Some(port) = find(&mut self.raw.ports, name, |port| &port.name) {
            put(&mut port.device, device, subject, &PORT, self.report);
        }
    }

    fn addresses(&mut self, texts: &[String]) {
        let mut replaced = HashSet::new();
        for text in texts {
            let Some((name, value)) = self.split(text, &ADDRESS) else { continue };
            let address =
                parsed(&subject_of("port", name), value, ADDRESS.key, &ADDRESS, text::cidr, self.report);
            if !self.has_port(name, &ADDRESS) {
                continue;
            }
            let Some(port) = find(&mut self.raw.ports, name, |port| &port.name) else { continue };
            if replaced.insert(name) {
                port.addresses.clear();
                port.addresses_are_whole = true;
            }
            match address {
                Field::Given(at) => port.addresses.push(at),
                Field::Absent | Field::Broken => port.addresses_are_whole = false,
            }
        }
    }

    fn port_value<T>(
        &mut self,
        text: &str,
        flag: &Flag,
        parse: Parse<T>,
        slot: fn(&mut RawPort) -> &mut Field<T>,
    ) {
        let Some((name, value)) = self.split(text, flag) else { return };
        let subject = subject_of("port", name);
        let field = parsed(&subject, value, flag.key, flag, parse, self.report);
        if self.has_port(name, flag)
            && let Some(port) = find(&mut self.raw.ports, name, |port| &port.name)
        {
            put(slot(port), field, subject, flag, self.report);
        }
    }

    /// Whether there is such a port; reported where there is none.
    fn has_port(&mut self, name: &str, flag: &Flag) -> bool {
        let names: Vec<&str> =
            self.raw.ports.iter().filter_map(|port| port.name.value()).map(String::as_str).collect();
        let is_there = names.contains(&name);
        if !is_there && !self.raw.is_partial {
            let near = nearest(name, names.into_iter()).map(str::to_owned);
            let (user, name, remedy) = (String::new(), name.to_owned(), "add --port NAME=DEVICE");
            self.report
                .error(flag.place(), NameProblem::NotDefined { user, kind: "port", name, near, remedy });
        }
        is_there
    }

    /// Whether there is such a rule; reported where there is none.
    fn has_rule(&mut self, name: &str, flag: &Flag) -> bool {
        let names: Vec<&str> =
            self.raw.rules.iter().filter_map(|rule| rule.name.value()).map(String::as_str).collect();
        let is_there = names.contains(&name);
        if !is_there && !self.raw.is_partial {
            let near = nearest(name, names.into_iter()).map(str::to_owned);
            let (user, name, remedy) =
                (String::new(), name.to_owned(), "add --frontend NAME=ADDR:PORT/PROTO");
            self.report
                .error(flag.place(), NameProblem::NotDefined { user, kind: "rule", name, near, remedy });
        }
        is_there
    }

    fn neighbour(&mut self, text: &str) {
        let Some((address, mac)) = self.split(text, &NEIGHBOUR) else { return };
        let subject = "the command line";
        let mac = parsed(subject, mac, "mac", &NEIGHBOUR, text::mac, self.report);
        let address = parsed(subject, address, "address", &NEIGHBOUR, text::address, self.report);
        if let Some(own) = address.value() {
            // What the command line says of an address replaces what the file says of it.
            let is_of_file = |other: &RawNeighbour| matches!(other.place, Place::Line(_));
            let is_same = |other: &RawNeighbour| other.address.value() == Some(own);
            self.raw.neighbours.retain(|other| !(is_of_file(other) && is_same(other)));
        }
        self.raw.neighbours.push(RawNeighbour { place: NEIGHBOUR.place(), address, mac });
    }

    fn frontend(&mut self, text: &str) {
        let Some((name, value)) = self.split(text, &FRONTEND) else { return };
        let subject = subject_of("rule", name);
        let frontend = parsed(&subject, value, FRONTEND.key, &FRONTEND, text::frontend, self.report);
        if find(&mut self.raw.rules, name, |rule| &rule.name).is_none() {
            let field = || Field::at(name.to_owned(), FRONTEND.place());
            self.raw.rules.push(RawRule { name: field(), pool: field(), ..RawRule::new(FRONTEND.place()) });
        }
        if let Some(rule) = find(&mut self.raw.rules, name, |rule| &rule.name) {
            put(&mut rule.frontend, frontend, subject, &FRONTEND, self.report);
        }
    }

    fn backends(&mut self, texts: &[String]) {
        let mut ports: BTreeMap<&str, u16> = BTreeMap::new();
        let mut replaced = HashSet::new();
        for text in texts {
            let Some((name, value)) = self.split(text, &BACKEND) else { continue };
            let (backend, port) = self.backend(name, value);
            self.add_backend(name, backend, replaced.insert(name));
            let Some(port) = port else { continue };
            let first = *ports.entry(name).or_insert(port);
            if first != port {
                let problem = FlagProblem::PortsDisagree { pool: name.to_owned(), first, other: port };
                self.report.error(BACKEND.place(), problem);
            }
        }
        for (name, port) in ports {
            match find(&mut self.raw.rules, name, |rule| &rule.name) {
                Some(rule) => rule.backend_port = Field::at(i128::from(port), BACKEND.place()),
                None if self.raw.is_partial => {}
                None => {
                    let pool = name.to_owned();
                    self.report.error(BACKEND.place(), FlagProblem::PortWithoutRule { pool, port });
                }
            }
        }
    }

    fn unknown_option(&mut self, subject: &str, option: &str, allowed: Keys, flag: &Flag) {
        let key = option.split_once('=').map_or(option, |(key, _)| key);
        if allowed.contains(&key) {
            return self.malformed(option, flag);
        }
        let near = nearest(key, allowed.iter().copied());
        let (subject, key) = (subject.to_owned(), key.to_owned());
        self.report.error(flag.place(), ValueProblem::UnknownKey { subject, key, near, allowed });
    }

    fn add_backend(&mut self, name: &str, backend: RawBackend, replaces: bool) {
        if find(&mut self.raw.pools, name, |pool| &pool.name).is_none() {
            let name = Field::at(name.to_owned(), BACKEND.place());
            self.raw.pools.push(RawPool { name, ..RawPool::new(BACKEND.place()) });
        }
        let Some(pool) = find(&mut self.raw.pools, name, |pool| &pool.name) else { return };
        if replaces {
            pool.backends = Field::at(Vec::new(), BACKEND.place());
            pool.addresses = Field::Absent;
            pool.instances = Field::Absent;
        }
        if let Field::Given(At { value, .. }) = &mut pool.backends {
            value.push(backend);
        }
    }

    fn rule_value<T>(
        &mut self,
        text: &str,
        flag: &Flag,
        parse: Parse<T>,
        slot: fn(&mut RawRule) -> &mut Field<T>,
    ) {
        let Some((name, value)) = self.split(text, flag) else { return };
        let subject = subject_of("rule", name);
        let field = parsed(&subject, value, flag.key, flag, parse, self.report);
        // The pool that --frontend assumed has its own place, so that --pool may follow it.
        if self.has_rule(name, flag)
            && let Some(rule) = find(&mut self.raw.rules, name, |rule| &rule.name)
        {
            put(slot(rule), field, subject, flag, self.report);
        }
    }
}

/// `ADDR` or `ADDR:PORT`; of IPv6 `ADDR`, `[ADDR]` or `[ADDR]:PORT`.
fn address_and_port(text: &str) -> (&str, Option<&str>) {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match (in_brackets, text.split_once(':')) {
        (Some((address, "")), _) => (address, None),
        (Some((address, port)), _) if port.starts_with(':') => (address, port.strip_prefix(':')),
        // A second colon makes it an IPv6 address.
        (None, Some((address, port))) if !port.contains(':') => (address, Some(port)),
        _ => (text, None),
    }
}

/// Stores what a flag says, unless the same flag has said it already.
fn put<T>(slot: &mut Field<T>, field: Field<T>, subject: String, flag: &Flag, report: &mut Report) {
    if slot.given().is_some_and(|at| at.place == flag.place()) {
        report.error(flag.place(), FlagProblem::Twice { subject });
    }
    *slot = field;
}

fn is_named(field: &Field<String>, name: &str) -> bool {
    field.value().is_some_and(|given| given == name)
}

fn find<'r, T>(all: &'r mut [T], name: &str, name_of: fn(&T) -> &Field<String>) -> Option<&'r mut T> {
    all.iter_mut().find(|one| is_named(name_of(one), name))
}
