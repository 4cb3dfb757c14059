//! The fence as a whole, on a real EAL without hugepages, privileges or NICs.

use std::sync::OnceLock;

use super::eal::Eal;
use super::error::{Errno, Error};
use super::mempool::{self, FRAME_BYTES, Mempool};
use super::port::{Port, PortConfig};
use super::queue::{WorkerQueues, split};
use super::ring_port::RingPort;
use crate::io::tagged::{Place, Tagged};
use crate::io::{BURST_MAX, Frame, PortId, Queues};

const P0: PortId = PortId(0);
const P1: PortId = PortId(1);

/// The one EAL of the test process, with a null device. Never cleaned up.
fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let args = "test -l 0 --no-huge -m 64 --no-shconf --no-pci --no-telemetry --log-level=*:error \
                    --vdev=net_null0 --vdev=net_null1 --vdev=net_null2 --vdev=net_null3";
        let bond = format!("--vdev={}", bond());
        let args = args.split_whitespace().chain(has_bonding().then_some(bond.as_str()));
        let args: Vec<String> = args.map(str::to_owned).collect();
        let cpus_before = cpus_of_this_thread();
        let eal = Eal::init(&args).unwrap();
        assert_eq!(cpus_of_this_thread(), cpus_before, "EAL pins the thread that starts it; we undo that");
        eal
    })
}

/// Not every DPDK comes with that driver.
fn has_bonding() -> bool {
    env!("GUIDEWAY_DPDK_DRIVERS").split(' ').any(|driver| driver == "net_bond")
}

/// A device of two others, the second for when the first has no link.
fn bond() -> String {
    let year_and_month: String = env!("GUIDEWAY_DPDK_VERSION").chars().take(5).collect();
    let word = if year_and_month.as_str() < "23.11" { "slave" } else { "member" };
    format!("net_bonding4,mode=1,{word}=net_null2,{word}=net_null3")
}

fn cpus_of_this_thread() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed_list")).map(str::to_owned)
}

fn pool(name: &str) -> Mempool {
    Mempool::new(eal(), name, 511, FRAME_BYTES, 0).unwrap()
}

fn config(id: PortId, device: &str) -> PortConfig {
    PortConfig {
        id,
        name: "wan".into(),
        device: device.into(),
        workers: 2,
        mtu: 1500,
        mac: None,
        promiscuous: true,
        rx_desc: 256,
        tx_desc: 256,
    }
}

fn burst() -> Vec<<WorkerQueues as Queues>::Frame> {
    Vec::with_capacity(BURST_MAX)
}

#[test]
fn a_frame_goes_through_the_queues_of_its_worker_and_none_is_lost() {
    let pool = pool("through");
    {
        let (port, far) = RingPort::open(eal(), P0, "through", 2, 64, &pool).unwrap();
        assert_eq!((port.rx_queues(), port.tx_queues(), port.driver()), (2, 2, "net_ring"));
        assert!(!port.keeps_flows_on_one_queue());
        let mut workers = split(&[port], 2, &pool).unwrap();
        assert!(far.push(1, b"to the second worker"));

        let mut burst = burst();
        workers[0].receive(P0, &mut burst);
        assert!(burst.is_empty(), "the first worker polls queue 0 only");
        workers[1].receive(P0, &mut burst);
        assert_eq!(burst.len(), 1);
        assert_eq!(burst[0].bytes(), b"to the second worker");
        burst[0].bytes_mut()[7..13].copy_from_slice(b"SECOND");

        workers[1].transmit(P0, &mut burst);
        assert!(burst.is_empty());
        assert_eq!(pool.available(), pool.capacity() - 1, "what was sent is the driver's, not free");
        assert_eq!(far.pop(0), None);
        assert_eq!(far.pop(1).unwrap(), b"to the SECOND worker");
        assert_eq!(far.pop(1), None);
    }
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn what_a_full_queue_cannot_take_stays_in_order() {
    let pool = pool("full");
    {
        let (port, far) = RingPort::open(eal(), P0, "full", 1, 16, &pool).unwrap();
        assert!(port.keeps_flows_on_one_queue());
        let mut workers = split(&[port], 1, &pool).unwrap();
        let mut burst: Vec<_> = (0..20u8).map(|n| workers[0].new_frame(&[n; 60]).unwrap()).collect();
        workers[0].transmit(P0, &mut burst);
        assert_eq!(burst.iter().map(|frame| frame.bytes()[0]).collect::<Vec<_>>(), [15, 16, 17, 18, 19]);
        workers[0].transmit(P0, &mut burst);
        assert_eq!(burst.len(), 5);
        assert_eq!(
            (0..16).filter_map(|_| far.pop(0)).map(|bytes| bytes[0]).collect::<Vec<_>>(),
            (0..15).collect::<Vec<_>>()
        );
        workers[0].transmit(P0, &mut burst);
        assert!(burst.is_empty());
        // The last five are left in the ring, which gives them back when it goes.
    }
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn a_worker_with_several_queues_takes_turns_and_stops_at_a_full_burst() {
    let pool = pool("turns");
    let (port, far) = RingPort::open(eal(), P0, "turns", 2, 128, &pool).unwrap();
    let mut workers = split(&[port], 1, &pool).unwrap();
    for n in 0..BURST_MAX {
        assert!(far.push(0, &[0, n as u8]) && far.push(1, &[1, n as u8]));
    }
    let mut first = burst();
    workers[0].receive(P0, &mut first);
    let mut second = burst();
    workers[0].receive(P0, &mut second);
    for (burst, queue) in [(&first, 0), (&second, 1)] {
        assert_eq!(burst.len(), BURST_MAX);
        assert!(burst.iter().enumerate().all(|(n, frame)| frame.bytes() == [queue, n as u8]));
    }
    assert_eq!(first.capacity(), BURST_MAX, "a burst never grows");

    assert!(far.push(0, b"a") && far.push(1, b"b") && far.push(1, b"c"));
    first.truncate(BURST_MAX - 2);
    workers[0].receive(P0, &mut first);
    assert_eq!(first.len(), BURST_MAX);
    workers[0].receive(P0, &mut first);
    assert_eq!(first.len(), BURST_MAX, "a full burst takes nothing");
    second.clear();
    workers[0].receive(P0, &mut second);
    assert_eq!(second.len(), 1, "and loses nothing");
}

#[test]
fn frames_cross_from_port_to_port_and_thread_to_thread() {
    let pool = Mempool::new(eal(), "cross", 1023, FRAME_BYTES, 32).unwrap();
    {
        let (wan, wan_far) = RingPort::open(eal(), P0, "cross_wan", 2, 256, &pool).unwrap();
        let (lan, lan_far) = RingPort::open(eal(), P1, "cross_lan", 2, 256, &pool).unwrap();
        for n in 0..200u8 {
            assert!(wan_far.push(u16::from(n % 2), &[n; 64]));
        }
        let forward = |mut queues: WorkerQueues| {
            let _registered = eal().register_worker().unwrap();
            assert_eq!(eal().register_worker().err(), Some(Error::AlreadyRegistered));
            let mut burst = burst();
            // All frames wait already, so two polls of each queue would do.
            for _ in 0..10 {
                queues.receive(P0, &mut burst);
                queues.transmit(P1, &mut burst);
                assert!(burst.is_empty());
            }
        };
        std::thread::scope(|scope| {
            for queues in split(&[wan, lan], 2, &pool).unwrap() {
                scope.spawn(move || forward(queues));
            }
        });
        let out: Vec<u8> = (0..200u16).filter_map(|n| lan_far.pop(n % 2)).map(|bytes| bytes[0]).collect();
        assert_eq!(out, (0..200).collect::<Vec<u8>>());
    }
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn only_as_many_workers_transmit_as_there_are_queues() {
    let pool = pool("fewer");
    let (port, _far) = RingPort::open(eal(), P1, "fewer", 1, 16, &pool).unwrap();
    let mut workers = split(&[port], 2, &pool).unwrap();
    assert!(workers[0].can_transmit(P1) && !workers[1].can_transmit(P1) && !workers[0].can_transmit(P0));
    let mut burst = vec![pool.frame(b"stays").unwrap()];
    workers[1].transmit(P1, &mut burst);
    workers[0].transmit(P0, &mut burst);
    workers[0].receive(PortId(9), &mut burst);
    assert_eq!(burst.len(), 1);
}

#[test]
fn a_frame_of_several_segments_is_dropped_and_counted() {
    let pool = pool("segments");
    {
        let (port, far) = RingPort::open(eal(), P0, "segments", 1, 16, &pool).unwrap();
        let mut workers = split(&[port], 1, &pool).unwrap();
        assert!(far.push(0, b"first"));
        far.push_frame(0, two_segments(&pool)).unwrap();
        assert!(far.push(0, b"third"));
        let mut burst = burst();
        assert_eq!(workers[0].receive(P0, &mut burst), 1);
        assert_eq!(burst.iter().map(Frame::bytes).collect::<Vec<_>>(), [b"first", b"third"]);
    }
    assert_eq!(pool.available(), pool.capacity());
}

/// A frame as a driver with scattered receive delivers it.
fn two_segments(pool: &Mempool) -> super::mbuf::Mbuf {
    let tail = pool.frame(b"tail").unwrap().into_raw();
    let head = pool.frame(b"head").unwrap().into_raw();
    // SAFETY: both are ours, and the chain owns the tail from here on.
    unsafe { dpdk_sys::gw_mbuf_chain(head.as_ptr(), tail.as_ptr()) };
    // SAFETY: still ours; the chain is freed as one.
    unsafe { super::mbuf::Mbuf::from_raw(head) }
}

#[test]
fn frames_that_do_not_fit_or_find_no_memory_are_not_made() {
    let pool = Mempool::new(eal(), "little", 3, FRAME_BYTES, 0).unwrap();
    assert!(pool.frame(&[1; FRAME_BYTES as usize]).is_some());
    assert!(pool.frame(&[1; FRAME_BYTES as usize + 1]).is_none());
    assert!(pool.frame(&[1; 70_000]).is_none());
    let held: Vec<_> = std::iter::from_fn(|| pool.frame(b"x")).collect();
    assert_eq!((held.len(), pool.available()), (3, 0));
    drop(held);
    assert_eq!(pool.available(), 3);
}

#[test]
fn a_pool_outlives_its_handles_while_frames_are_out() {
    let pool = pool("outlived");
    let frame = pool.frame(b"still here").unwrap();
    drop(pool);
    assert_eq!(frame.bytes(), b"still here");
    assert!(matches!(
        Mempool::new(eal(), "outlived", 63, FRAME_BYTES, 0),
        Err(Error::Mempool { errno: Errno(17), .. })
    ));
}

#[test]
fn frames_are_no_larger_than_we_reckon_with() {
    let pool = pool("stride");
    let frames = pool.capacity();
    assert!(
        u64::from(frames) * u64::from(pool.stride_bytes())
            <= mempool::bytes_needed(frames, FRAME_BYTES, true)
    );
    assert!(pool.stride_bytes() <= 4096, "a frame fits an ordinary page");
}

#[test]
fn queues_are_split_once() {
    let pool = pool("once");
    let (port, _far) = RingPort::open(eal(), P0, "once", 1, 16, &pool).unwrap();
    let (other, _far) = RingPort::open(eal(), P0, "once_too", 1, 16, &pool).unwrap();
    let ports = [port, other];
    assert_eq!(split(&ports, 1, &pool).err(), Some(Error::PortIdTwice { port: "once_too".into() }));
    assert!(split(&ports[..1], 1, &pool).is_ok());
    assert_eq!(split(&ports[..1], 1, &pool).err(), Some(Error::QueuesTaken { port: "once".into() }));
}

#[test]
fn a_ring_port_can_be_made_again_under_the_same_name() {
    let pool = pool("again");
    for _ in 0..2 {
        let (port, far) = RingPort::open(eal(), P0, "again", 1, 16, &pool).unwrap();
        assert!(far.push(0, b"x"));
        drop((port, far));
    }
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn a_missing_device_is_named_with_what_to_do() {
    let pool = pool("missing");
    let cases = [
        ("0000:3b:00.0", "dpdk-devbind.py --status"),
        ("net_af_packet7,iface=none0", "ip link"),
        ("net_nil", "first comma"),
    ];
    for (device, advice) in cases {
        let error = Port::open(eal(), &config(P0, device), &pool).unwrap_err();
        assert_eq!(error, Error::NoSuchDevice { port: "wan".into(), device: device.into() });
        let text = error.to_string();
        assert!(text.contains(device) && text.contains("port wan") && text.contains(advice), "{text}");
    }
}

#[test]
fn a_null_port_opens_with_a_queue_for_each_worker() {
    let pool = pool("null");
    let port = Port::open(eal(), &config(P0, "net_null0"), &pool).unwrap();
    assert_eq!((port.driver(), port.rx_queues(), port.tx_queues()), ("net_null", 2, 2));
    assert!(port.link().up);
    assert_ne!(port.mac(), [0; 6]);
    let again = Port::open(eal(), &config(P1, "net_null0"), &pool).unwrap_err();
    assert_eq!(again, Error::DeviceInUse { port: "wan".into(), device: "net_null0".into() });

    let mut workers = split(std::slice::from_ref(&port), 2, &pool).unwrap();
    let mut burst = burst();
    workers[1].receive(P0, &mut burst);
    assert_eq!(burst.len(), BURST_MAX, "a null port always has frames");
    workers[1].transmit(P0, &mut burst);
    assert!(burst.is_empty());
    assert_eq!((port.stats().ipackets, port.stats().opackets), (BURST_MAX as u64, BURST_MAX as u64));
}

#[test]
fn an_mtu_that_does_not_fit_a_buffer_is_refused_with_the_limits() {
    let pool = pool("mtu");
    let config = PortConfig { mtu: 2023, ..config(P0, "net_null1") };
    let error = Port::open(eal(), &config, &pool).unwrap_err();
    assert!(matches!(error, Error::MtuOutOfRange { max: 2022, .. }), "{error}");
}

#[test]
fn eal_starts_once() {
    eal();
    assert_eq!(Eal::init(&["again".to_owned()]).err(), Some(Error::AlreadyInitialised));
    assert_eq!(Eal::init(&["nul\0".to_owned()]).err(), Some(Error::NulByte("nul\0".into())));
}

#[test]
fn ports_of_one_device_have_the_frames_of_their_vlan() {
    let pool = pool("vlans");
    let (port, far) = RingPort::open(eal(), P0, "vlans", 1, 64, &pool).unwrap();
    let queues = split(&[port], 1, &pool).unwrap().remove(0);
    let place = |vlan: &[u16]| Place { first: P0, vlan: vlan.to_vec() };
    let mut queues = Tagged::new(queues, &[place(&[100]), place(&[200, 7])]);
    let frame = |tags: &[u8]| [&[1; 12], tags, &[8, 0, 0x45]].concat();
    let tagged = [frame(&[0x81, 0, 0, 100]), frame(&[0x88, 0xa8, 0, 200, 0x81, 0, 0, 7])];
    for (port, tagged) in [P0, P1].into_iter().zip(&tagged) {
        assert!(far.push(0, tagged) && queues.can_transmit(port));
    }
    for (port, tagged) in [P0, P1].into_iter().zip(tagged) {
        let mut burst = burst();
        assert_eq!(queues.receive(port, &mut burst), 0);
        assert_eq!(burst.iter().map(Frame::bytes).collect::<Vec<_>>(), [frame(&[])]);
        // The longest headers of a tunnel, and their tags.
        assert!(burst[0].grow(70) && burst[0].shrink(70));
        let packet = burst[0].bytes().to_vec();
        assert_eq!(burst[0].put_in_front(70, packet.len()).unwrap()[70..], packet);
        // More than there is, in front or behind.
        assert!(burst[0].put_in_front(200, 1).is_none() && burst[0].put_in_front(1, 70 + 16).is_none());
        assert!(burst[0].shrink(70) && burst[0].bytes() == packet);
        queues.transmit(port, &mut burst);
        assert_eq!(far.pop(0), Some(tagged));
    }
    drop((queues, far));
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn jumbo_frames_are_in_one_piece() {
    let largest = mempool::frame_bytes(9216);
    assert_eq!((mempool::frame_bytes(1500), mempool::frame_bytes(9000), largest), (2048, 9216, 10_240));
    let pool = Mempool::new(eal(), "jumbo", 63, largest, 0).unwrap();
    assert!(63 * u64::from(pool.stride_bytes()) <= mempool::bytes_needed(63, largest, true));
    let (port, far) = RingPort::open(eal(), P0, "jumbo", 1, 64, &pool).unwrap();
    let mut queues = split(&[port], 1, &pool).unwrap().remove(0);
    let frame: Vec<u8> = (0..9216 + 14 + 8).map(|at: u32| at as u8).collect();
    assert!(far.push(0, &frame));
    let mut burst = burst();
    assert_eq!(queues.receive(P0, &mut burst), 0);
    assert!(burst[0].bytes() == frame);
    queues.transmit(P0, &mut burst);
    assert!(far.pop(0).unwrap() == frame);
}

#[test]
fn of_a_bond_the_second_takes_over_when_the_first_loses_its_link() {
    if !has_bonding() {
        return;
    }
    let pool = Mempool::new(eal(), "bond", 4095, FRAME_BYTES, 0).unwrap();
    let bonded = bond();
    let config = PortConfig { workers: 1, promiscuous: false, ..config(P0, &bonded) };
    let port = Port::open(eal(), &config, &pool).unwrap();
    assert_eq!(port.driver(), "net_bonding");
    // The bond looks after its members from time to time.
    let second = std::time::Duration::from_secs(1);
    let until = std::time::Instant::now() + 10 * second;
    while !port.link().up {
        assert!(std::time::Instant::now() < until, "no member has a link");
        std::thread::sleep(second / 100);
    }
    let mut queues = split(std::slice::from_ref(&port), 1, &pool).unwrap().remove(0);
    let members = [c"net_null2", c"net_null3"].map(|name| {
        let mut id = 0;
        // SAFETY: EAL runs; the name is a C string, and `id` ours to write.
        assert_eq!(unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) }, 0);
        id
    });
    let sent = || {
        members.map(|member| {
            let mut stats = dpdk_sys::rte_eth_stats::default();
            // SAFETY: EAL runs and has a device of that number; `stats` is ours to write.
            assert_eq!(unsafe { dpdk_sys::rte_eth_stats_get(member, &mut stats) }, 0);
            stats.opackets
        })
    };
    let mut send_by = |member: usize| {
        let until = std::time::Instant::now() + 10 * second;
        while std::time::Instant::now() < until {
            let before = sent();
            let mut burst = burst();
            burst.extend(pool.frame(&[2; 60]));
            queues.transmit(P0, &mut burst);
            let after = sent();
            assert_eq!(after[1 - member], before[1 - member], "only one sends");
            if after[member] > before[member] {
                return true;
            }
            std::thread::sleep(second / 100);
        }
        false
    };
    assert!(send_by(0));
    // SAFETY: EAL runs and has a device of that number, which nobody polls but the bond.
    assert_eq!(unsafe { dpdk_sys::rte_eth_dev_stop(members[0]) }, 0);
    std::thread::sleep(2 * second);
    assert!(send_by(1) && port.link().up);
}
