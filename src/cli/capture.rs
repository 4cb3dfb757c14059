//! `guideway capture`: the running program's frames as a pcapng file.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use pcap_file::PcapError;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgParser};
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{CUT_OFF, StreamEnd, Target};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only frames of this rule, both ways. Its name or its frontend, as in 203.0.113.10:443/tcp.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,

    /// Only frames from or to this client, on both sides.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    client: Option<String>,

    /// Only frames that go to this backend or come from it, on both sides.
    #[arg(long, value_name = "[POOL/]ADDRESS[:PORT]")]
    backend: Option<String>,

    /// Only frames that are dropped; of these reasons, if any are given (`guideway show counters --all` lists them).
    #[arg(
        long,
        value_name = "REASON[,REASON]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ','
    )]
    dropped: Option<Vec<String>>,

    /// End after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Bytes to keep of each frame, 1 to 9728.
    #[arg(long, value_name = "BYTES", default_value_t = 2048)]
    snaplen: usize,

    /// End after so long, as in 30s or 5m; a day at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Where to write to; `-` is standard output, for `| tshark -r -` and `| wireshark -k -i -`.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    write: PathBuf,

    #[command(flatten)]
    target: Target,
}

impl Args {
    fn body(&self) -> String {
        let mut body = Map::new();
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        };
        say("rule", self.rule.as_ref().map(|rule| json!(rule)));
        say("client", self.client.as_ref().map(|client| json!(client)));
        say("backend", self.backend.as_ref().map(|backend| json!(backend)));
        let reasons =
            |all: &Vec<String>| json!(all.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>());
        say("dropped", self.dropped.as_ref().map(reasons));
        say("count", self.count.map(|count| json!(count)));
        say("seconds", self.duration.map(|duration| json!(duration.as_secs_f64())));
        say("snaplen", Some(json!(self.snaplen)));
        Value::Object(body).to_string()
    }

    fn is_to_stdout(&self) -> bool {
        self.write.as_os_str() == "-"
    }
}

#[allow(clippy::print_stderr, reason = "standard output may be the capture")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.is_to_stdout() && std::io::stdout().is_terminal() {
        let what = "a capture is nothing to look at: -w FILE, or -w - with a pipe to tshark -r -";
        return Err(Failure::Usage(what.into()));
    }
    // Not made before guideway has agreed: what was asked wrong leaves an old file as it is.
    let mut written = Written::default();
    let mut output: Option<Box<dyn Write>> = None;
    let took = args.target.stream("/v1/capture", &args.body(), |bytes| {
        if output.is_none() {
            output = Some(args.open()?);
            eprintln!("guideway: capturing to {}; Ctrl-C ends it", args.name());
        }
        let Some(output) = &mut output else { return Ok(ControlFlow::Break(())) };
        match written.take(bytes, output) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            // Who reads has seen enough.
            Err(error) if args.is_to_stdout() && error.kind() == ErrorKind::BrokenPipe => {
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(Failure::Runtime(format!(
                "{}: {error}; it holds {} frames and may end in the middle of one",
                args.name(),
                written.frames
            ))),
        }
    });
    let end = took?;
    if end == StreamEnd::CutOff {
        eprintln!("guideway: {CUT_OFF}");
    }
    eprintln!("guideway: {} frames written, {} lost", written.frames, written.lost());
    if written.lost() > 0 {
        eprintln!(
            "guideway: what was lost came faster than it could be written: a narrower filter or a smaller --snaplen helps"
        );
    }
    Ok(())
}

impl Args {
    fn open(&self) -> Result<Box<dyn Write>, Failure> {
        if self.is_to_stdout() {
            return Ok(Box::new(std::io::stdout()));
        }
        let file = File::create(&self.write);
        let file = file.map_err(|error| Failure::Runtime(format!("{}: {error}", self.name())))?;
        Ok(Box::new(file))
    }

    fn name(&self) -> String {
        if self.is_to_stdout() { "standard output".into() } else { self.write.display().to_string() }
    }
}

/// What has been written: whole blocks only, so that the file is complete whenever it ends.
#[derive(Default)]
struct Written {
    parser: Option<PcapNgParser>,
    /// The beginning of a block whose end has not come yet.
    rest: Vec<u8>,
    frames: u64,
    /// By interface, as guideway has told last.
    lost: Vec<u64>,
}

impl Written {
    fn take(&mut self, bytes: &[u8], output: &mut dyn Write) -> std::io::Result<()> {
        let mut pending = std::mem::take(&mut self.rest);
        pending.extend_from_slice(bytes);
        let frames = self.frames;
        let whole = self.count(&pending)?;
        let (blocks, rest) = pending.split_at_checked(whole).unwrap_or_default();
        let done = output.write_all(blocks).and_then(|()| output.flush());
        if done.is_err() {
            self.frames = frames;
        }
        self.rest = rest.to_vec();
        done
    }

    /// Bytes of the whole blocks.
    fn count(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut rest = bytes;
        loop {
            let next = match &mut self.parser {
                None => PcapNgParser::new(rest).map(|(after, parser)| {
                    self.parser = Some(parser);
                    (after, None)
                }),
                Some(parser) => parser.next_block(rest).map(|(after, block)| (after, Some(block))),
            };
            match next {
                Ok((after, block)) => {
                    rest = after;
                    match block {
                        Some(Block::EnhancedPacket(_)) => self.frames += 1,
                        Some(Block::InterfaceStatistics(block)) => {
                            let port = block.interface_id as usize;
                            let lost = block.options.iter().find_map(|option| match option {
                                InterfaceStatisticsOption::IsbOsDrop(lost) => Some(*lost),
                                _ => None,
                            });
                            // As many as guideway can have ports; what an unknown one says is of no use.
                            self.lost.resize(crate::io::PORTS_MAX, 0);
                            if let (Some(place), Some(lost)) = (self.lost.get_mut(port), lost) {
                                *place = lost;
                            }
                        }
                        _ => {}
                    }
                }
                Err(PcapError::IncompleteBuffer) => return Ok(bytes.len() - rest.len()),
                Err(error) => return Err(std::io::Error::other(error.to_string())),
            }
        }
    }

    fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }
}
