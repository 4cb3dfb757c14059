//! Neighbour discovery (RFC 4861): who has our addresses, and where others are.

use crate::dataplane::lanes::{Event, Outcome, Outcomes};
use crate::dataplane::others::destination;
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId};
use crate::snapshot::{PortLink, Snapshot};
use crate::wire::ethernet;
use crate::wire::nd::{self, Advertisement, Message, Solicitation};

/// Answers who asks for us, and has the management thread know what others say of themselves. That somebody else
/// claims an address of ours is counted; we neither give way nor defend it.
pub(in crate::dataplane) fn answer_neighbour<F: Frame>(
    frame: &mut F,
    message: &Message,
    port: PortId,
    link: &PortLink,
    world: &Snapshot,
    outcomes: &mut Outcomes,
) -> Result<Outcome, DropReason> {
    match message {
        Message::Solicitation(asked) => {
            let answer = answer(frame.bytes(), asked, port, link, world, outcomes)?;
            // Who asks whether an address is free is nobody's neighbour yet.
            if let (Some(mac), false) = (asked.source_mac, asked.source.is_unspecified()) {
                let address = asked.source.into();
                outcomes.tell(Event::Neighbour { port, address, mac, is_reply: false });
            }
            if !frame.fill(&answer) {
                return Err(DropReason::ExceedsMtu);
            }
            Ok(Outcome::Answer(port))
        }
        Message::Advertisement(told) => learn(frame.bytes(), told, port, world, outcomes),
    }
}

fn answer(
    frame: &[u8],
    asked: &Solicitation,
    port: PortId,
    link: &PortLink,
    world: &Snapshot,
    outcomes: &mut Outcomes,
) -> Result<[u8; nd::FRAME_LEN], DropReason> {
    let station = ethernet::addresses(frame.first_chunk().ok_or(DropReason::EthernetTruncated)?).source();
    if world.is_ours_at(asked.source.into(), port) {
        outcomes.tell_conflict(port, asked.source.into(), station, world);
        return Err(DropReason::NdConflict);
    }
    if !world.is_ours_at(asked.target.into(), port) {
        return Err(DropReason::NdNotOurs);
    }
    // A host behind a group address would have us send to all of the group.
    if station.is_group() {
        return Err(DropReason::NdMalformed);
    }
    // Who asks whether the address is free means to have it (RFC 4862 section 5.4.3).
    if asked.source.is_unspecified() {
        outcomes.tell_conflict(port, asked.target.into(), station, world);
    }
    Ok(nd::answer(link.mac, asked, station))
}

/// RFC 4861 section 7.2.5. As an answer it only counts where somebody is known, or asked for.
fn learn(
    frame: &[u8],
    told: &Advertisement,
    port: PortId,
    world: &Snapshot,
    outcomes: &mut Outcomes,
) -> Result<Outcome, DropReason> {
    if world.is_ours_at(told.target.into(), port) {
        let header = frame.first_chunk().ok_or(DropReason::EthernetTruncated)?;
        let station = told.target_mac.unwrap_or_else(|| ethernet::addresses(header).source());
        outcomes.tell_conflict(port, told.target.into(), station, world);
        return Err(DropReason::NdConflict);
    }
    let known = world.routes.known_mac(port, told.target.into());
    // Who says the address of a station that was asked by itself need not say where that is.
    let mac = told.target_mac.or(known);
    let is_for_us = destination(frame).is_some_and(|to| world.is_ours_at(to, port));
    let is_news = known.is_some() && mac != known;
    if !is_for_us && !is_news {
        return Err(DropReason::NdNotOurs);
    }
    // Who answers for another does not take its place.
    if let Some(mac) = mac.filter(|_| told.overrides || !is_news) {
        outcomes.tell(Event::Neighbour { port, address: told.target.into(), mac, is_reply: true });
    }
    Ok(Outcome::Control)
}
