//! `guideway show counters`: what became of frames and flows.

use super::table;
use crate::control::views::Counters;

/// All tables of `show counters`.
pub(super) fn counters(view: &Counters, all: bool) -> String {
    let (frames, flows) = (&view.frames, &view.flows);
    let ends = [
        ("received", frames.received),
        ("transmitted", frames.transmitted),
        ("answered", frames.answered),
        ("controlled", frames.controlled),
        ("held", frames.held),
        ("dropped", frames.dropped),
        ("originated", frames.originated),
    ];
    let events = [
        ("created", flows.created),
        ("expired", flows.expired),
        ("reclaimed", flows.reclaimed),
        ("untracked", flows.untracked),
        ("handed over", flows.handed_over),
        ("reset", flows.reset),
        ("unanswered", flows.unanswered),
    ];
    let resets = [
        ("to clients", view.resets.to_clients),
        ("to backends", view.resets.to_backends),
        ("questions", view.resets.asked),
    ];
    let icmp = [
        ("echo replies", view.icmp.echo_replies),
        ("unreachable", view.icmp.unreachable_sent),
        ("too big", view.icmp.too_big_sent),
        ("time exceeded", view.icmp.time_exceeded_sent),
        ("errors to clients", view.icmp.errors_to_clients),
        ("errors to backends", view.icmp.errors_to_backends),
    ];
    let mut text = table(&["frames", ">"], ends.iter().map(named));
    text += "\n";
    text += &table(&["flows", ">"], events.iter().map(named));
    text += "\n";
    for (title, rows) in [("resets", &resets[..]), ("ICMP", &icmp)] {
        if rows.iter().any(|(_, sent)| all || *sent > 0) {
            text += &table(&[title, ">"], rows.iter().map(named));
            text += "\n";
        }
    }
    text += &rare(view, all);
    let drops = view.drops.iter().filter(|drop| all || drop.frames > 0);
    let drops: Vec<_> =
        drops.map(|d| vec![d.reason.clone(), d.frames.to_string(), d.meaning.clone()]).collect();
    if drops.is_empty() {
        return text + "no frame was dropped\n";
    }
    text + &table(&["dropped because", ">frames", "meaning"], drops)
}

/// What most have none of.
fn rare(view: &Counters, all: bool) -> String {
    let mut text = String::new();
    let told = [
        ("TOA options", view.client_address.toa_sent),
        ("no room for TOA", view.client_address.toa_no_room),
        ("PROXY headers", view.client_address.proxy_headers_sent),
    ];
    let parts = [("packets cut up", view.parts.packets_cut), ("parts made", view.parts.made)];
    let quic = [
        ("by server id", view.quic.by_id),
        ("moved", view.quic.moved),
        ("unknown id", view.quic.unknown),
        ("id of one down", view.quic.down),
        ("unroutable", view.quic.unroutable),
    ];
    for (name, rows) in [("client addresses", &told[..]), ("parts", &parts), ("QUIC", &quic)] {
        if rows.iter().any(|(_, count)| all || *count > 0) {
            text += &table(&[name, ">"], rows.iter().map(named));
            text += "\n";
        }
    }
    text
}

/// A line of a table of numbers.
fn named((name, value): &(&str, u64)) -> Vec<String> {
    vec![(*name).to_owned(), value.to_string()]
}
