//! What `top` shows: two samples made into rates, in four tables.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::sample::Sample;
use crate::cli::rates;
use crate::cli::show::{count, table};
use crate::control::views::{Backend, Rule, Traffic, Worker};

/// The tables, in the order of the keys 1 to 4.
pub(super) const SECTIONS: [&str; 4] = ["rules", "backends", "workers", "drops"];

/// Which table stands first, and by which column each is sorted.
#[derive(Clone, Default)]
pub(super) struct Order {
    pub(super) first: usize,
    /// `None`: by the first column with a rate.
    pub(super) sort: [Option<usize>; 4],
}

/// One look, ready to be shown.
pub(super) struct Board {
    pub(super) head: Vec<String>,
    sections: [Section; 4],
}

struct Section {
    /// Those of numbers begin with `>`, as tables have it.
    columns: Vec<&'static str>,
    /// The column by which it is sorted unless somebody wants another.
    sort: usize,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone)]
enum Cell {
    Text(String),
    /// `None` where nobody can tell: there is no earlier sample, or the counter has begun anew.
    Number(Option<f64>, String),
}

/// What has been counted since the sample before.
struct Since<'s> {
    before: Option<&'s Sample>,
    seconds: f64,
}

impl Since<'_> {
    fn rate(&self, now: u64, before: Option<u64>) -> Option<f64> {
        rates::rate(now, before, self.seconds)
    }
}

fn number(value: Option<f64>) -> Cell {
    Cell::Number(value, value.map_or_else(|| "-".into(), count))
}

fn whole(value: u64) -> Cell {
    Cell::Number(Some(value as f64), value.to_string())
}

/// New flows, packets and bits a second.
fn traffic(now: &Traffic, before: Option<&Traffic>, since: &Since<'_>) -> Vec<Cell> {
    let rate = |of: fn(&Traffic) -> u64| since.rate(of(now), before.map(of));
    vec![
        number(rate(|t| t.packets_to_backend)),
        number(rate(|t| t.packets_to_client)),
        number(rate(|t| t.bytes_to_backend).map(|rate| rate * 8.0)),
        number(rate(|t| t.bytes_to_client).map(|rate| rate * 8.0)),
        number(rate(|t| t.flows_total)),
        whole(now.flows),
    ]
}

const TRAFFIC: [&str; 6] = [">packets/s in", ">out", ">bit/s in", ">out", ">new flows/s", ">flows"];

impl Board {
    pub(super) fn new(now: &Sample, before: Option<&Sample>) -> Self {
        let before = before.filter(|before| rates::follows(&now.status, &before.status));
        let passed = before.map_or(Duration::ZERO, |before| now.at.duration_since(before.at));
        let since = Since { before, seconds: passed.as_secs_f64().max(0.001) };
        let sections = [rules(now, &since), backends(now, &since), workers(now, &since), drops(now, &since)];
        Self { head: head(now, &since), sections }
    }

    /// All of it as plain text.
    pub(super) fn text(&self, order: &Order) -> String {
        let body: Vec<String> =
            self.body(order).into_iter().flat_map(|lines| lines.into_iter().chain([String::new()])).collect();
        let mut text = format!("{}\n\n{}", self.head.join("\n"), body.join("\n"));
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    /// The tables as lines, the first one first; the first line of each names the columns, with a star at the one by
    /// which it is sorted.
    pub(super) fn body(&self, order: &Order) -> Vec<Vec<String>> {
        let others = (0..self.sections.len()).filter(|index| *index != order.first);
        let indices = std::iter::once(order.first).chain(others);
        indices
            .filter_map(|index| Some(self.sections.get(index)?.lines(order.sort.get(index).copied()?)))
            .collect()
    }

    /// The column after the one by which the table is sorted now.
    pub(super) fn next_sort(&self, order: &Order) -> Option<usize> {
        let section = self.sections.get(order.first)?;
        let now = order.sort.get(order.first).copied()?.unwrap_or(section.sort);
        Some((now + 1) % section.columns.len())
    }
}

impl Section {
    fn lines(&self, sort: Option<usize>) -> Vec<String> {
        let sort = sort.unwrap_or(self.sort);
        let mut rows = self.rows.clone();
        // Stable: what is equal keeps the order of the configuration.
        rows.sort_by(|a, b| match (a.get(sort), b.get(sort)) {
            (Some(a), Some(b)) => a.before(b),
            _ => Ordering::Equal,
        });
        let starred: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, name)| if index == sort { format!("{name}*") } else { (*name).to_owned() })
            .collect();
        let columns: Vec<&str> = starred.iter().map(String::as_str).collect();
        table(&columns, rows.into_iter().map(|row| row.into_iter().map(Cell::text).collect()))
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Cell {
    /// Texts ascend; numbers descend, the unknown last.
    fn before(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a, _), Self::Number(b, _)) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
            _ => Ordering::Equal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Number(_, text) => text,
        }
    }
}

fn head(now: &Sample, since: &Since<'_>) -> Vec<String> {
    let (status, before) = (&now.status, since.before.map(|before| &before.status));
    let rate = |value, before| since.rate(value, before).map_or_else(|| "-".into(), count);
    let frames = |of: fn(&crate::control::views::Frames) -> u64| {
        rate(of(&status.frames), before.map(|before| of(&before.frames)))
    };
    let created = rate(now.counters.flows.created, since.before.map(|before| before.counters.flows.created));
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds as u64));
    let reached =
        if status.generation == status.generation_reached { "" } else { ", not reached by all workers" };
    vec![
        format!(
            "guideway {}, pid {}, up {uptime}, generation {}{reached}",
            status.version, status.pid, status.generation
        ),
        format!(
            "frames/s  received {}, transmitted {}, dropped {}; flows {}, new {created}/s",
            frames(|f| f.received),
            frames(|f| f.transmitted),
            frames(|f| f.dropped),
            status.flows,
        ),
    ]
}

fn rules(now: &Sample, since: &Since<'_>) -> Section {
    let before: BTreeMap<&str, &Rule> = since
        .before
        .iter()
        .flat_map(|before| &before.rules.rules)
        .map(|rule| (rule.rule.as_str(), rule))
        .collect();
    let row = |rule: &Rule| {
        // The same name for another frontend is another rule.
        let before = before.get(rule.rule.as_str()).filter(|before| before.frontend == rule.frontend);
        let mut row = vec![Cell::Text(rule.rule.clone()), Cell::Text(rule.frontend.clone())];
        row.extend(traffic(&rule.traffic, before.map(|before| &before.traffic), since));
        row
    };
    let columns = [&["rule", "frontend"][..], &TRAFFIC].concat();
    Section { columns, sort: 2, rows: now.rules.rules.iter().map(row).collect() }
}

fn backends(now: &Sample, since: &Since<'_>) -> Section {
    let key = |b: &Backend| (b.frontend.clone(), b.address.clone(), b.port);
    let before: BTreeMap<_, &Backend> =
        since.before.iter().flat_map(|before| &before.backends.backends).map(|b| (key(b), b)).collect();
    let row = |b: &Backend| {
        let pool = b.pool.as_ref().map(|pool| format!("{pool}/")).unwrap_or_default();
        let mut row = vec![
            Cell::Text(format!("{pool}{}:{}", b.address, b.port)),
            Cell::Text(b.rule.clone().unwrap_or_else(|| b.frontend.clone())),
            Cell::Text(b.state.clone()),
        ];
        row.extend(traffic(&b.traffic, before.get(&key(b)).map(|before| &before.traffic), since));
        row
    };
    let columns = [&["backend", "rule", "state"][..], &TRAFFIC].concat();
    Section { columns, sort: 3, rows: now.backends.backends.iter().map(row).collect() }
}

fn workers(now: &Sample, since: &Since<'_>) -> Section {
    let before: BTreeMap<usize, &Worker> =
        since.before.iter().flat_map(|before| &before.status.workers).map(|w| (w.worker, w)).collect();
    let row = |w: &Worker| {
        let rates = rates::worker(w, before.get(&w.worker).copied(), since.seconds);
        let numbers = rates.map(|(value, shown)| Cell::Number(value, shown));
        [Cell::Text(w.worker.to_string())].into_iter().chain(numbers).collect()
    };
    let columns = rates::WORKER_COLUMNS.to_vec();
    Section { columns, sort: 1, rows: now.status.workers.iter().map(row).collect() }
}

/// Reasons that have occurred.
fn drops(now: &Sample, since: &Since<'_>) -> Section {
    let before: BTreeMap<&str, u64> = since
        .before
        .iter()
        .flat_map(|before| &before.counters.drops)
        .map(|drop| (drop.reason.as_str(), drop.frames))
        .collect();
    let occurred = now.counters.drops.iter().filter(|drop| drop.frames > 0);
    let row = |drop: &crate::control::views::Drop| {
        let rate = since.rate(drop.frames, before.get(drop.reason.as_str()).copied());
        vec![Cell::Text(drop.reason.clone()), number(rate), whole(drop.frames)]
    };
    Section {
        columns: vec!["dropped because", ">frames/s", ">frames"],
        sort: 1,
        rows: occurred.map(row).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    /// `frames` came in, half of them for each of two rules; one in ten was dropped.
    pub(in crate::cli::top) fn sample(pid: u32, second: u64, frames: u64, began: Instant) -> Sample {
        let ends = json!({ "received": frames, "transmitted": frames, "answered": 0, "controlled": 0,
            "held": 0, "dropped": frames / 10, "originated": 0 });
        let traffic = |packets: u64| {
            json!({ "flows": 7, "flows_total": packets / 4, "packets_to_backend": packets,
                "bytes_to_backend": packets * 100, "packets_to_client": packets, "bytes_to_client": packets * 1000 })
        };
        let with = |mut view: serde_json::Value, more: serde_json::Value| {
            view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            view
        };
        let rule = |name: &str, packets| {
            with(
                traffic(packets),
                json!({ "rule": name, "frontend": "203.0.113.1:80/tcp", "pool": "web",
                "is_nat_rule": false, "backend_port": 80, "forward": "nat", "distribution": "5-tuple",
                "idle_timeout_seconds": 240.0,
                "no_healthy_backends": "drop", "backends": 1, "backends_taking_flows": 1, "probe": null,
                "backends_healthy": null, "acl": null, "acl_denied": null }),
            )
        };
        let status = json!({ "version": "1", "pid": pid, "uptime_seconds": second, "generation": 1,
            "generation_reached": 1, "snapshots": 1, "rules": 2, "backends": 0, "neighbours_missing": 0, "flows": 14,
            "frames": ends, "last_reload": null, "workers": [{ "worker": 0, "received": frames, "transmitted": frames,
            "dropped": 0, "handed_over": 0, "taken_over": 0, "polls": frames, "busy_polls": frames / 4,
            "bursts": frames / 8 }] });
        let flows = json!({ "created": frames / 4, "expired": 0, "reclaimed": 0, "reset": 0, "unanswered": 0,
                "untracked": 0, "handed_over": 0 });
        let drop = json!({ "reason": "no-rule", "frames": frames / 10, "meaning": "" });
        let rules = json!({ "rules": [rule("a", frames / 4), rule("b", frames / 2)] });
        let counters = json!({ "frames": ends, "flows": flows, "drops": [drop],
            "resets": { "to_clients": 0, "to_backends": 0, "asked": 0 },
            "icmp": { "echo_replies": 0, "unreachable_sent": 0, "too_big_sent": 0, "time_exceeded_sent": 0,
            "errors_to_clients": 0, "errors_to_backends": 0 }, "parts": { "packets_cut": 0, "made": 0 },
            "quic": { "by_id": 0, "moved": 0, "unknown": 0, "down": 0, "unroutable": 0 },
            "client_address": { "toa_sent": 0, "toa_no_room": 0, "proxy_headers_sent": 0 } });
        Sample {
            at: began + Duration::from_secs(second),
            status: serde_json::from_value(status).unwrap(),
            rules: serde_json::from_value(rules).unwrap(),
            backends: serde_json::from_value(json!({ "backends": [] })).unwrap(),
            counters: serde_json::from_value(counters).unwrap(),
        }
    }

    fn words(board: &Board, order: &Order, section: usize, line: usize) -> Vec<String> {
        let lines = &board.body(order)[section];
        lines[line].split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn rates_are_differences_by_time() {
        let began = Instant::now();
        let board = Board::new(&sample(1, 14, 5000, began), Some(&sample(1, 10, 1000, began)));
        let order = Order::default();
        // 4000 frames in 4 s, half of them of rule b, a fourth of rule a: the larger one first.
        let b = ["b", "203.0.113.1:80/tcp", "500", "500", "400.00 k", "4.00 M", "125", "7"];
        assert_eq!(words(&board, &order, 0, 1), b);
        assert_eq!(words(&board, &order, 0, 2)[..3], ["a", "203.0.113.1:80/tcp", "250"]);
        assert_eq!(words(&board, &order, 2, 1), ["0", "25.00 %", "8.0", "1.00 k", "1.00 k", "0"]);
        assert_eq!(words(&board, &order, 3, 1), ["no-rule", "100", "500"]);
        assert!(
            board
                .text(&order)
                .contains("received 1.00 k, transmitted 1.00 k, dropped 100; flows 14, new 250/s")
        );
    }

    #[test]
    fn without_an_earlier_sample_of_the_same_process_there_are_no_rates() {
        let began = Instant::now();
        let now = sample(1, 20, 300, began);
        let order = Order::default();
        for before in [None, Some(sample(2, 10, 100, began)), Some(sample(1, 30, 100, began))] {
            let board = Board::new(&now, before.as_ref());
            assert_eq!(words(&board, &order, 0, 1)[2..], ["-", "-", "-", "-", "-", "7"]);
            assert!(board.head[1].contains("received -, "), "{:?}", board.head);
        }
        // Nor has `show status`, which looks twice too.
        let shown =
            |pid, second| crate::cli::show::status(&sample(pid, second, 100, began).status, &now.status);
        assert!(shown(1, 10).contains("8.0"), "{}", shown(1, 10));
        for (pid, second) in [(2, 10), (1, 30)] {
            let line = shown(pid, second).lines().last().unwrap().to_owned();
            assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["0", "-", "-", "-", "-", "-"]);
        }
        // A counter that has begun anew in the same process.
        let board = Board::new(&now, Some(&sample(1, 10, 5000, began)));
        assert_eq!(words(&board, &order, 3, 1), ["no-rule", "-", "30"]);
    }

    #[test]
    fn any_table_can_be_first_and_sorted_by_any_column() {
        let began = Instant::now();
        let board = Board::new(&sample(1, 14, 5000, began), Some(&sample(1, 10, 1000, began)));
        let mut order = Order { first: 3, ..Order::default() };
        assert!(board.body(&order)[0][0].contains("frames/s*"), "{:?}", board.body(&order)[0]);
        order.first = 0;
        let mut names = Vec::new();
        for _ in 0..8 {
            order.sort[0] = board.next_sort(&order);
            names.push(order.sort[0].unwrap());
        }
        assert_eq!(names, [3, 4, 5, 6, 7, 0, 1, 2]);
        order.sort[0] = Some(0);
        assert_eq!(words(&board, &order, 0, 1)[0], "a");
    }
}
