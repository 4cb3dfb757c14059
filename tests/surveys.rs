//! What is asked of the flow tables from outside, held against what was put in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use guideway::control::{Manager, REPLAY_KEY};
use guideway::dataplane::{
    FlowFilter, FlowTable, Mesh, SURVEYS_MAX, Survey, Surveys, Worker, WorkerCounters, WorkerId, WorkerPort,
};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;
use proptest::prelude::*;

struct Bed {
    worker: Worker<MemoryQueues>,
    counters: Arc<WorkerCounters>,
    surveys: Surveys,
    _manager: Manager,
}

type Client = (Ipv4Addr, u16);

impl Bed {
    fn new(room: usize) -> Self {
        Self::of(room, "")
    }

    fn of(room: usize, rule: &str) -> Self {
        let neighbour =
            |n| format!("\n[[neighbour]]\naddress = \"10.0.0.{n}\"\nmac = \"02:00:0a:00:00:0{n}\"");
        let neighbours = (4..7).map(neighbour).collect::<String>();
        let mesh: Mesh<HeapFrame> = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let (manager, mut readers) = Manager::new(
            model(&(with_backends(&numbered(4..7, ""), rule) + &neighbours)),
            REPLAY_KEY,
            vec![link(0), link(1)],
            vec![counters.clone()],
            mesh.events(),
            mesh.originated(),
        )
        .unwrap();
        let me = WorkerId(0);
        let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
        let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(room).unwrap());
        let ports = vec![own(0), own(1)];
        let worker = Worker::new(mesh.seat(me), 1, ports, queues, readers.remove(0), flows, counters.clone());
        Self { worker, counters, surveys: mesh.surveys(), _manager: manager }
    }

    fn put_in<'c>(&mut self, clients: impl IntoIterator<Item = &'c Client>) {
        for (address, port) in clients {
            let frame = Spec { from: (address.octets(), *port), ..Spec::tcp("S") }.frame();
            self.worker.queues_mut().push(OUTSIDE, frame);
            self.worker.poll(seconds(0.0));
        }
    }

    fn ask(&mut self, filter: FlowFilter, limit: usize) -> Box<Survey> {
        let survey = Survey::new(7, filter, limit, Arc::default());
        assert!(self.surveys.ask(0, survey).is_ok());
        self.take_back()
    }

    fn take_back(&mut self) -> Box<Survey> {
        for _ in 0..10_000 {
            self.worker.poll(seconds(0.0));
            if let Some(survey) = self.surveys.take_back(0) {
                return survey;
            }
        }
        panic!("the worker does not come to an end");
    }
}

fn clients(survey: &Survey) -> BTreeSet<Client> {
    let found: BTreeSet<Client> = survey.found().iter().map(|flow| flow.client).map(narrow).collect();
    assert_eq!(found.len(), survey.found().len(), "one was found twice");
    found
}

fn narrow(client: SocketAddr) -> Client {
    let IpAddr::V4(address) = client.ip() else { panic!("{client}") };
    (address, client.port())
}

fn any_client() -> impl Strategy<Value = Client> {
    (0u8..4, 1u8..255, 1u16..).prop_map(|(net, host, port)| (Ipv4Addr::new(192, 0, net, host), port))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each flow is found once, whatever else there is; a filter keeps what it says; a limit is kept and told.
    #[test]
    fn what_is_found_is_what_was_put_in(
        put_in in proptest::collection::btree_set(any_client(), 1..400),
        limit in 1usize..500,
    ) {
        // Room enough that none gives way to another.
        let mut bed = Bed::new(8192);
        bed.put_in(&put_in);
        let all = bed.ask(FlowFilter::default(), 10_000);
        prop_assert_eq!(&clients(&all), &put_in);
        prop_assert!(all.is_complete() && !all.has_more());
        prop_assert_eq!(all.looked_at(), put_in.len() as u64);
        let (address, port) = *put_in.first().unwrap();
        let wanted: BTreeSet<Client> = put_in.iter().copied().filter(|client| client.0 == address).collect();
        prop_assert_eq!(clients(&bed.ask(FlowFilter::default().client(address.into(), None), 10_000)), wanted);
        let one = bed.ask(FlowFilter::default().client(address.into(), Some(port)), 10_000);
        prop_assert_eq!(clients(&one), BTreeSet::from([(address, port)]));
        let some = bed.ask(FlowFilter::default(), limit);
        prop_assert!(clients(&some).is_subset(&put_in));
        prop_assert_eq!(some.found().len(), limit.min(put_in.len()));
        prop_assert_eq!(some.has_more(), put_in.len() > limit);
    }
}

#[test]
fn flows_that_are_over_and_not_yet_forgotten_are_not_found() {
    const FLOWS: u16 = 300;
    let mut bed = Bed::new(8192);
    let clients: Vec<Client> = (1..=FLOWS).map(|port| (Ipv4Addr::new(192, 0, 2, 7), port)).collect();
    bed.put_in(&clients);
    assert_eq!(bed.ask(FlowFilter::default(), 1000).found().len(), usize::from(FLOWS));
    let survey = Survey::new(1, FlowFilter::default(), 1000, Arc::default());
    assert!(bed.surveys.ask(0, survey).is_ok());
    // Where each poll has a frame, a survey is through the table long before the sweep.
    let polls = std::iter::repeat_with(|| {
        bed.worker.queues_mut().push(OUTSIDE, vec![0; 60]);
        bed.worker.poll(seconds(31.0));
        bed.surveys.take_back(0)
    });
    let survey = polls.take(10_000).flatten().next().unwrap();
    assert!(survey.is_complete() && survey.found().is_empty(), "{:?}", survey.found());
    let forgotten = bed.counters.totals().flows_expired;
    assert!(forgotten < u64::from(FLOWS) / 2, "{forgotten} of them are not there any more");
}

#[test]
fn several_are_done_in_turn_one_given_up_comes_back_and_one_too_many_is_refused() {
    let mut bed = Bed::new(1 << 20);
    bed.put_in(&[(Ipv4Addr::new(192, 0, 2, 7), 40_000)]);
    let given_up: Arc<AtomicBool> = Arc::default();
    let survey = |number| Survey::new(number, FlowFilter::default(), 9, given_up.clone());
    for number in 0..SURVEYS_MAX as u64 {
        assert!(bed.surveys.ask(0, survey(number)).is_ok());
    }
    assert_eq!(bed.surveys.ask(0, survey(99)).unwrap_err().number, 99);
    assert_eq!(bed.surveys.ask(1, survey(98)).unwrap_err().number, 98, "there is no such worker");
    let first = bed.take_back();
    assert!(first.number == 0 && first.is_complete());
    given_up.store(true, Ordering::Relaxed);
    for number in 1..SURVEYS_MAX as u64 {
        let survey = bed.take_back();
        assert!(survey.number == number && !survey.is_complete());
    }
}

#[test]
fn flows_of_full_nat_are_found_with_the_source_that_backends_see() {
    let mut bed = Bed::of(1024, "forward = \"full-nat\"");
    let put_in: BTreeSet<Client> = (1..=200).map(|port| (Ipv4Addr::new(192, 0, 2, 7), port)).collect();
    bed.put_in(&put_in);
    let all = bed.ask(FlowFilter::default(), 1000);
    assert!(all.is_complete() && !all.has_more());
    assert_eq!(clients(&all), put_in);
    let sources: BTreeSet<SocketAddr> = all.found().iter().filter_map(|flow| flow.source).collect();
    assert_eq!(sources.len(), put_in.len(), "each has one of its own");
    assert!(sources.iter().all(|source| source.ip() == Ipv4Addr::new(10, 0, 0, 1)));
    let one = bed.ask(FlowFilter::default().client(Ipv4Addr::new(192, 0, 2, 7).into(), Some(77)), 1000);
    assert_eq!(clients(&one), BTreeSet::from([(Ipv4Addr::new(192, 0, 2, 7), 77)]));
    let some = bed.ask(FlowFilter::default(), 50);
    assert!(some.found().len() == 50 && some.has_more());
    // Of other flows, backends see the client.
    let mut bed = Bed::new(1024);
    bed.put_in(&put_in);
    assert!(bed.ask(FlowFilter::default(), 1000).found().iter().all(|flow| flow.source.is_none()));
}
