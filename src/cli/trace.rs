//! `guideway trace`: the next packets of one flow, step by step.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::json;

use super::Failure;
use super::client::{CUT_OFF, StreamEnd, Target};
use crate::control::TracedPacket;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The client's address and port, as in 192.0.2.7:40000.
    #[arg(value_name = "CLIENT:PORT")]
    client: SocketAddr,

    /// A frontend, as in 203.0.113.10:443/tcp, or the name of a rule.
    #[arg(value_name = "FRONTEND")]
    frontend: String,

    /// End after so many packets.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// End after so long, as in 30s or 5m; a day at most.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Print a line of JSON for each packet.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[allow(clippy::print_stderr, reason = "standard output is for the packets")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let body = json!({
        "client": args.client.to_string(),
        "frontend": args.frontend,
        "count": args.count,
        "seconds": args.timeout.as_secs_f64(),
    });
    let mut rest = Vec::new();
    let mut packets = 0;
    let end = args.target.stream("/v1/trace", &body.to_string(), |bytes| {
        rest.extend_from_slice(bytes);
        let Some(last) = rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(ControlFlow::Continue(()));
        };
        let lines: Vec<u8> = rest.drain(..=last).collect();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let packet: TracedPacket = serde_json::from_slice(line).map_err(|error| {
                Failure::Runtime(format!("the running guideway is of another version: {error}"))
            })?;
            packets += 1;
            super::print(&if args.json {
                format!("{}\n", String::from_utf8_lossy(line))
            } else {
                text(&packet)
            })?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if end == StreamEnd::CutOff {
        eprintln!("guideway: {CUT_OFF}");
    }
    if packets == 0 && end == StreamEnd::Complete {
        let (client, timeout) = (args.client, humantime::format_duration(args.timeout));
        return Err(Failure::Runtime(format!(
            "no packet of {client} and {} within {timeout}: does it come to this machine? `guideway capture --client {}` \
             shows all there is of the client",
            args.frontend,
            client.ip()
        )));
    }
    Ok(())
}

/// A line for each step.
fn text(packet: &TracedPacket) -> String {
    let unknown = || "?".to_owned();
    let name = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
    let mut out = format!(
        "{}  {} > {}  {}{}, {} bytes\n",
        time(packet.at_seconds),
        name(&packet.source),
        name(&packet.destination),
        name(&packet.protocol).to_uppercase(),
        tcp(packet),
        packet.length,
    );
    let mut step = |what: &str, text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {what:<9}  {text}");
    };
    let by = if packet.handed_over { ", to which another worker handed it over" } else { "" };
    step("received", format!("on {} by worker {}{by}", packet.received_on, packet.worker));
    let response = if packet.direction == "to-client" { "response of " } else { "" };
    step("rule", format!("{response}{}, {}", packet.rule, packet.frontend));
    if let Some(flow) = &packet.flow {
        step("flow", format!("{flow}{}", states(packet)));
    }
    let is_chosen = packet.flow.as_ref().is_some_and(|flow| !["known", "none"].contains(&flow.as_str()));
    if packet.by_quic_server_id {
        step("chosen", "by QUIC server id, which the connection id names".to_owned());
    } else if let Some(choice) = &packet.choice
        && is_chosen
    {
        let slot = format!("slot {} of {}", choice.slot, choice.table_len);
        step("hash", format!("{}, {}: {slot}, {}", choice.hash, choice.distribution, name(&choice.backend)));
    }
    if let Some(backend) = &packet.backend {
        step("backend", format!("{backend}{}", because(packet)));
    }
    if let (Some(source), Some(destination)) = (&packet.new_source, &packet.new_destination) {
        let ttl = |ttl: Option<u8>| ttl.map_or_else(unknown, |ttl| ttl.to_string());
        let ttl = format!("TTL {} to {}", ttl(packet.ttl), ttl(packet.new_ttl));
        step("rewritten", format!("{source} > {destination}, {ttl}"));
    }
    if let (Some(hop), Some(mac)) = (&packet.next_hop, &packet.next_hop_mac) {
        step("next hop", format!("{hop} at {mac}"));
    }
    match (&packet.sent_on, packet.sent_by_worker) {
        (Some(port), Some(worker)) if packet.verdict == "forwarded" => {
            step("sent", format!("on {port} by worker {worker}"));
        }
        (Some(port), Some(worker)) => {
            step("sent", format!("on {port} by worker {worker}, to who sent this: {}", packet.verdict));
        }
        _ => step("end", packet.verdict.clone()),
    }
    if let Some(meaning) = &packet.meaning {
        step("", meaning.clone());
    }
    out.push('\n');
    out
}

fn tcp(packet: &TracedPacket) -> String {
    let (Some(flags), Some(sequence)) = (&packet.tcp_flags, packet.tcp_sequence) else {
        return String::new();
    };
    let acknowledgement = packet.tcp_acknowledgement.filter(|_| flags.contains("ACK"));
    let acknowledgement = acknowledgement.map(|number| format!(" ack {number}")).unwrap_or_default();
    format!(" {flags}, seq {sequence}{acknowledgement}")
}

fn states(packet: &TracedPacket) -> String {
    match (&packet.state_before, &packet.state) {
        (Some(before), Some(after)) if before != after => format!("; it was {before}, and is {after}"),
        (_, Some(after)) => format!("; it is {after}"),
        _ => String::new(),
    }
}

fn because(packet: &TracedPacket) -> &'static str {
    match packet.flow.as_deref() {
        None => ", which sent it",
        Some("known") => ", where the flow goes",
        Some(_) => ", by the slot of the hash",
    }
}

/// Hours, minutes and seconds of the day, in UTC.
fn time(at: f64) -> String {
    let micros = (at * 1e6).round() as u64;
    let (seconds, micros) = (micros / 1_000_000 % 86_400, micros % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
