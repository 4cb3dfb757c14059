//! A classic cloud service: its definition (.csdef), its configuration (.cscfg) and where its parts are.

mod acls;
mod configuration;
mod definition;
mod index;
mod modules;
mod own_addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::addresses::{Addresses, Listed};
use super::plan::{Frontend, Members, NatRule, Plan, Pool, Probe, Protocol, Rule, Target, Treatment};
use super::report::{Findings, Place, suggestion};
use super::source::Source;
use super::xml;
use crate::config::{AdminState, Distribution, NoHealthyBackends, ProbeKind};

use configuration::{Configuration, Instances, InternalBalancer};
use index::Index;

use definition::{Definition, InputEndpoint, InstanceInputEndpoint, ProbeDefinition, Role};

pub(super) use definition::ELEMENTS;

/// Azure's guest agent asks every 15 s, and twice in vain takes an instance out.
const AGENT_INTERVAL: Duration = Duration::from_secs(15);
const AGENT_MISSES: u64 = 2;

/// How long a probe waits for HTTP at most; a TCP probe has until the next is due.
const HTTP_TIMEOUT_MAX: Duration = Duration::from_secs(31);

pub(super) fn plan(
    definition: &Source,
    configuration: &Source,
    addresses: &mut Addresses,
    findings: &mut Findings,
) -> Plan {
    let (mut service, mut settings) = (None, None);
    xml::read(definition, findings, |root, findings| service = definition::read(root, findings));
    xml::read(configuration, findings, |root, findings| settings = configuration::read(root, findings));
    let mut plan = Plan::default();
    let (Some(service), Some(settings)) = (service, settings) else { return plan };
    plan.head = vec![
        format!("Cloud service {}, from {} and {}.", service.name.value, definition.name, configuration.name),
        "Made by `guideway import azure-classic`; what it does not have was reported then.".to_owned(),
    ];
    if let Some(said) = &settings.service_name
        && !said.value.eq_ignore_ascii_case(&service.name.value)
    {
        let what =
            format!("is for service \"{}\", but the definition is of \"{}\"", said.value, service.name.value);
        findings.error(&said.place, format!("the configuration {what}"));
    }
    let mut importer = Importer {
        service: &service,
        settings: &settings,
        addresses,
        findings,
        plan,
        pools: BTreeMap::new(),
        probes: BTreeMap::new(),
        rule_of: BTreeMap::new(),
        endpoints: BTreeSet::new(),
        instances: Index::new(settings.roles.iter().map(|(name, said)| (name.as_str(), said))),
        balancers: Index::new(settings.balancers.iter().map(|one| (one.name.as_str(), one))),
        definitions: Index::new(service.probes.iter().map(|one| (one.name.as_str(), one))),
    };
    importer.compare_roles();
    importer.roles();
    importer.own_addresses();
    importer.acls();
    importer.plan.finish_implicit();
    importer.plan
}

struct Importer<'i> {
    service: &'i Definition,
    settings: &'i Configuration,
    addresses: &'i mut Addresses,
    findings: &'i mut Findings,
    plan: Plan,
    /// Each role's pool.
    pools: BTreeMap<String, usize>,
    probes: BTreeMap<String, String>,
    /// The name of the rule of each endpoint that has one, by role and endpoint in lower case.
    rule_of: BTreeMap<(String, String), String>,
    /// All endpoints.
    endpoints: BTreeSet<(String, String)>,
    instances: Index<'i, Instances>,
    balancers: Index<'i, InternalBalancer>,
    definitions: Index<'i, ProbeDefinition>,
}

impl<'i> Importer<'i> {
    fn compare_roles(&mut self) {
        let roles = Index::new(self.service.roles.iter().map(|role| (role.name.as_str(), role)));
        for (name, said) in &self.settings.roles {
            if roles.get(name).is_none() {
                let suggestion = suggestion(name, self.service.roles.iter().map(|role| role.name.as_str()));
                let what = format!("role \"{name}\" is not in the definition{suggestion}");
                self.findings.error(&said.place, what);
            }
        }
    }

    fn roles(&mut self) {
        let service = self.service;
        for role in &service.roles {
            for input in &role.inputs {
                self.note_endpoint(role, &input.name);
                self.input(role, input);
            }
            for instance in &role.instance_inputs {
                self.note_endpoint(role, &instance.name);
                self.instance_input(role, instance);
            }
        }
    }

    fn note_endpoint(&mut self, role: &Role, endpoint: &str) {
        self.endpoints.insert((role.name.to_ascii_lowercase(), endpoint.to_ascii_lowercase()));
    }

    /// A name for the rule of an endpoint.
    fn rule_name(&mut self, role: &Role, endpoint: &str) -> String {
        let name = self.plan.rule_names.make(&[&role.name, endpoint]);
        let key = (role.name.to_ascii_lowercase(), endpoint.to_ascii_lowercase());
        self.rule_of.insert(key, name.clone());
        name
    }

    /// The name of a role's pool and its index; made when it is first needed.
    fn pool(&mut self, role: &Role) -> Option<(String, usize)> {
        if let Some(index) = self.pools.get(&role.name) {
            return self.plan.pools.get(*index).map(|pool| (pool.name.clone(), *index));
        }
        let name = self.plan.pool_names.make(&[&role.name]);
        let pool = self.made_pool(role, &name);
        self.plan.pools.push(pool);
        let index = self.plan.pools.len() - 1;
        self.pools.insert(role.name.clone(), index);
        Some((name, index))
    }

    fn made_pool(&mut self, role: &Role, name: &str) -> Pool {
        let (place, count) = match self.instances.get(&role.name) {
            Some(said) => (said.place.clone(), said.count),
            None => {
                self.findings
                    .error(&role.place, format!("role \"{}\" is not in the configuration", role.name));
                (role.place.clone(), 0)
            }
        };
        let mut comments = vec!["Scaling: change the number and reload.".to_owned()];
        let members = match self.addresses.pool(&role.name) {
            Some((_, Listed::Range(range))) => Members::Range(range, count),
            Some((said, Listed::List(list))) => {
                if list.len() < count {
                    let what = format!(
                        "role {} has {count} instances, but only {} addresses are listed",
                        role.name,
                        list.len()
                    );
                    self.findings.error(&said, what);
                }
                comments = vec![format!("The first {count} of the addresses listed.")];
                Members::List(
                    list.into_iter().take(count).map(|address| (address, AdminState::Auto)).collect(),
                )
            }
            None => {
                let what = format!(
                    "nothing says which addresses role {0}'s instances have; in the addresses file, under [pools], say: \
                     \"{0}\" = \"10.0.1.4-10.0.1.99\"",
                    role.name
                );
                self.findings.error(&place, what);
                Members::List(Vec::new())
            }
        };
        Pool { name: name.to_owned(), place, comments, members, drain_timeout: None }
    }

    fn frontend(
        &mut self,
        role: &Role,
        endpoint: &str,
        place: &Place,
        balancer: Option<&xml::Said>,
    ) -> Option<std::net::IpAddr> {
        let own = format!("{}/{endpoint}", role.name);
        let mut names = vec![own.clone()];
        if let Some(balancer) = balancer {
            let Some(found) = self.balancers.get(&balancer.value) else {
                let names = self.settings.balancers.iter().map(|known| known.name.as_str());
                let suggestion = suggestion(&balancer.value, names);
                self.findings.error(
                    &balancer.place,
                    format!(
                        "there is no LoadBalancer \"{}\" in the configuration{suggestion}",
                        balancer.value
                    ),
                );
                return None;
            };
            names.push(found.name.clone());
            let address = self.addresses.frontend(&names).or(found.address);
            if address.is_none() {
                let what = format!(
                    "nothing says which address load balancer {0} has; in the addresses file, under [frontends], say: \"{0}\" = \"10.0.2.10\"",
                    found.name
                );
                self.findings.error(&found.place, what);
            }
            return address;
        }
        names.extend(self.settings.reserved_ips.iter().map(|said| said.value.clone()));
        names.push("public".to_owned());
        let address = self.addresses.frontend(&names);
        if address.is_none() {
            let name = names.get(1).cloned().unwrap_or_default();
            let what = format!(
                "nothing says which address clients of endpoint {own} use; in the addresses file, under [frontends], \
                 say: \"{name}\" = \"203.0.113.10\""
            );
            self.findings.error(place, what);
        }
        address
    }

    fn local_port(&mut self, role: &Role, input: &InputEndpoint) -> Option<u16> {
        let name = format!("{}/{}", role.name, input.name);
        let said = self.addresses.local_port(&name);
        match &input.local_port {
            definition::LocalPort::Port(port) => Some(said.unwrap_or(*port)),
            definition::LocalPort::Any(place) => {
                if said.is_none() {
                    let what = format!(
                        "localPort=\"*\" is the platform's choice, and nothing says what it is; in the addresses file, under \
                         [local_ports], say: \"{name}\" = {}",
                        input.port
                    );
                    self.findings.error(place, what);
                }
                said
            }
        }
    }

    fn input(&mut self, role: &Role, input: &InputEndpoint) {
        let address = self.frontend(role, &input.name, &input.place, input.balancer.as_ref());
        let backend_port = self.local_port(role, input);
        let probe = self.probe_of(role, input);
        let Some((pool, _)) = self.pool(role) else { return };
        let (Some(address), Some(backend_port)) = (address, backend_port) else { return };
        let mut comments = Vec::new();
        if input.is_https {
            comments.push("TLS ends at the instances.".to_owned());
        }
        let frontend = Frontend { address, port: input.port, protocol: input.protocol };
        if input.balancer.is_none() {
            self.plan.lets_out(&pool, frontend, &input.place);
        }
        let name = self.rule_name(role, &input.name);
        self.plan.rules.push(Rule {
            name,
            place: input.place.clone(),
            comments,
            frontend,
            pool,
            backend_port,
            distribution: input.distribution,
            treatment: Treatment { floating: false, idle_minutes: input.idle_minutes, tcp_reset: false },
            probe,
            no_healthy_backends: NoHealthyBackends::Drop,
        });
    }

    /// The name of the endpoint's probe.
    fn probe_of(&mut self, role: &Role, input: &InputEndpoint) -> Option<String> {
        let service = self.service;
        if let Some(said) = &input.probe {
            let Some(found) = self.definitions.get(&said.value) else {
                let suggestion =
                    suggestion(&said.value, service.probes.iter().map(|probe| probe.name.as_str()));
                self.findings.error(
                    &said.place,
                    format!("there is no LoadBalancerProbe \"{}\"{suggestion}", said.value),
                );
                return None;
            };
            return Some(self.custom_probe(found));
        }
        let what = format!(
            "endpoint {}/{} has no probe, so that Azure asks the guest agent, which is not here",
            role.name, input.name
        );
        if input.protocol == Protocol::Udp {
            self.findings.loss(
                &input.place,
                format!("{what}: all its instances count as up; give it a LoadBalancerProbe"),
            );
            return None;
        }
        self.findings.loss(&input.place, format!("{what}: instead, its local port must take connections"));
        Some(self.agent_probe(input))
    }

    fn custom_probe(&mut self, probe: &ProbeDefinition) -> String {
        if let Some(name) = self.probes.get(&probe.name) {
            return name.clone();
        }
        let name = self.plan.probe_names.make(&[&probe.name]);
        let interval = Duration::from_secs(probe.interval);
        let threshold = (probe.timeout / probe.interval.max(1)).max(1);
        let comments = vec![format!(
            "Misses until down: timeoutInSeconds {} / intervalInSeconds {}.",
            probe.timeout, probe.interval
        )];
        self.plan.probes.push(Probe {
            name: name.clone(),
            place: probe.place.clone(),
            comments,
            kind: if probe.path.is_some() { ProbeKind::Http } else { ProbeKind::Tcp },
            port: probe.port,
            path: probe.path.clone(),
            interval,
            timeout: if probe.path.is_some() { interval.min(HTTP_TIMEOUT_MAX) } else { interval },
            threshold,
        });
        self.probes.insert(probe.name.clone(), name.clone());
        name
    }

    fn agent_probe(&mut self, input: &InputEndpoint) -> String {
        // No probe of the file can have this name: theirs are not empty.
        if let Some(name) = self.probes.get("") {
            return name.clone();
        }
        let name = self.plan.probe_names.make(&["instead-of-guest-agent"]);
        self.plan.probes.push(Probe {
            name: name.clone(),
            place: input.place.clone(),
            comments: vec![
                "Stands for Azure's guest agent: does the local port take connections?".to_owned(),
            ],
            kind: ProbeKind::Tcp,
            port: None,
            path: None,
            interval: AGENT_INTERVAL,
            timeout: AGENT_INTERVAL,
            threshold: AGENT_MISSES,
        });
        self.probes.insert(String::new(), name.clone());
        name
    }

    fn instance_input(&mut self, role: &Role, input: &InstanceInputEndpoint) {
        let address = self.frontend(role, &input.name, &input.place, None);
        let Some((pool, index)) = self.pool(role) else { return };
        let members = self.plan.pools.get(index).map(|pool| pool.members.addresses()).unwrap_or_default();
        let ports = usize::from(input.max - input.min) + 1;
        if members.len() > ports {
            let what = format!(
                "FixedPortRange {}-{} has {ports} ports, but role {} has {} instances; each needs one",
                input.min,
                input.max,
                role.name,
                members.len()
            );
            self.findings.error(&input.range_place, what);
        }
        let Some(address) = address else { return };
        let name = self.rule_name(role, &input.name);
        self.plan.nat_rules.push(NatRule {
            name,
            place: input.place.clone(),
            comments: Vec::new(),
            frontend: Frontend { address, port: input.min, protocol: input.protocol },
            last_port: input.max,
            target: Target::Pool(pool, members),
            backend_port: input.local_port,
            treatment: Treatment { floating: false, idle_minutes: 4, tcp_reset: false },
        });
    }
}

/// The words of `loadBalancerDistribution`.
fn distribution(word: &str) -> Option<Distribution> {
    match word.to_ascii_lowercase().as_str() {
        "none" => Some(Distribution::FiveTuple),
        "sourceip" => Some(Distribution::SourceIp),
        "sourceipprotocol" => Some(Distribution::SourceIpProtocol),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
