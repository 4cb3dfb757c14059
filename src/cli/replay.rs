//! `guideway replay`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Failure;
use crate::config::{AdminState, ConfigFlags, Model};
use crate::control::{counters_text, rule_names};
use crate::io::PortId;
use crate::io::capture::{CaptureError, CaptureReader, CaptureWriter, Captured};
use crate::replay::Replay;

/// The captures' timestamps drive the clock; the same inputs give the same output, byte for byte.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration. Ports need no device.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// What comes in by a port: a pcap or pcapng file. Repeat for more; frames are merged by time.
    #[arg(long = "in", value_name = "PORT=FILE", required = true)]
    inputs: Vec<String>,

    /// Where to write what leaves by a port, as pcap.
    #[arg(long = "out", value_name = "PORT=FILE")]
    outputs: Vec<String>,

    /// A backend that is down. Repeat for more; all others are up.
    #[arg(long, value_name = "POOL/ADDRESS", num_args = 1..)]
    down: Vec<String>,

    /// Workers that share the frames.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,

    /// Print the counters as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let flags = ConfigFlags { config: Some(args.config.clone()), ..ConfigFlags::default() };
    let mut model = super::load(&flags)?;
    mark_down(&mut model, &args.down)?;
    let (key, _) = super::key_to_look_with(&model);
    let mut inputs = open_inputs(&model, &args.inputs)?;
    let nanoseconds = inputs.iter().any(|input| input.has_nanoseconds);
    check_outputs(&model, args)?;
    let mut outputs = open_outputs(&model, &args.outputs, nanoseconds)?;
    let mut replay =
        Replay::new(&model, key, args.workers.into()).map_err(|e| Failure::Runtime(e.to_string()))?;

    let mut first = None;
    let mut now = Duration::ZERO;
    while let Some(index) = next_input(&inputs) {
        let input = &mut inputs[index];
        let taken = input.take();
        let Some((at, frame)) = taken.map_err(|e| capture_failure(&input.path, &e))? else { continue };
        let port = input.port;
        // A capture whose clock was set back does not set ours back.
        now = now.max(at.saturating_sub(*first.get_or_insert(at)));
        for (port, frame) in replay.frame(now, port, frame) {
            for output in outputs.iter_mut().filter(|output| output.port == port) {
                output.writer.write(at, &frame).map_err(|e| capture_failure(&output.path, &e))?;
            }
        }
    }
    for output in outputs {
        output.writer.finish().map_err(|e| capture_failure(&output.path, &e))?;
    }
    super::print(&summary(&replay, &model, args.json))
}

/// A capture being read, one frame ahead.
struct Input {
    port: PortId,
    path: PathBuf,
    frames: Frames,
    has_nanoseconds: bool,
    /// What comes next: a frame, the end, or damage, which is told once all before it has been replayed.
    next: Result<Option<Captured>, CaptureError>,
}

enum Frames {
    /// In order of time, as nearly all captures are.
    Read(CaptureReader),
    /// Put in order.
    Sorted(std::vec::IntoIter<Captured>),
}

impl Input {
    fn open(port: PortId, path: PathBuf) -> Result<Self, CaptureError> {
        let has_nanoseconds = CaptureReader::open(&path)?.has_nanoseconds();
        let frames = match unsorted(&path)? {
            Some(mut frames) => {
                frames.sort_by_key(|(at, _)| *at);
                Frames::Sorted(frames.into_iter())
            }
            None => Frames::Read(CaptureReader::open(&path)?),
        };
        let mut input = Self { port, path, frames, has_nanoseconds, next: Ok(None) };
        input.take()?;
        match input.next {
            // Of the whole file, not of a frame: told before anything is written.
            Err(error @ CaptureError::NotEthernet(_)) => Err(error),
            _ => Ok(input),
        }
    }

    fn take(&mut self) -> Result<Option<Captured>, CaptureError> {
        let next = match &mut self.frames {
            Frames::Read(reader) => reader.next_frame(),
            Frames::Sorted(frames) => Ok(frames.next()),
        };
        std::mem::replace(&mut self.next, next)
    }

    fn is_at_end(&self) -> bool {
        matches!(self.next, Ok(None))
    }
}

/// All frames of a capture that are not in order of time; `None` for one that is, or that is damaged.
fn unsorted(path: &Path) -> Result<Option<Vec<Captured>>, CaptureError> {
    let mut reader = CaptureReader::open(path)?;
    let mut last = Duration::ZERO;
    while let Ok(Some((at, _))) = reader.next_frame() {
        if at < last {
            let mut reader = CaptureReader::open(path)?;
            return std::iter::from_fn(|| reader.next_frame().transpose())
                .collect::<Result<_, _>>()
                .map(Some);
        }
        last = at;
    }
    Ok(None)
}

/// The one whose next frame is the earliest; of several, the one named first. Damage comes first of all.
fn next_input(inputs: &[Input]) -> Option<usize> {
    let at = |index: &usize| inputs[*index].next.as_ref().ok()?.as_ref().map(|(at, _)| *at);
    (0..inputs.len()).filter(|index| !inputs[*index].is_at_end()).min_by_key(at)
}

struct Output {
    port: PortId,
    path: PathBuf,
    writer: CaptureWriter,
}

fn open_inputs(model: &Model, texts: &[String]) -> Result<Vec<Input>, Failure> {
    let open = |text: &String| {
        let (port, path) = port_and_path(model, "--in", text)?;
        Input::open(port, path).map_err(|error| Failure::Usage(format!("--in {text}: {error}")))
    };
    texts.iter().map(open).collect()
}

/// No output may destroy the configuration, an input or another output.
fn check_outputs(model: &Model, args: &Args) -> Result<(), Failure> {
    let input = |text: &String| port_and_path(model, "--in", text).map(|(_, path)| real_path(&path));
    let mut taken: Vec<PathBuf> = args.inputs.iter().map(input).collect::<Result<_, _>>()?;
    taken.push(real_path(&args.config));
    let mut ports = Vec::new();
    for text in &args.outputs {
        let (port, path) = port_and_path(model, "--out", text)?;
        let path = real_path(&path);
        // Devices, such as /dev/null, can take any number of outputs.
        if taken.contains(&path) && !path.starts_with("/dev") {
            return Err(Failure::Usage(format!("--out {text}: the file is read or written already")));
        }
        if ports.contains(&port) {
            return Err(Failure::Usage(format!("--out {text}: the port has an output already")));
        }
        taken.push(path);
        ports.push(port);
    }
    Ok(())
}

/// One name for each file, also for one that is not there yet.
fn real_path(path: &Path) -> PathBuf {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let absent = || Some(parent.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(absent).unwrap_or_else(|| path.to_owned())
}

fn open_outputs(model: &Model, texts: &[String], nanoseconds: bool) -> Result<Vec<Output>, Failure> {
    let open = |text: &String| {
        let (port, path) = port_and_path(model, "--out", text)?;
        let writer = CaptureWriter::create(&path, nanoseconds).map_err(|e| capture_failure(&path, &e))?;
        Ok(Output { port, path, writer })
    };
    texts.iter().map(open).collect()
}

fn port_and_path(model: &Model, flag: &str, text: &str) -> Result<(PortId, PathBuf), Failure> {
    let usage = |what: String| Failure::Usage(format!("{flag} {text}: {what}"));
    let (name, path) = text.split_once('=').ok_or_else(|| usage("say PORT=FILE".into()))?;
    let index = model.ports.iter().position(|port| port.name == name).ok_or_else(|| {
        let names: Vec<&str> = model.ports.iter().map(|port| port.name.as_str()).collect();
        usage(format!("there is no port {name}; the configuration has: {}", names.join(", ")))
    })?;
    Ok((PortId(index as u8), PathBuf::from(path)))
}

fn capture_failure(path: &Path, error: &CaptureError) -> Failure {
    Failure::Runtime(format!("{}: {error}", path.display()))
}

/// Has the backends be down that `down` names, and no other that follows its probe.
fn mark_down(model: &mut Model, down: &[String]) -> Result<(), Failure> {
    for text in down {
        let usage = |what: String| Failure::Usage(format!("--down {text}: {what}"));
        let (pool, address) = text.split_once('/').ok_or_else(|| usage("say POOL/ADDRESS".into()))?;
        let address: IpAddr = address.parse().map_err(|_| usage("not an address".into()))?;
        let index = model.pools.iter().position(|p| p.name == pool);
        let index = index.ok_or_else(|| usage(format!("there is no pool {pool}")))?;
        let mut changed = (*model.pools[index]).clone();
        let backend = changed.backends.iter_mut().find(|backend| backend.address == address);
        backend.ok_or_else(|| usage(format!("pool {pool} has no such backend")))?.state = AdminState::Down;
        let changed = Arc::new(changed);
        for rule in model.rules.iter_mut().filter(|rule| rule.pool.name == pool) {
            rule.pool = changed.clone();
        }
        model.pools[index] = changed;
    }
    Ok(())
}

fn summary(replay: &Replay, model: &Model, as_json: bool) -> String {
    let rules = rule_names(model);
    let (totals, backends) = (replay.totals(), replay.backends());
    if !as_json {
        return counters_text(&totals, &backends, &rules);
    }
    let drops: Map<String, Value> =
        totals.drops.iter().filter(|(_, n)| *n > 0).map(|(r, n)| (r.label().into(), json!(n))).collect();
    let backends: Vec<Value> = backends
        .iter()
        .map(|(identity, b)| {
            json!({
                "rule": rules.get(&identity.frontend),
                "frontend": identity.frontend.to_string(),
                "backend": format!("{}:{}", identity.address, identity.port),
                "flows": b.flows, "flows_total": b.flows_total,
                "packets_in": b.packets_in, "bytes_in": b.bytes_in,
                "packets_out": b.packets_out, "bytes_out": b.bytes_out,
            })
        })
        .collect();
    let summary = json!({
        "received": totals.received,
        "transmitted": totals.transmitted,
        "answered": totals.answered,
        "controlled": totals.controlled,
        "held": totals.held,
        "dropped": totals.dropped(),
        "drops": drops,
        "flows": { "created": totals.flows_created, "expired": totals.flows_expired,
                   "reclaimed": totals.flows_reclaimed, "untracked": totals.untracked },
        "backends": backends,
    });
    format!("{summary:#}\n")
}
