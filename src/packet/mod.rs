//! From a frame's bytes to what they mean: a packet with its fields proven to be there, or the name of
//! what is wrong with it. Also the flow a packet belongs to, and the keyed hash over flows.

mod flow;
mod icmp;
mod ip;
mod ipv6;
mod martian;
mod parse;
mod plain;
mod plain6;
mod quote;
mod siphash;
mod words;

pub mod quic;

pub use flow::{EndpointKey, Flow, FlowKey, FrontendWord, WideKey, address_of, address_words, wide_endpoint};
pub use icmp::{icmp_message, merits_error, neighbour_message, quote_offset};
pub use ip::{FragmentPart, IpPacket};
pub use martian::{flaw_of_source, is_martian, is_martian_byte, is_martian_v4, is_martian_v6};
pub use parse::{Packet, Parsed, first_fragment, parse};
pub use plain::{PlainEnds, PlainPacket};
pub use plain6::{Pattern6, PlainEnds6, PlainPacket6};
pub use quote::{Quote, QuotedEnds, parse_quote};
pub use siphash::SipHash;
pub use words::{position, position_of};

#[cfg(test)]
mod tests;
