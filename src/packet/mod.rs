//! From a frame's bytes to what they mean: a packet with its fields proven to be there, or the name of
//! what is wrong with it. Also the flow a packet belongs to, and the keyed hash over flows.

mod flow;
mod ip;
mod ipv6;
mod martian;
mod parse;
mod plain;
mod quote;
mod siphash;
mod words;

pub use flow::{EndpointKey, FlowKey, FrontendWord};
pub use ip::{FragmentPart, IpPacket};
pub use martian::{flaw_of_source, is_martian};
pub use parse::{Packet, Parsed, first_fragment, parse};
pub use plain::{PlainEnds, PlainPacket};
pub use quote::{Quote, QuotedEnds, parse_quote};
pub use siphash::SipHash;
pub use words::position;
