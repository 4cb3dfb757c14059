//! Handing out blocks in advance, for the management thread. What a backend has flows in stays with it, whatever becomes
//! of pools and rules: it is only kept no longer, and comes back when its flows have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::demand::Demand;
use super::{BLOCKS, Claims, MEMBERS_MAX, Member, MemberWay, OUTBOUND_ADDRESSES_MAX, Outbound, PortKind};
use crate::config::{Frontend, Model, OutboundProtocol, OutboundRule};
use crate::packet::{SipHash, wide_endpoint};
use crate::snapshot::{Routes, TooMany, WideMap};
use crate::tick;

/// Frontends and backends of outbound rules, over all generations.
#[derive(Default)]
pub(crate) struct Allotter {
    frontends: Vec<Option<(IpAddr, Arc<Claims>)>>,
    members: BTreeMap<IpAddr, Standing>,
    /// What was last handed out by.
    said: (Vec<OutboundRule>, Vec<Frontend>),
    lingers: bool,
    /// Where backends had fewer blocks than they are to have, for want of free ones.
    short: BTreeSet<(u8, PortKind)>,
    version: u32,
    /// Where the next number of a backend is looked for: one that was freed is not given to another before long, for a worker
    /// may still have the snapshot in which it was that one's.
    next_number: u32,
}

/// A backend, in rules or with flows still.
struct Standing {
    number: u32,
    ways: [Way; 3],
}

/// As the rule says it that the backend is in, or was in last.
#[derive(Clone, Default)]
struct Way {
    opens: bool,
    idle_ticks: u32,
    tcp_reset: bool,
    /// Numbers of frontends, the one that comes first, first.
    numbers: Vec<u8>,
}

/// A block that a backend has.
#[derive(Clone, Copy)]
struct Held {
    frontend: u8,
    block: usize,
    is_kept: bool,
    is_used: bool,
}

type Holdings = BTreeMap<(u32, PortKind), Vec<Held>>;

pub(super) fn kinds(protocol: OutboundProtocol) -> &'static [PortKind] {
    match protocol {
        OutboundProtocol::Tcp => &[PortKind::Tcp],
        OutboundProtocol::Udp => &[PortKind::Udp],
        OutboundProtocol::Any => &PortKind::ALL,
    }
}

impl Allotter {
    /// Whether there are numbers enough; those that linger count. So do those that no rule has any more from now on: until
    /// workers know, they give ports of them to flows.
    pub(in crate::snapshot) fn check(&self, model: &Model) -> Result<(), TooMany> {
        let addresses: BTreeSet<IpAddr> =
            model.outbound.iter().flat_map(|rule| rule.frontends.iter().copied()).collect();
        let backends: BTreeSet<IpAddr> =
            model.outbound.iter().flat_map(|rule| rule.pool.backends.iter().map(|b| b.address)).collect();
        let known: BTreeSet<IpAddr> = self.frontends.iter().flatten().map(|(address, _)| *address).collect();
        let members: BTreeSet<IpAddr> = self.members.keys().copied().collect();
        let is_fine = |frontends, members| frontends <= OUTBOUND_ADDRESSES_MAX && members <= MEMBERS_MAX;
        if is_fine(addresses.union(&known).count(), backends.union(&members).count()) {
            return Ok(());
        }
        let holdings = self.holdings();
        let in_use = in_use(&holdings);
        let lingering = (0u8..).zip(&self.frontends).filter(|(number, one)| {
            one.as_ref().is_some_and(|(address, _)| !addresses.contains(address)) && in_use.contains(number)
        });
        let wanted = addresses.len() + lingering.count();
        if wanted > OUTBOUND_ADDRESSES_MAX {
            let what = "frontends of outbound rules, old and new (remove old ones by a reload before),";
            return Err(TooMany { what, wanted, limit: OUTBOUND_ADDRESSES_MAX });
        }
        let lingering = self
            .members
            .iter()
            .filter(|(address, member)| !backends.contains(address) && holds(&holdings, member.number));
        let wanted = backends.len() + lingering.count();
        if wanted > MEMBERS_MAX {
            let what = "backends of outbound rules, old and new (remove old ones by a reload before),";
            return Err(TooMany { what, wanted, limit: MEMBERS_MAX });
        }
        Ok(())
    }

    /// As the path reads it.
    pub(in crate::snapshot) fn compile(
        &mut self,
        model: &Model,
        routes: &Routes,
        hash: &SipHash,
    ) -> Outbound {
        let rules: Vec<Frontend> = model.rules.iter().map(|rule| rule.frontend).collect();
        if self.lingers || !self.short.is_empty() || self.said.0 != model.outbound || self.said.1 != rules {
            self.said = (model.outbound.clone(), rules);
            self.version = self.version.wrapping_add(1);
            self.hand_out(model);
        }
        self.compiled(routes, hash)
    }

    /// Whether there is something to be handed out since, or to be forgotten: flows of what lingers have ended.
    pub(in crate::snapshot) fn is_due(&self) -> bool {
        let is_free =
            |(number, kind): &(u8, PortKind)| self.claims(*number).is_some_and(|c| c.has_free(*kind));
        if self.short.iter().any(is_free) {
            return true;
        }
        if !self.lingers {
            return false;
        }
        let holdings = self.holdings();
        let in_use = in_use(&holdings);
        let (rules, _) = &self.said;
        let known = (0u8..).zip(&self.frontends).filter_map(|(number, one)| Some((number, one.as_ref()?.0)));
        known.into_iter().any(|(number, address)| {
            !in_use.contains(&number) && !rules.iter().any(|rule| rule.frontends.contains(&address))
        }) || self.members.iter().any(|(address, member)| {
            let is_its = |rule: &OutboundRule| rule.pool.backends.iter().any(|one| one.address == *address);
            !holds(&holdings, member.number) && !rules.iter().any(is_its)
        })
    }

    fn hand_out(&mut self, model: &Model) {
        self.short.clear();
        let mut holdings = self.holdings();
        self.forget(model, &holdings);
        self.number(model);
        self.reserve(model);
        let demands = self.demands(model);
        for rule in &model.outbound {
            self.hand_out_by(rule, &demands, &mut holdings);
        }
        // What is left is of backends that are in no rule any more, or of frontends that theirs has no more.
        for ((owner, kind), held) in holdings {
            held.iter().filter(|one| one.is_kept).for_each(|one| {
                self.claims(one.frontend).iter().for_each(|claims| {
                    claims.keep(kind, one.block, owner, false);
                });
            });
        }
    }

    pub(super) fn claims(&self, number: u8) -> Option<&Claims> {
        self.frontends.get(usize::from(number))?.as_ref().map(|(_, claims)| &**claims)
    }

    /// Who has which blocks.
    fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::new();
        for (frontend, one) in (0u8..).zip(&self.frontends) {
            let Some((_, claims)) = one else { continue };
            for kind in PortKind::ALL {
                for block in 0..BLOCKS {
                    let claim = claims.at(kind, block);
                    let Some(owner) = claim.owner() else { continue };
                    let is_used = claims.used(kind, block) != 0;
                    let held = Held { frontend, block, is_kept: claim.is_in_advance(), is_used };
                    holdings.entry((owner, kind)).or_default().push(held);
                }
            }
        }
        holdings
    }

    /// Frees the numbers of what is in no rule and has nothing any more.
    fn forget(&mut self, model: &Model, holdings: &Holdings) {
        let backends: BTreeSet<IpAddr> =
            model.outbound.iter().flat_map(|rule| rule.pool.backends.iter().map(|b| b.address)).collect();
        self.members.retain(|address, member| backends.contains(address) || holds(holdings, member.number));
        let in_use = in_use(holdings);
        let wanted: BTreeSet<IpAddr> =
            model.outbound.iter().flat_map(|rule| rule.frontends.iter().copied()).collect();
        for (number, one) in (0u8..).zip(&mut self.frontends) {
            let is_gone = |(address, _): &(IpAddr, _)| !wanted.contains(address) && !in_use.contains(&number);
            *one = one.take().filter(|one| !is_gone(one));
        }
        let known = self.frontends.iter().flatten();
        self.lingers = self.members.keys().any(|address| !backends.contains(address))
            || known.into_iter().any(|(address, _)| !wanted.contains(address));
    }

    /// Gives numbers to what is new, and notes what rules say.
    fn number(&mut self, model: &Model) {
        for address in model.outbound.iter().flat_map(|rule| &rule.frontends) {
            if self.number_of(*address).is_some() {
                continue;
            }
            let new = Some((*address, Arc::<Claims>::default()));
            match self.frontends.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = new,
                None => self.frontends.push(new),
            }
        }
        let taken: BTreeSet<u32> = self.members.values().map(|member| member.number).collect();
        let max = MEMBERS_MAX as u32;
        let mut free = (self.next_number..self.next_number + max)
            .map(|number| number % max)
            .filter(|number| !taken.contains(number));
        self.members.values_mut().flat_map(|member| &mut member.ways).for_each(|way| way.opens = false);
        for rule in &model.outbound {
            for backend in &rule.pool.backends {
                let member = self.members.entry(backend.address).or_insert_with(|| Standing {
                    number: free.next().unwrap_or(0),
                    ways: Default::default(),
                });
                for kind in kinds(rule.protocol) {
                    if let Some(way) = member.ways.get_mut(*kind as usize) {
                        way.opens = true;
                        way.idle_ticks = tick::ticks(rule.idle_timeout);
                        way.tcp_reset = rule.tcp_reset;
                    }
                }
            }
        }
        self.next_number = free.next().unwrap_or(0);
    }

    pub(super) fn number_of(&self, address: IpAddr) -> Option<u8> {
        let found =
            self.frontends.iter().position(|one| one.as_ref().is_some_and(|(own, _)| *own == address));
        found.map(|number| number as u8)
    }

    /// Keeps flows out of the blocks in which rules have ports.
    fn reserve(&self, model: &Model) {
        for (address, claims) in self.frontends.iter().flatten() {
            for (kind, protocol) in [(PortKind::Tcp, 6), (PortKind::Udp, 17)] {
                let mut reserved = vec![false; BLOCKS];
                // Of a NAT rule also the ports that no backend has yet: a pool that grows would cut flows off.
                let nat_rules = model.nat_rules.iter().map(|rule| rule.frontend);
                let there =
                    model.rules.iter().map(|rule| rule.frontend).chain(nat_rules).filter(|frontend| {
                        frontend.network().contains(*address) && frontend.protocol.takes(protocol)
                    });
                for frontend in there {
                    let Some(last) = Claims::block_of(frontend.last_port) else { continue };
                    let first = Claims::block_of(frontend.first_port).unwrap_or(0);
                    reserved.iter_mut().take(last + 1).skip(first).for_each(|one| *one = true);
                }
                for (block, is_reserved) in reserved.into_iter().enumerate() {
                    if claims.at(kind, block).is_reserved() != is_reserved {
                        claims.reserve(kind, block, is_reserved);
                    }
                }
            }
        }
    }

    fn hand_out_by(&mut self, rule: &OutboundRule, demands: &[Demand], holdings: &mut Holdings) {
        for is_v4 in [true, false] {
            let numbers: Vec<u8> = rule
                .frontends
                .iter()
                .filter(|address| address.is_ipv4() == is_v4)
                .filter_map(|address| self.number_of(*address))
                .collect();
            let mut backends: Vec<IpAddr> =
                rule.pool.backends.iter().map(|backend| backend.address).collect();
            backends.retain(|address| address.is_ipv4() == is_v4);
            backends.sort_unstable();
            if numbers.is_empty() || backends.is_empty() {
                continue;
            }
            for kind in kinds(rule.protocol) {
                let each = self.each(rule, *kind, (&numbers, backends.len()), demands);
                self.hand_out_kind(each, *kind, &numbers, &backends, holdings);
            }
        }
    }

    /// Each backend gets its blocks on one address, as long as there are any: on the one where it has most, or which the
    /// fewest have.
    fn hand_out_kind(
        &mut self,
        each: usize,
        kind: PortKind,
        numbers: &[u8],
        backends: &[IpAddr],
        holdings: &mut Holdings,
    ) {
        let mut homes: BTreeMap<u8, usize> = numbers.iter().map(|number| (*number, 0)).collect();
        let mut wanting = Vec::new();
        for address in backends {
            let Some(owner) = self.members.get(address).map(|member| member.number) else { continue };
            let mut held = holdings.remove(&(owner, kind)).unwrap_or_default();
            // Those on addresses that the rule has no more are kept no longer.
            let gone: Vec<Held> = held.extract_if(.., |one| !numbers.contains(&one.frontend)).collect();
            if !gone.is_empty() {
                holdings.insert((owner, kind), gone);
            }
            let mut by_frontend: BTreeMap<u8, usize> = BTreeMap::new();
            held.iter().for_each(|one| *by_frontend.entry(one.frontend).or_default() += 1);
            let home =
                by_frontend.iter().max_by_key(|(number, count)| (**count, std::cmp::Reverse(**number)));
            let home = home.map(|(number, _)| *number);
            home.and_then(|home| homes.get_mut(&home)).into_iter().for_each(|count| *count += 1);
            wanting.push((*address, owner, held, home));
        }
        let mut cursors: BTreeMap<u8, usize> = BTreeMap::new();
        for (address, owner, held, home) in wanting {
            let home = home.unwrap_or_else(|| {
                let place = |number: &&u8| (homes.get(number).copied(), position(numbers, **number));
                let least = numbers.iter().min_by_key(place).copied().unwrap_or(0);
                homes.entry(least).and_modify(|count| *count += 1);
                least
            });
            let mut order = vec![home];
            order.extend(numbers.iter().copied().filter(|number| *number != home));
            self.settle(kind, owner, held, each, &order, &mut cursors);
            if let Some(way) = self.members.get_mut(&address).and_then(|m| m.ways.get_mut(kind as usize)) {
                way.numbers = order;
            }
        }
    }

    /// Has a backend keep so many blocks: of those that it has, used ones first, and then of those that nobody has.
    fn settle(
        &mut self,
        kind: PortKind,
        owner: u32,
        mut held: Vec<Held>,
        each: usize,
        order: &[u8],
        cursors: &mut BTreeMap<u8, usize>,
    ) {
        held.sort_by_key(|one| (!one.is_used, !one.is_kept, position(order, one.frontend), one.block));
        let mut count = 0;
        for one in held {
            let Some(claims) = self.claims(one.frontend) else { continue };
            let is_wanted = count < each && !claims.at(kind, one.block).is_reserved();
            if claims.keep(kind, one.block, owner, is_wanted) && is_wanted {
                count += 1;
            }
        }
        for number in order {
            let Some(claims) = self.claims(*number) else { continue };
            let cursor = cursors.entry(*number).or_default();
            while count < each && *cursor < BLOCKS {
                if claims.claim(kind, *cursor, owner) && claims.keep(kind, *cursor, owner, true) {
                    count += 1;
                }
                *cursor += 1;
            }
        }
        if count < each {
            self.short.extend(order.iter().map(|number| (*number, kind)));
        }
    }

    fn compiled(&self, routes: &Routes, hash: &SipHash) -> Outbound {
        let end = self.members.values().map(|member| member.number as usize + 1).max().unwrap_or(0);
        let mut members: Vec<Option<Member>> = (0..end).map(|_| None).collect();
        let mut numbers = Vec::new();
        for (address, standing) in &self.members {
            let next_hop = routes.next_hop_to(*address);
            let ways = [0, 1, 2].map(|kind: usize| {
                let way = standing.ways.get(kind).cloned().unwrap_or_default();
                let first = numbers.len() as u32;
                numbers.extend(&way.numbers);
                let Way { opens, idle_ticks, tcp_reset, numbers } = way;
                MemberWay { opens, idle_ticks, tcp_reset, first, len: numbers.len() as u32 }
            });
            let member = Member {
                address: *address,
                hash: hash.three(wide_endpoint(*address, 0, 0)),
                next_hop,
                from: next_hop.leads_out_of(),
                ways,
            };
            if let Some(place) = members.get_mut(standing.number as usize) {
                *place = Some(member);
            }
        }
        let key = |address: &IpAddr| wide_endpoint(*address, 0, 0);
        let known = (0u64..).zip(&self.frontends);
        Outbound {
            by_backend: WideMap::of(self.members.iter().map(|(at, one)| (key(at), one.number.into()))),
            members: members.into(),
            by_address: WideMap::of(known.filter_map(|(number, one)| Some((key(&one.as_ref()?.0), number)))),
            frontends: self.frontends.clone().into(),
            numbers: numbers.into(),
            version: self.version,
        }
    }
}

/// Whether a backend has blocks.
fn holds(holdings: &Holdings, number: u32) -> bool {
    PortKind::ALL.iter().any(|kind| holdings.contains_key(&(number, *kind)))
}

/// Frontends that backends have blocks of.
fn in_use(holdings: &Holdings) -> BTreeSet<u8> {
    holdings.values().flatten().map(|held| held.frontend).collect()
}

fn position(all: &[u8], number: u8) -> usize {
    all.iter().position(|one| *one == number).unwrap_or(all.len())
}
