//! `guideway explain`.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::Failure;
use crate::config::{ConfigFlags, Distribution, Endpoint, Frontend, Model, ProtocolSelector, Rule};
use crate::packet::{EndpointKey, Flow, FlowKey, WideKey, flaw_of_source};
use crate::snapshot::{BackendId, Compiler, Conditions, FrontendId, Neighbours, Snapshot};
use crate::wire::Protocol;

/// Says where a new flow goes. An established one stays where it is, whatever this says.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFlags,

    /// The client's address and port, as in 192.0.2.7:40000.
    #[arg(value_name = "CLIENT:PORT")]
    client: String,

    /// A frontend, as in 203.0.113.10:443/tcp, or the name of a rule.
    #[arg(value_name = "FRONTEND")]
    target: String,

    /// A QUIC connection id of the client's packets, in hex: where a rule asks it, the server id in it counts.
    #[arg(long, value_name = "HEX")]
    quic_connection_id: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let client: SocketAddr = args.client.parse().map_err(|_| {
        let example = "192.0.2.7:40000 or [2001:db8::7]:40000";
        Failure::Usage(format!("{}: not an address and port, as in {example}", args.client))
    })?;
    if let SocketAddr::V4(client) = client
        && let Some(flaw) = flaw_of_source(*client.ip(), client.port())
    {
        return Err(Failure::Usage(format!("{client}: packets from there are dropped. {}", flaw.meaning())));
    }
    let model = super::load_to_look(&args.config)?;
    let (rule, to) = find_rule(&model, &args.target)?;
    if client.is_ipv4() != to.address.is_ipv4() {
        let what =
            format!("{client}: of another family than {}; such packets do not get there", rule.frontend);
        return Err(Failure::Usage(what));
    }
    if let Some(why) = denied(rule, client.ip()) {
        return super::print(&denied_text(args, rule, client, &why));
    }
    let (key, key_origin) = super::key_to_look_with(&model);
    let world = snapshot(&model, key)?;
    let explained = explain(&world, rule, client, to).ok_or_else(|| {
        Failure::Runtime(format!("rule {}: no backend takes new flows; they are dropped", rule.name))
    })?;
    let id = args.quic_connection_id.as_deref();
    let by_server_id = id.map(|id| named_by(&world, rule, id)).transpose()?;
    let explained = Explained { by_server_id, ..explained };
    let text = if args.json { as_json } else { as_text };
    super::print(&text(rule, client, &explained, key_origin))
}

/// Which line of the rule's access list keeps the client out, if one does.
fn denied(rule: &Rule, client: IpAddr) -> Option<String> {
    let acl = rule.acl.as_ref().filter(|acl| !acl.permits(client))?;
    Some(match acl.deciding(client) {
        Some((number, line)) => format!("rule {number} of acl {}: {line}", acl.name),
        None => format!("acl {} permits others, and not {client}", acl.name),
    })
}

fn denied_text(args: &Args, rule: &Rule, client: SocketAddr, why: &str) -> String {
    if args.json {
        let value = json!({
            "client": client.to_string(),
            "rule": rule.name,
            "frontend": rule.frontend.to_string(),
            "backend": null,
            "denied_by": why,
        });
        return format!("{value:#}\n");
    }
    format!(
        "client     {client}\nfrontend   {}, rule {}\nbackend    none: new flows are dropped (acl-denied)\ndenied by  {why}\n",
        rule.frontend, rule.name
    )
}

/// The backend that a QUIC connection id names.
fn named_by(world: &Snapshot, rule: &Rule, id: &str) -> Result<SocketAddr, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("--quic-connection-id {id}: {what}"));
    let digits: Option<Vec<u8>> =
        id.bytes().map(|digit| Some(char::from(digit).to_digit(16)? as u8)).collect();
    let (pairs, rest) = digits.as_deref().unwrap_or_default().as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(wrong("not bytes in hex, as in 07c4605e4504cc4f"));
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    let frontend = world.frontend_of_rule(rule.frontend);
    let coding = frontend.and_then(|id| world.frontend(id)?.quic.as_ref());
    let coding =
        coding.ok_or_else(|| wrong(&format!("rule {} asks no connection ids; it has no quic", rule.name)))?;
    let server =
        coding.decode(&bytes).ok_or_else(|| wrong("no server id as the rule's quic has it is in there"))?;
    let backend = frontend.and_then(|frontend| world.backend_of_server(frontend, server));
    let backend =
        backend.ok_or_else(|| wrong("no backend has this server id; the packets go with their flow"))?;
    if !world.keeps_udp(backend) {
        return Err(wrong("its backend is down; the packets go with their flow"));
    }
    let backend = world.backend(backend).ok_or_else(|| wrong("no backend has this server id"))?;
    Ok(SocketAddr::new(backend.address, rule.backend_port))
}

/// What the load balancer would do, and why.
struct Explained {
    flow_hash: u64,
    hash: u64,
    slot: usize,
    table_len: usize,
    backend: SocketAddr,
    /// Backend and share of the table, in the order of addresses.
    shares: Vec<(SocketAddr, f64)>,
    /// Where the flow would go if the backend were down.
    otherwise: Option<SocketAddr>,
    /// Whom the QUIC connection id names, whatever the hash says.
    by_server_id: Option<SocketAddr>,
}

/// The rule of that name or frontend, or else the one that takes what goes to that endpoint; and where the client's packets go.
fn find_rule<'a>(model: &'a Model, wanted: &str) -> Result<(&'a Rule, Endpoint), Failure> {
    let matches = |rule: &&Rule| rule.name == wanted || rule.frontend.to_string() == wanted;
    if let Some(rule) = model.rules.iter().find(matches) {
        return Ok((rule, first_of(rule.frontend)));
    }
    let to = endpoint(wanted);
    let by_endpoint = to.and_then(|to| {
        let takes = |rule: &&Rule| rule.frontend.takes(to.address, Some(to.port), to.protocol.number());
        let rule = model.rules.iter().filter(takes).min_by_key(|rule| rule.frontend.precedence())?;
        Some((rule, to))
    });
    by_endpoint.ok_or_else(|| {
        let known: Vec<String> = model.rules.iter().map(|r| format!("{} ({})", r.frontend, r.name)).collect();
        Failure::Usage(format!("{wanted}: no such frontend; the configuration has: {}", known.join(", ")))
    })
}

/// `ADDR:PORT/tcp` or `/udp`.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (at, protocol) = text.rsplit_once('/')?;
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.to_string() == protocol)?;
    let at: SocketAddr = at.parse().ok()?;
    Some(Endpoint { address: at.ip(), port: at.port(), protocol })
}

/// The first address and port that clients can use; TCP where they can choose.
fn first_of(frontend: Frontend) -> Endpoint {
    let protocol = if frontend.protocol == ProtocolSelector::Udp { Protocol::Udp } else { Protocol::Tcp };
    Endpoint { address: frontend.address, port: frontend.first_port.max(1), protocol }
}

pub(super) fn snapshot(model: &Model, key: crate::config::HashKey) -> Result<Snapshot, Failure> {
    let conditions = Conditions { links: Vec::new(), neighbours: Neighbours::default() };
    Compiler::new(key).compile(model, &conditions).map_err(|error| Failure::Usage(error.to_string()))
}

fn explain(world: &Snapshot, rule: &Rule, client: SocketAddr, to: Endpoint) -> Option<Explained> {
    let id = world.frontend_of_rule(rule.frontend)?;
    let (at, number) = (SocketAddr::new(to.address, to.port), to.protocol.number());
    let is_narrow = |address| world.frontend_at(EndpointKey::new(address, to.port, to.protocol)) == Some(id);
    match (client, to.address, rule.frontend.protocol) {
        (SocketAddr::V4(client), IpAddr::V4(address), _) if is_narrow(address) => {
            explain_flow(world, rule, id, FlowKey::new(*client.ip(), client.port(), id.0))
        }
        // Other protocols have no ports that are looked at.
        (_, _, ProtocolSelector::Other(_)) => {
            explain_flow(world, rule, id, WideKey::new(client.ip(), 0, id.0))
        }
        _ => {
            let key = WideKey::new(client.ip(), client.port(), id.0);
            explain_flow(world, rule, id, world.broad_key(key, id, at, number))
        }
    }
}

fn explain_flow(world: &Snapshot, rule: &Rule, id: FrontendId, flow: impl Flow) -> Option<Explained> {
    let frontend = world.frontend(id)?;
    let flow_hash = frontend.flow_hash(&world.hash, flow);
    let choice = frontend.selector.choose(&world.hash, flow, flow_hash)?;
    let address = |id: BackendId| {
        let backend = world.backend(id)?;
        Some(SocketAddr::new(backend.address, rule.backend_port))
    };
    let otherwise = without(world, rule, address(choice.backend)?, flow, flow_hash);
    Some(Explained {
        flow_hash,
        hash: choice.hash,
        slot: choice.slot,
        table_len: frontend.selector.table().len(),
        backend: address(choice.backend)?,
        shares: frontend.shares().into_iter().filter_map(|(id, share)| Some((address(id)?, share))).collect(),
        otherwise,
        by_server_id: None,
    })
}

/// Where the flow would go without `gone`.
fn without(
    world: &Snapshot,
    rule: &Rule,
    gone: SocketAddr,
    flow: impl Flow,
    flow_hash: u64,
) -> Option<SocketAddr> {
    let mut pool = (*rule.pool).clone();
    let backend = pool.backends.iter_mut().find(|backend| backend.address == gone.ip())?;
    backend.state = crate::config::AdminState::Down;
    let rule = Rule { pool: pool.into(), ..rule.clone() };
    let (selector, addresses) = crate::snapshot::selector_for(&world.hash, &rule);
    let choice = selector.choose(&world.hash, flow, flow_hash)?;
    let address = *addresses.get(choice.backend.0 as usize)?;
    (address != gone.ip()).then_some(SocketAddr::new(address, gone.port()))
}

/// Where a flow goes; without a port where it keeps its own.
fn name(backend: SocketAddr) -> String {
    match backend.port() {
        0 => backend.ip().to_string(),
        _ => backend.to_string(),
    }
}

fn fields(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::FiveTuple => "source address and port, destination address and port, protocol",
        Distribution::SourceIp => "source address, destination address",
        Distribution::SourceIpProtocol => "source address, destination address, protocol",
    }
}

fn as_json(rule: &Rule, client: SocketAddr, explained: &Explained, key_origin: &str) -> String {
    let Explained { flow_hash, hash, slot, table_len, backend, shares, otherwise, by_server_id } = explained;
    let shares: Vec<_> =
        shares.iter().map(|(e, share)| json!({ "backend": name(*e), "share": share })).collect();
    let value = json!({
        "client": client.to_string(),
        "rule": rule.name,
        "frontend": rule.frontend.to_string(),
        "backend": name(*backend),
        "hash": format!("{hash:016x}"),
        "flow_hash": format!("{flow_hash:016x}"),
        "hashed": fields(rule.distribution),
        "hash_key": key_origin,
        "slot": slot,
        "table_len": table_len,
        "otherwise": otherwise.map(name),
        "by_quic_server_id": by_server_id.map(name),
        "shares": shares,
    });
    format!("{value:#}\n")
}

fn as_text(rule: &Rule, client: SocketAddr, explained: &Explained, key_origin: &str) -> String {
    let Explained { hash, slot, table_len, backend, shares, otherwise, by_server_id, .. } = explained;
    let otherwise = match otherwise {
        Some(e) => format!("{}, were it down", name(*e)),
        None => "nowhere: it is the only backend that takes new flows".into(),
    };
    let share = |(e, share): &(SocketAddr, f64)| format!("  {:<21} {:>7.3} %\n", name(*e), share * 100.0);
    let table: String = shares.iter().map(share).collect();
    let by_id = by_server_id.map_or_else(String::new, |backend| {
        format!("by QUIC server id  {}, whatever the hash says; without it:\n", name(backend))
    });
    format!(
        "{by_id}client     {client}\n\
         frontend   {}, rule {}\n\
         backend    {}, pool {}\n\
         hash       {hash:016x}, over {}\n\
         hash key   {key_origin}\n\
         slot       {slot} of {table_len}\n\
         otherwise  {otherwise}\n\
         table\n{table}",
        rule.frontend,
        rule.name,
        name(*backend),
        rule.pool.name,
        fields(rule.distribution),
    )
}
