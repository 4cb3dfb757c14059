//! Model + what is known of ports and neighbours → snapshot.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::acl::Acls;
use super::backend::{self, Forwarding, Records};
use super::broad::{Broad, BroadFrontends};
use super::ids::Ids;
use super::kinds::{
    Kind, any_key, ascending, endpoint_key, is_full_nat, narrow_map, response_endpoint, wide_map,
};
use super::outbound::Allotter;
use super::sources::{ClientAddress, Numbers};
use super::tables::{TableInputs, available, fill, protocol_number, select_seed, table_inputs};
use super::{
    BackendAddresses, BackendId, BackendIdentity, Echo, Frontend, FrontendId, Leaving, MaglevTable,
    Neighbours, OwnAddresses, Routes, Selector, Snapshot, WideMap, WordMap, forwarding, local, quic,
};
use crate::config::{self, AdminState, Endpoint, HashKey, Model, ProtocolSelector};
use crate::packet::{FrontendWord, Pattern6, SipHash, wide_endpoint};
use crate::tick;
use crate::wire::plain::Pattern;
use crate::wire::{MacAddr, Protocol};

pub use super::ids::TooMany;

/// What a port is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortLink {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Whether frames to other stations are dropped.
    pub filters: bool,
    /// The largest IP packet that fits.
    pub mtu: u16,
}

impl PortLink {
    /// How plain packets that the port takes begin.
    fn pattern(&self) -> Pattern {
        Pattern::new(self.filters.then_some(self.mac))
    }

    /// The same of IPv6.
    fn pattern6(&self) -> Pattern6 {
        Pattern6::new(self.filters.then_some(self.mac))
    }
}

/// What a snapshot depends on besides the configuration.
#[derive(Clone, Default, Debug)]
pub struct Conditions {
    /// By `PortId`, one for each port of the model.
    pub links: Vec<PortLink>,
    /// The neighbours' Ethernet addresses, static ones not included.
    pub neighbours: Neighbours,
}

/// Makes snapshots, one after the other, with ids that are stable from one to the next.
pub struct Compiler {
    hash: SipHash,
    ids: Ids,
    /// The tables of the latest snapshot: what did not change is not built again.
    tables: HashMap<TableInputs, MaglevTable>,
    /// Backends that take no new flows because they are down, those included that were when they were
    /// removed.
    down: BTreeSet<BackendIdentity>,
    /// Backends whose flows are to be reset.
    resetting: BTreeSet<BackendIdentity>,
    /// How packets of each frontend get to its backends, those included that linger.
    forwards: BTreeMap<config::Frontend, config::Forward>,
    /// Frontends whose backends may be clients of theirs.
    hairpins: BTreeSet<config::Frontend>,
    /// What sources are translated to.
    sources: Numbers,
    outbound: Allotter,
    acls: Acls,
    generation: u64,
}

impl Compiler {
    /// For a process whose hash key is `key`.
    pub fn new(key: HashKey) -> Self {
        Self {
            hash: SipHash::new(key.0),
            ids: Ids::default(),
            tables: HashMap::new(),
            down: BTreeSet::new(),
            resetting: BTreeSet::new(),
            forwards: BTreeMap::new(),
            hairpins: BTreeSet::new(),
            sources: Numbers::default(),
            outbound: Allotter::default(),
            acls: Acls::default(),
            generation: 0,
        }
    }

    /// From the next snapshot on, resets the TCP flows of these backends and of no others, and has those of UDP
    /// choose anew. None of them should take new flows.
    pub fn reset_flows_of(&mut self, backends: BTreeSet<BackendIdentity>) {
        self.resetting = backends;
    }

    /// The next snapshot.
    ///
    /// # Errors
    /// When there are more frontends, backends or sources than ids; nothing has changed then.
    pub fn compile(&mut self, model: &Model, conditions: &Conditions) -> Result<Snapshot, TooMany> {
        let routes = Routes::under(model, conditions);
        self.begin(model, &routes)?;
        let selectors = self.selectors(model);
        self.note_down(model, &selectors);
        let selected = local::all(model, &selectors);
        let frontends = self.frontend_records(model, selectors);
        let Records { backends, to_backend, to_client } = self.backends_with_sources(model, &routes);
        let outbound = self.outbound.compile(model, &routes, &self.hash);
        let locals = local::with_sources(selected, self.sources.addresses().chain(outbound.addresses()));
        let words = |kind: Kind| {
            model.rules.iter().filter(move |rule| Kind::of_rule(rule) == kind).filter_map(|rule| {
                let id = self.ids.frontend(rule.frontend)?;
                Some((rule.frontend, FrontendWord::new(id.0, self.flow_seed(rule.frontend))))
            })
        };
        let wide_words =
            |kind| WideMap::of(words(kind).filter_map(|(at, word)| Some((any_key(at.exact()?), word.0))));
        let [responses, resets] = [false, true].map(|cut| self.responses(|one| self.is_cut_off(one) == cut));
        Ok(Snapshot {
            generation: self.generation,
            hash: self.hash,
            by_frontend: WordMap::new(
                words(Kind::Narrow).filter_map(|(at, word)| Some((endpoint_key(at.exact()?)?, word.0))),
            ),
            by_frontend_wide: wide_words(Kind::Wide),
            by_frontend_bound: wide_words(Kind::Bound),
            broad: BroadFrontends::new(words(Kind::Broad).map(|(frontend, word)| Broad { frontend, word })),
            sources: self.sources.compiled(model),
            outbound,
            backend_addresses: self.backend_addresses(model),
            hairpins: self.hairpin_clients(),
            by_response: narrow_map(&responses),
            by_response_wide: wide_map(&responses),
            by_response_broad: WideMap::of(self.broad_responses()),
            by_reset: narrow_map(&resets),
            by_reset_wide: wide_map(&resets),
            fronts: backend::fronts(&backends),
            has_others: backends.iter().any(|backend| backend.forwarding.is_other()),
            quic_servers: quic::servers(&self.ids, model),
            clamps_mss: model.rules.iter().any(|rule| rule.mss_clamp.is_some()),
            tracks: model.rules.iter().any(|rule| rule.tcp_reset),
            resets_flows: !self.resetting.is_empty(),
            probed: local::probed(model, &routes),
            locals: local::narrow(&locals),
            locals_wide: local::wide(&locals),
            own: model.ports.iter().map(OwnAddresses::of).collect(),
            idle_ticks_min: self.idle_ticks_min(&frontends),
            frontends,
            to_backend6: backends.iter().map(super::ToBackend6::of).collect(),
            backends: backends.into(),
            to_backend: to_backend.into(),
            to_client: to_client.into(),
            routes,
            ports: conditions.links.clone().into(),
            patterns: conditions.links.iter().map(PortLink::pattern).collect(),
            patterns6: conditions.links.iter().map(PortLink::pattern6).collect(),
            watches: Box::default(),
        })
    }

    /// Gives ids to what is new. Keeps how packets get to the backends of each frontend, those that linger included.
    fn begin(&mut self, model: &Model, routes: &Routes) -> Result<(), TooMany> {
        let endpoints = ascending(model.rules.iter().map(|rule| rule.frontend));
        let backends = model.rules.iter().flat_map(|r| r.pool.backends.iter().map(|b| identity(r, b)));
        self.outbound.check(model)?;
        self.sources.check(model, routes)?;
        self.ids.assign(&endpoints, &ascending(backends))?;
        self.generation += 1;
        self.acls.follow(&model.acls);
        let ids = &self.ids;
        self.forwards.retain(|frontend, _| ids.frontend(*frontend).is_some());
        self.hairpins = model.rules.iter().filter(|rule| rule.hairpin).map(|rule| rule.frontend).collect();
        self.forwards.extend(model.rules.iter().map(|rule| (rule.frontend, rule.forward.clone())));
        Ok(())
    }

    /// Backends that are in no rule any more, but whose flows may go on.
    pub fn lingering(&self) -> Vec<BackendId> {
        self.ids.lingering().collect()
    }

    /// Whether ports of outbound rules can be handed out that could not when the latest snapshot was made.
    pub fn can_hand_out_ports(&self) -> bool {
        self.outbound.is_due()
    }

    /// Frees the ids of lingering backends that `is_unused`. The caller has made sure that no worker can
    /// come to use them again.
    pub fn release(&mut self, is_unused: impl Fn(BackendId) -> bool) -> Vec<(BackendIdentity, BackendId)> {
        self.ids.release(is_unused)
    }

    /// The id of a backend, if it has one.
    pub fn backend_id(&self, identity: &BackendIdentity) -> Option<BackendId> {
        self.ids.backend(identity)
    }

    /// Who a backend id is.
    pub fn backends(&self) -> impl Iterator<Item = (BackendIdentity, BackendId)> {
        self.ids.backends()
    }

    /// One selector a rule, in the model's order.
    fn selectors(&mut self, model: &Model) -> Vec<Selector> {
        let mut tables: HashMap<TableInputs, MaglevTable> = HashMap::new();
        let mut selector = |rule: &config::Rule| {
            let available = available(rule);
            let inputs = table_inputs(rule, &available);
            let table = match tables.entry(inputs) {
                Entry::Occupied(same) => same.get().clone(),
                Entry::Vacant(new) => {
                    let table = self.tables.get(new.key()).cloned();
                    let table = table.unwrap_or_else(|| fill(&self.hash, new.key()));
                    new.insert(table).clone()
                }
            };
            let identities = available.iter().map(|backend| identity(rule, backend));
            let backends = self.ids.backends_of(rule.frontend, identities).collect();
            Selector { seed: select_seed(&self.hash, rule), table, backends }
        };
        let selectors = model.rules.iter().map(&mut selector).collect();
        self.tables = tables;
        selectors
    }

    /// The destination's part of the hash of a flow: address, port and protocol.
    fn flow_seed(&self, frontend: config::Frontend) -> u64 {
        let hash = match frontend.exact() {
            Some(endpoint) => match endpoint_key(endpoint) {
                Some(key) => self.hash.word(key | 0x0500),
                None => self.seed_of(any_key(endpoint)),
            },
            None => {
                let config::Frontend { address, prefix_len, first_port, last_port, protocol } = frontend;
                let [low, high, rest] = wide_endpoint(address, first_port, protocol_number(protocol) as u8);
                self.seed_of([low, high, rest | u64::from(last_port) << 48 | u64::from(prefix_len) << 34])
            }
        };
        FrontendWord::seed(hash)
    }

    fn seed_of(&self, [low, high, rest]: [u64; 3]) -> u64 {
        self.hash.three([low, high, rest | 0x0500])
    }

    fn frontend_records(&self, model: &Model, selectors: Vec<Selector>) -> Box<[Frontend]> {
        let count = self.ids.frontends().map(|(_, id)| usize::from(id.0) + 1).max().unwrap_or(0);
        let mut records: Vec<Option<Frontend>> = (0..count).map(|_| None).collect();
        // What lingers has no backends to choose and no time left, but still the seed of its flows.
        for (endpoint, id) in self.ids.frontends() {
            let forward = self.forwards.get(&endpoint);
            let is_narrow = Kind::of(endpoint, forward) == Kind::Narrow;
            let record = Frontend::idle(endpoint, is_narrow, is_full_nat(forward), self.flow_seed(endpoint));
            records[usize::from(id.0)] = Some(record);
        }
        for (rule, selector) in model.rules.iter().zip(selectors) {
            let id = self.ids.frontend(rule.frontend);
            if let Some(Some(record)) = id.and_then(|id| records.get_mut(usize::from(id.0))) {
                record.idle_ticks = tick::ticks(rule.idle_timeout);
                record.echo = Echo::of(rule, &selector);
                record.mss_clamp = rule.mss_clamp;
                record.quic = quic::coding(rule);
                record.client_address = ClientAddress::of(&rule.forward);
                record.tcp_reset = rule.tcp_reset;
                record.hairpin = rule.hairpin;
                record.acl = self.acls.of(rule);
                record.may_refuse = rule.hairpin || record.acl.is_some();
                record.selector = selector;
            }
        }
        let nobody = Endpoint { address: Ipv4Addr::UNSPECIFIED.into(), port: 0, protocol: Protocol::Tcp };
        let hole = || Frontend::idle(nobody.into(), true, false, 0);
        records.into_iter().map(|record| record.unwrap_or_else(hole)).collect()
    }

    /// Of all frontends that a flow can have, those that linger included.
    fn idle_ticks_min(&self, frontends: &[Frontend]) -> u32 {
        let idle_ticks = |(_, id): (_, FrontendId)| Some(frontends.get(usize::from(id.0))?.idle_ticks);
        self.ids.frontends().filter_map(idle_ticks).min().unwrap_or(0)
    }

    /// Keeps who is down, and not chosen all the same for want of others.
    fn note_down(&mut self, model: &Model, selectors: &[Selector]) {
        let lingering: BTreeSet<BackendId> = self.ids.lingering().collect();
        let ids = &self.ids;
        self.down.retain(|identity| ids.backend(identity).is_some_and(|id| lingering.contains(&id)));
        let is_down = |backend: &config::Backend| backend.state == AdminState::Down;
        for (rule, selector) in model.rules.iter().zip(selectors) {
            if !rule.pool.backends.iter().any(is_down) {
                continue;
            }
            let chosen: BTreeSet<BackendId> = selector.backends.iter().copied().collect();
            let down = rule.pool.backends.iter().filter(|backend| is_down(backend));
            let identities = down.map(|backend| identity(rule, backend));
            let left_out = |i: &BackendIdentity| ids.backend(i).is_some_and(|id| !chosen.contains(&id));
            self.down.extend(identities.filter(left_out));
        }
    }

    fn backends_with_sources(&mut self, model: &Model, routes: &Routes) -> Records {
        let mut sources = std::mem::take(&mut self.sources);
        sources.begin();
        let records = self.backend_records(model, routes, &mut sources);
        self.sources = sources;
        records
    }

    fn backend_records(&self, model: &Model, routes: &Routes, sources: &mut Numbers) -> Records {
        let lingering: BTreeSet<BackendId> = self.ids.lingering().collect();
        let current = self.current(&lingering);
        let is_taken = |identity: &BackendIdentity| {
            self.is_translated(identity)
                && response_endpoint(identity).is_some_and(|at| current.binary_search(&at).is_ok())
        };
        let mut records = Records::new(self.ids.backends_end());
        // A frontend's backends come one after the other.
        let mut latest = None;
        for (identity, id) in self.ids.backends() {
            if latest.is_none_or(|(endpoint, _)| endpoint != identity.frontend) {
                latest = self.ids.frontend(identity.frontend).map(|id| (identity.frontend, id));
            }
            let Some((_, frontend)) = latest else { continue };
            let leaving = if lingering.contains(&id) && is_taken(&identity) {
                Leaving::All
            } else if self.resetting.contains(&identity) {
                Leaving::Reset
            } else if self.down.contains(&identity) {
                Leaving::Udp
            } else {
                Leaving::None
            };
            let next_hop = routes.next_hop_to(identity.address);
            let forward = self.forwards.get(&identity.frontend);
            let mut set = |full_nat| sources.set(full_nat, identity.address, next_hop.hop.port, model);
            let otherwise = match forward {
                Some(config::Forward::FullNat(full_nat)) => (Some(Forwarding::FullNat), set(full_nat)),
                Some(config::Forward::Nat) if self.hairpins.contains(&identity.frontend) => {
                    (None, set(&config::FullNat::default()))
                }
                forward => {
                    let (front, back) = (identity.frontend, identity.address);
                    (
                        forward.and_then(|how| forwarding::as_they_are(how, front, back, &next_hop, model)),
                        None,
                    )
                }
            };
            records.set(id.index(), identity, frontend, next_hop, leaving, otherwise);
        }
        records
    }

    /// The same where backends answer from several ports: by address and protocol.
    fn broad_responses(&self) -> Vec<([u64; 3], u64)> {
        let all =
            self.ids.backends().filter(|(one, _)| self.is_translated(one) && one.frontend.exact().is_none());
        let of_one = |(identity, id): (BackendIdentity, BackendId)| {
            let takes = move |protocol: &Protocol| identity.frontend.protocol.takes(protocol.number());
            let protocols = [Protocol::Tcp, Protocol::Udp].into_iter().filter(takes);
            protocols
                .map(move |protocol| (wide_endpoint(identity.address, 0, protocol.number()), id.0.into()))
        };
        all.flat_map(of_one).collect()
    }

    /// Those of the model: what lingers leads nowhere new.
    fn backend_addresses(&self, model: &Model) -> BackendAddresses {
        let all = model.nat_rules.iter().filter_map(|rule| {
            let (frontend, address, port) = (rule.frontend, rule.own_address()?, rule.backend_port);
            let id = self.ids.backend(&BackendIdentity { frontend, address, port })?;
            Some((frontend.address, address, id))
        });
        BackendAddresses::new(&all.collect::<Vec<_>>())
    }

    /// Backends that may be clients of their own frontend.
    fn hairpin_clients(&self) -> WideMap {
        let all = self.ids.backends().filter(|(one, _)| self.hairpins.contains(&one.frontend));
        WideMap::of(all.filter_map(|(one, _)| {
            let frontend = self.ids.frontend(one.frontend)?;
            Some((wide_endpoint(one.address, frontend.0, 0), 1))
        }))
    }

    /// Whether its responses come back by us, and are told by where they come from.
    fn is_translated(&self, identity: &BackendIdentity) -> bool {
        self.forwards.get(&identity.frontend) == Some(&config::Forward::Nat)
    }

    /// Whether its responses end here: those of UDP may be answers to what was asked before.
    fn is_cut_off(&self, identity: &BackendIdentity) -> bool {
        identity.frontend.protocol == ProtocolSelector::Tcp && self.resetting.contains(identity)
    }

    /// The keys of the backends that rules use, in order; where any linger, for only then does somebody ask.
    fn current(&self, lingering: &BTreeSet<BackendId>) -> Vec<Endpoint> {
        let mut current: Vec<Endpoint> = Vec::new();
        if !lingering.is_empty() {
            let all = self.ids.backends().filter(|(_, id)| !lingering.contains(id));
            let all = all.filter(|(identity, _)| self.is_translated(identity));
            current.extend(all.filter_map(|(identity, _)| response_endpoint(&identity)));
            current.sort_unstable();
        }
        current
    }

    /// Responses to frontends of rules, of those backends that are `wanted`. Those of backends that linger are still
    /// translated, unless another rule has taken over the backend's endpoint, `wanted` or not; of several that linger the
    /// last wins.
    fn responses(&self, wanted: impl Fn(&BackendIdentity) -> bool) -> Vec<(Endpoint, u64)> {
        let lingering: BTreeSet<BackendId> = self.ids.lingering().collect();
        let gone: BTreeSet<config::Frontend> = self.ids.lingering_frontends().collect();
        let served = || {
            let all = self.ids.backends().filter(|(identity, _)| self.is_translated(identity));
            all.filter(|(identity, _)| !gone.contains(&identity.frontend))
        };
        let current = self.current(&lingering);
        let is_free = |identity: &BackendIdentity| {
            response_endpoint(identity).is_some_and(|at| current.binary_search(&at).is_err())
        };
        let first = served().filter(|(identity, id)| lingering.contains(id) && is_free(identity));
        let then = served().filter(|(_, id)| !lingering.contains(id));
        let all = first.chain(then).filter(|(identity, _)| wanted(identity));
        all.filter_map(|(identity, id)| Some((response_endpoint(&identity)?, id.0.into()))).collect()
    }
}

fn identity(rule: &config::Rule, backend: &config::Backend) -> BackendIdentity {
    BackendIdentity { frontend: rule.frontend, address: backend.address, port: rule.backend_port }
}
