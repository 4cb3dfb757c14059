//! From a frame's bytes to what they mean: a packet with its fields proven to be there, or the name of
//! what is wrong with it. Also the flow a packet belongs to, and the keyed hash over flows.

mod flow;
mod parse;
mod plain;
mod siphash;
mod words;

pub use flow::{EndpointKey, Flow, FlowKey, FrontendWord, WideKey, address_of, address_words, wide_endpoint};
pub use parse::{Ipv4Packet, Packet, Parsed, flaw_of_ip_source, flaw_of_source, is_martian, is_martian_ipv6, parse};
pub use plain::{PlainEnds, PlainPacket};
pub use siphash::SipHash;
pub use words::{position, position_of};
