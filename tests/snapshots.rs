//! Snapshots between threads: readers see whole generations, in order, and free none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use guideway::control::REPLAY_KEY;
use guideway::snapshot::{Compiler, Conditions, Publisher, Snapshot};

fn conditions() -> Conditions {
    Conditions::default()
}

/// How many snapshots a reader's thread has to have seen is up to the scheduler; that it saw the last is not.
#[test]
fn readers_see_generations_in_order_and_the_publisher_frees_what_all_are_past() {
    const GENERATIONS: u64 = 300;
    let mut compiler = Compiler::new(REPLAY_KEY);
    let mut compile = |backends: u64| -> Snapshot {
        let text = with_backends(&numbered((0..=backends % 7).map(|n| n as u8 + 4), ""), "");
        compiler.compile(&model(&text), &conditions()).unwrap()
    };
    let (mut publisher, readers) = Publisher::new(compile(0), 3);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    reader.refresh();
                    let generation = reader.current().generation;
                    assert!(generation >= last);
                    last = generation;
                }
                reader.refresh();
                reader.current().generation
            })
        })
        .collect();
    for i in 1..GENERATIONS {
        publisher.publish(compile(i));
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while publisher.reached() < GENERATIONS && Instant::now() < deadline {
        publisher.free_passed();
        thread::sleep(Duration::from_millis(1));
    }
    publisher.free_passed();
    assert_eq!((publisher.reached(), publisher.held()), (GENERATIONS, 1));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), GENERATIONS);
    }
}

#[test]
fn a_snapshot_is_kept_while_one_reader_is_behind_and_goes_with_the_last_reader() {
    let mut compiler = Compiler::new(REPLAY_KEY);
    let model = model(&with_backends(&numbered([4], ""), ""));
    let mut compile = || compiler.compile(&model, &conditions()).unwrap();
    let (mut publisher, mut readers) = Publisher::new(compile(), 2);
    publisher.publish(compile());
    publisher.publish(compile());
    readers[0].refresh();
    publisher.free_passed();
    assert_eq!((readers[0].current().generation, readers[1].current().generation), (3, 1));
    assert_eq!((publisher.reached(), publisher.held()), (1, 3));
    readers[1].refresh();
    publisher.free_passed();
    assert_eq!((publisher.reached(), publisher.held()), (3, 1));
    drop(readers);
    assert_eq!(publisher.reached(), u64::MAX);
}

#[test]
fn a_rule_whose_inputs_did_not_change_keeps_its_table() {
    let mut compiler = Compiler::new(REPLAY_KEY);
    let text = |last: u8| {
        format!(
            "{}\n[[pool]]\nname = \"other\"\nbackends = [{}]\n[[rule]]\nname = \"ssh\"\n\
             frontend = \"203.0.113.10:22/tcp\"\npool = \"other\"\n",
            with_backends(&numbered([4, 5], ""), ""),
            numbered([6, last], ""),
        )
    };
    let mut tables = |last| {
        let snapshot = compiler.compile(&model(&text(last)), &conditions()).unwrap();
        let table = |port| {
            let key =
                guideway::packet::EndpointKey::new(FRONTEND.into(), port, guideway::wire::Protocol::Tcp);
            let id = snapshot.frontend_at(key).unwrap();
            snapshot.frontend(id).unwrap().selector.table().as_ptr() as usize
        };
        (table(443), table(22), snapshot)
    };
    let (https, ssh, _first) = tables(7);
    let (https_again, ssh_changed, _second) = tables(8);
    assert_eq!(https, https_again);
    assert_ne!(ssh, ssh_changed);
}

/// Numbers of source addresses are never taken back: what has no number would be dropped without a word.
#[test]
fn more_source_addresses_than_there_are_numbers_are_refused_and_change_nothing() {
    let with_sources = |third: u8, hosts: u8| {
        model(&format!(
            "[[port]]\nname = \"outside\"\naddresses = [\"198.51.100.2/24\"]\ngateway = \"198.51.100.1\"\n\
             [[port]]\nname = \"inside\"\naddresses = [\"10.0.0.1/16\"]\n\
             [[pool]]\nname = \"web\"\nbackends = [{{ address = \"10.0.0.4\" }}]\n\
             [[rule]]\nname = \"web\"\nfrontend = \"203.0.113.1:80/tcp\"\npool = \"web\"\nforward = \"full-nat\"\n\
             source_addresses = [\"10.0.{third}.1-10.0.{third}.{hosts}\"]\n"
        ))
    };
    let mut compiler = Compiler::new(REPLAY_KEY);
    let mut compile = |third, hosts| compiler.compile(&with_sources(third, hosts), &conditions());
    let first = compile(1, 40).unwrap();
    let error = compile(2, 25).err().unwrap();
    assert_eq!((error.what, error.wanted, error.limit), ("source addresses", 65, 64));
    assert_eq!(
        error.to_string(),
        "65 source addresses are more than the 64 that fit at once; those removed earlier count until guideway is \
         started anew"
    );
    assert_eq!(compile(2, 24).unwrap().generation, first.generation + 1);
    // Those that were here before have their numbers still.
    assert!(compile(1, 40).is_ok());
}
