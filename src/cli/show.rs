//! `guideway show`: the running program's state, as tables or as the control API's JSON.

mod counters;
mod flows;
mod outbound;

use std::thread;
use std::time::Duration;

use clap::Subcommand;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Target;
use super::{Failure, rates};
use crate::control::views::{self, Backends, Neighbours, Ports, Rules, Status, Traffic};

/// Shows what the running guideway does.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,

    /// Print the control API's JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand)]
enum What {
    /// Generation, uptime, frames, flows, and the workers' load.
    Status,
    /// Rules, and what went through them.
    Rules(Of),
    /// Backends: state and why, weight and share, flows and traffic.
    Backends(Of),
    /// Flows that the workers hold, by client, backend, rule or state.
    Flows(flows::Wanted),
    /// Frames and flows by their ends, and every drop by reason.
    Counters {
        /// Drop reasons that have not occurred too.
        #[arg(long)]
        all: bool,
    },
    /// Connections that backends open themselves, and the ports that they have for these.
    Outbound,
    /// Next hops: known, asked for, and fixed.
    Neighbours,
    /// Ports: device, driver, link, queues, offloads and errors.
    Ports,
}

/// Which rules or backends.
#[derive(clap::Args, Serialize)]
struct Of {
    /// Of this pool only.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,

    /// Of this rule only.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// Between the two looks by which a worker's load is told.
const LOAD_TIME: Duration = Duration::from_millis(500);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let path = match &args.what {
        What::Status => "/v1/status".into(),
        What::Rules(of) => with_query("/v1/rules", of)?,
        What::Backends(of) => with_query("/v1/backends", of)?,
        What::Flows(wanted) => with_query("/v1/flows", wanted)?,
        What::Counters { .. } => "/v1/counters".into(),
        What::Outbound => "/v1/outbound".into(),
        What::Neighbours => "/v1/neighbours".into(),
        What::Ports => "/v1/ports".into(),
    };
    let ask = || args.target.ask(&Method::GET, &path, "");
    let answer = ask()?;
    if args.json {
        return super::print(&format!("{answer:#}\n"));
    }
    let text = match &args.what {
        What::Status => {
            thread::sleep(LOAD_TIME);
            status(&read(answer)?, &read(ask()?)?)
        }
        What::Rules(_) => rules(&read(answer)?),
        What::Backends(_) => backends(&read(answer)?),
        What::Flows(_) => flows::text(&read(answer)?),
        What::Counters { all } => counters::counters(&read(answer)?, *all),
        What::Outbound => outbound::text(&read(answer)?),
        What::Neighbours => neighbours(&read(answer)?),
        What::Ports => ports(&read(answer)?),
    };
    super::print(&text)
}

/// The path, and what is asked for behind the question mark.
fn with_query(path: &str, query: &impl Serialize) -> Result<String, Failure> {
    let query = serde_urlencoded::to_string(query).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(if query.is_empty() { path.into() } else { format!("{path}?{query}") })
}

pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::Runtime(format!(
            "the running guideway is of another version: {error}; --json shows what it says"
        ))
    })
}

/// Columns whose name begins with `>` are numbers and stand to the right.
pub(super) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|name| name.trim_start_matches('>')));
    table.add_rows(rows);
    for (index, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The workers' rates are those since `before`, where that was the same process.
pub(super) fn status(before: &Status, now: &Status) -> String {
    let f = &now.frames;
    let uptime = Duration::from_secs(now.uptime_seconds as u64);
    let mut text = format!(
        "guideway    {}, pid {}, up {}\n\
         generation  {}, reached by all workers: {}\n\
         serving     {} rules, {} backends, {} flows; next hops missing: {}\n\
         frames      received {}, transmitted {}, answered {}, dropped {}\n\n",
        now.version,
        now.pid,
        humantime::format_duration(uptime),
        now.generation,
        if now.generation_reached == now.generation {
            "yes".into()
        } else {
            now.generation_reached.to_string()
        },
        now.rules,
        now.backends,
        now.flows,
        now.neighbours_missing,
        f.received,
        f.transmitted,
        f.answered,
        f.dropped,
    );
    if let Some(reload) = &now.last_reload {
        let how = if reload.is_done { "done" } else { "refused, nothing changed" };
        let ago = duration(reload.seconds_ago);
        text.insert_str(text.len() - 1, &format!("reloaded    {ago} ago, by {}: {how}\n", reload.by));
        for error in reload.errors.iter().flat_map(|errors| errors.lines()) {
            text.insert_str(text.len() - 1, &format!("            {error}\n"));
        }
    }
    let before = Some(before).filter(|before| rates::follows(now, before));
    let passed = before.map_or(0.0, |before| now.uptime_seconds - before.uptime_seconds).max(0.001);
    let rows = now.workers.iter().map(|worker| {
        let before = before.and_then(|before| before.workers.iter().find(|b| b.worker == worker.worker));
        let rates = rates::worker(worker, before, passed).map(|(_, shown)| shown);
        [worker.worker.to_string()].into_iter().chain(rates).collect()
    });
    text += &table(&rates::WORKER_COLUMNS, rows);
    text
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Three digits and a unit: 1000, not 1024.
pub(super) fn count(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{:.2} {unit}", number / size),
        None => format!("{number:.0}"),
    }
}

fn bytes(number: u64) -> String {
    let space = if number < 1000 { " " } else { "" };
    format!("{}{space}B", count(number as f64))
}

fn traffic(t: &Traffic) -> [String; 6] {
    [
        t.flows.to_string(),
        count(t.flows_total as f64),
        count(t.packets_to_backend as f64),
        count(t.packets_to_client as f64),
        bytes(t.bytes_to_backend),
        bytes(t.bytes_to_client),
    ]
}

const TRAFFIC: [&str; 6] = [">flows", ">in total", ">packets in", ">packets out", ">in", ">out"];

fn rules(view: &Rules) -> String {
    let has_acls = view.rules.iter().any(|rule| rule.acl.is_some());
    let row = |rule: &views::Rule| {
        let mut row = vec![
            rule.rule.clone(),
            rule.frontend.clone(),
            format!("{}:{}", rule.pool, rule.backend_port),
            rule.distribution.clone(),
            humantime::format_duration(Duration::from_secs_f64(rule.idle_timeout_seconds)).to_string(),
            match (&rule.probe, rule.backends_healthy) {
                (Some(probe), Some(healthy)) => format!("{probe}: {healthy} of {}", rule.backends),
                _ => "-".into(),
            },
            format!("{} of {}", rule.backends_taking_flows, rule.backends),
        ];
        if has_acls {
            let of = |acl| format!("{acl}: {}", count(rule.acl_denied.unwrap_or(0) as f64));
            row.push(rule.acl.as_ref().map_or_else(|| "-".into(), of));
        }
        row.extend(traffic(&rule.traffic));
        row
    };
    let mut columns =
        vec!["rule", "frontend", "pool:port", "distribution", ">idle", "probe: healthy", ">taking flows"];
    if has_acls {
        columns.push("acl: denied");
    }
    columns.extend(TRAFFIC);
    table(&columns, view.rules.iter().map(row))
}

fn backends(view: &Backends) -> String {
    let row = |b: &views::Backend| {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".into());
        let weight = if b.weight_because == "operator" { " (operator)" } else { "" };
        let mut row = vec![
            name(&b.pool),
            format!("{}:{}", b.address, b.port),
            b.rule.clone().unwrap_or_else(|| b.frontend.clone()),
            state(b),
            b.since_seconds.map_or_else(|| "-".into(), duration),
            format!("{}{weight}", b.weight),
            percent(b.share),
            percent(b.share_by_weight),
        ];
        row.extend(traffic(&b.traffic));
        row
    };
    let columns = ["pool", "backend", "rule", "state", ">for", "weight", ">share", ">by weight"];
    let text = table(&[&columns[..], &TRAFFIC].concat(), view.backends.iter().map(row));
    let probed: Vec<_> = view.backends.iter().filter_map(|b| Some((b, b.probe.as_ref()?))).collect();
    if probed.is_empty() { text } else { text + "\n" + &probes(&probed) }
}

/// What the probes of the rules know.
fn probes(probed: &[(&views::Backend, &views::Probed)]) -> String {
    let row = |(backend, probe): &(&views::Backend, &views::Probed)| {
        let name = probe.probe.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        vec![
            format!("{}:{}", backend.address, backend.port),
            backend.rule.clone().unwrap_or_default(),
            format!("{name}{} {}", probe.kind, probe.target),
            probe.verdict.clone(),
            duration(probe.verdict_seconds),
            probe.latency_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.2} ms")),
            probe.last_answer_seconds.map_or_else(|| "never".into(), |ago| format!("{ago:.1} s ago")),
            probe.good.to_string(),
            probe.bad.to_string(),
            probe.last_failure.clone().unwrap_or_default(),
        ]
    };
    let columns =
        ["backend", "rule", "probe", "finds it", ">for", ">took", ">last", ">good", ">bad", "last failure"];
    table(&columns, probed.iter().map(row))
}

/// The two largest units, whole seconds at least.
fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}

/// What it is, why, and until when.
fn state(b: &views::Backend) -> String {
    let because = if b.because == "default" { String::new() } else { format!(" ({})", b.because) };
    let left = b.drain_seconds_left.map_or(String::new(), |left| {
        // Whole seconds; it says that none is left only when that is so.
        let whole = if left > 0.0 { left.round().max(1.0) } else { 0.0 };
        let left = Duration::try_from_secs_f64(whole).unwrap_or_default();
        if left.is_zero() {
            ", deadline passed".into()
        } else {
            format!(", {} left", humantime::format_duration(left))
        }
    });
    format!("{}{because}{left}", b.state)
}

fn neighbours(view: &Neighbours) -> String {
    let row = |n: &views::Neighbour| {
        let port = n.port.clone().unwrap_or_else(|| "-".into());
        let mac = n.mac.clone().unwrap_or_else(|| "not known; asked for".into());
        vec![port, n.address.clone(), mac, n.kind.clone()]
    };
    table(&["port", "address", "mac", "kind"], view.neighbours.iter().map(row))
}

fn ports(view: &Ports) -> String {
    let has_vlans = view.ports.iter().any(|port| !port.vlan.is_empty());
    let row = |p: &views::Port| {
        let l = &p.link;
        let speed = l.speed_mbps.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
        let link = format!("{}{speed}", if l.is_up { "up" } else { "down" });
        let errors = [l.missed, l.receive_errors, l.transmit_errors, l.out_of_memory];
        let mut row = vec![
            p.port.clone(),
            l.driver.clone(),
            l.mac.clone(),
            link,
            format!("{}/{}", l.receive_queues, l.transmit_queues),
            l.flows_spread_by.clone(),
            p.mtu.to_string(),
            count(l.received as f64),
            count(l.transmitted as f64),
        ];
        row.extend(errors.iter().map(ToString::to_string));
        if has_vlans {
            let tags: Vec<String> = p.vlan.iter().map(ToString::to_string).collect();
            row.insert(1, if tags.is_empty() { "-".into() } else { tags.join(",") });
        }
        row
    };
    let mut columns = vec![
        "port",
        "driver",
        "mac",
        "link",
        ">queues rx/tx",
        "flows spread by",
        ">mtu",
        ">received",
        ">transmitted",
        ">missed",
        ">rx errors",
        ">tx errors",
        ">no memory",
    ];
    if has_vlans {
        columns.insert(1, "vlan");
    }
    let offloads = view.ports.iter().flat_map(|port| {
        port.link.offloads.iter().map(|offload| {
            let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
            let (offered, used) = (yes(offload.is_offered), yes(offload.is_used));
            vec![port.port.clone(), offload.offload.clone(), offered, used, offload.because.clone()]
        })
    });
    let offloads: Vec<_> = offloads.collect();
    let text = table(&columns, view.ports.iter().map(row));
    if offloads.is_empty() {
        return text;
    }
    text + "\n" + &table(&["port", "offload", "offered", "used", "because"], offloads)
}
