//! The configuration in force, told; and another held against it, on a thread of its own: to fill the tables of a large
//! configuration takes seconds, for which nothing else may wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::{Answer, Refusal, Reply, json};
use super::difference::{Side, difference_to_running};
use super::manager::Manager;
use crate::config::{ConfigFlags, Frontend, load_text, to_text};

/// The configuration in force. `docs/openapi.json` says what each field means.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/openapi.json says it")]
pub struct Configuration {
    pub configuration: String,
    pub arguments: Vec<String>,
    pub directory: String,
}

/// The flag whose value is a secret.
const SECRET: &str = "--hash-key";
/// The flag with a secret among its options, and that option.
const WITH_SECRET: &str = "--quic";
const OPTION: &str = "key=";

pub(super) fn configuration(manager: &Manager) -> Configuration {
    let directory = std::env::current_dir().unwrap_or_default();
    Configuration {
        configuration: to_text(manager.model()),
        arguments: without_secrets(std::env::args().skip(1)),
        directory: directory.display().to_string(),
    }
}

fn without_secrets(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == SECRET {
            arguments.next();
        } else if argument == WITH_SECRET {
            told.push(argument);
            told.extend(arguments.next().map(|value| without_option(&value)));
        } else if argument.starts_with(&format!("{WITH_SECRET}=")) {
            told.push(without_option(&argument));
        } else if !argument.starts_with(&format!("{SECRET}=")) {
            told.push(argument);
        }
    }
    told
}

fn without_option(value: &str) -> String {
    let told: Vec<&str> =
        value.split(',').filter(|option| !option.trim_start().starts_with(OPTION)).collect();
    told.join(",")
}

/// One check at a time: each takes some hundreds of megabytes for the largest configurations. Whoever checks holds the
/// second reference, and lets go of it however its thread ends.
#[derive(Debug, Default)]
pub(super) struct Place(Arc<()>);

impl Place {
    fn take(&self) -> Option<Arc<()>> {
        (Arc::strong_count(&self.0) == 1).then(|| Arc::clone(&self.0))
    }
}

/// Answers `reply` with what would change if `text` were the configuration.
pub(super) fn start(manager: &Manager, text: String, reply: Reply) {
    let Some(place) = manager.check_place().take() else {
        let what = "another configuration is being checked; ask again in a moment";
        // Who has left needs no answer; neither here nor below.
        let _ = reply.send(Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, what.into())));
        return;
    };
    let (side, runtime) = (manager.side(), manager.runtime().clone());
    let (model, key) = (side.model.clone(), side.key);
    let mut flows: BTreeMap<Frontend, u64> = BTreeMap::new();
    for (identity, totals) in manager.backends() {
        *flows.entry(identity.frontend).or_default() += totals.flows;
    }
    on_a_thread(thread::Builder::new().name("check".into()), reply, move || {
        let answer = load_text("the configuration", &text, &ConfigFlags::default())
            .map_err(|findings| {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, findings.to_string().trim_end().to_owned())
            })
            .and_then(|mut new| {
                new.model.keep_nat_ports(&model.nat_ports());
                json(&difference_to_running(Side { model: &model, key }, &new.model, &runtime, &flows))
            });
        // Before the answer: whoever has it may ask again at once.
        drop(place);
        answer
    });
}

/// Answers `reply` with what `work` comes to on a thread of its own, or says that there is none.
fn on_a_thread(
    builder: thread::Builder,
    reply: Reply,
    work: impl FnOnce() -> Result<String, Refusal> + Send + 'static,
) {
    let (hand, taken) = channel::<Reply>();
    let work = move || {
        let answer = work();
        if let Ok(reply) = taken.recv() {
            let _ = reply.send(answer.map(Answer::Json));
        }
    };
    match builder.spawn(work) {
        Ok(_) => {
            let _ = hand.send(reply);
        }
        Err(error) => {
            log::error!("a configuration cannot be checked: no thread: {error}");
            let what = format!("no thread can be started for that: {error}");
            let _ = reply.send(Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_check_is_told_where_no_thread_can_be_had() {
        let ask = |builder| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            on_a_thread(builder, reply, || Ok("done".into()));
            answer.blocking_recv().unwrap()
        };
        assert!(matches!(ask(thread::Builder::new()), Ok(Answer::Json(done)) if done == "done"));
        // A stack as large as all memory that a process can have.
        let refusal = ask(thread::Builder::new().stack_size(1 << 47)).err().unwrap();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.body().contains("no thread can be started"), "{}", refusal.body());
    }

    #[test]
    fn keys_are_not_told() {
        let told = |line: &str| without_secrets(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(told("run --hash-key 00ff --workers 1"), "run --workers 1");
        assert_eq!(told("run --workers 1 --hash-key=00ff -- -l 1"), "run --workers 1 -- -l 1");
        assert_eq!(told("run --hash-key"), "run");
        assert_eq!(
            told("run --quic h3=quic-lb,key=00ff,nonce=8 --quic"),
            "run --quic h3=quic-lb,nonce=8 --quic"
        );
        assert_eq!(told("run --quic=h3=quic-lb,key=00ff"), "run --quic=h3=quic-lb");
    }
}
