//! Requests made up from the OpenAPI file, sound and unsound, with the token and without: each answer is one that the file
//! lists, and none a 5xx.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod running;

use common::model;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::TestRunner;
use running::{Running, TOKEN, config};
use serde_json::{Map, Value, json};

const REQUESTS: u32 = 1500;

/// What an operation is: method, path, and the names of its query parameters and of its body's fields.
#[derive(Clone, Debug)]
struct Operation {
    method: String,
    path: String,
    query: Vec<String>,
    fields: Vec<String>,
}

fn document() -> Value {
    serde_json::from_str(include_str!("../docs/openapi.json")).unwrap()
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let list = operation["parameters"].as_array().cloned().unwrap_or_default();
            let query = list.iter().filter_map(|p| p["name"].as_str().map(str::to_owned)).collect();
            let mut schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if let Some(name) = schema["$ref"].as_str() {
                schema = document.pointer(name.trim_start_matches('#')).unwrap();
            }
            let fields = schema["properties"].as_object().map(|map| map.keys().cloned().collect());
            let fields = fields.unwrap_or_default();
            all.push(Operation { method: method.to_uppercase(), path: path.clone(), query, fields });
        }
    }
    all
}

/// What means something somewhere, and what means nothing anywhere.
fn word() -> BoxedStrategy<String> {
    let known = [
        "web",
        "https",
        "dns",
        "10.0.0.4",
        "10.0.0.5:8443",
        "web/10.0.0.4",
        "up",
        "drain",
        "auto",
        "established",
        "1",
        "0",
        "-1",
        "100",
        "101",
        "10000",
        "1e999",
        "",
        "..",
        "/",
        "203.0.113.10:443/tcp",
        "192.0.2.7:1024",
    ];
    prop_oneof![3 => select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,40}", 1 => "[0-9.:/]{0,20}"]
        .boxed()
}

fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        Just(Value::from(config())),
        "(\\[\\[?(rule|pool|port|control|x)\\]\\]?\n[a-z]{1,8} = .{0,12}\n){0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from)).boxed()
}

/// What a client says of itself and of its body.
#[derive(Clone, Debug)]
struct Headers {
    text: String,
    /// What is answered to that alone.
    refused: Option<u16>,
    is_json: bool,
}

fn headers() -> impl Strategy<Value = Headers> {
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let page = format!("{token}origin: http://203.0.113.80\r\n");
    let who = prop_oneof![
        12 => Just((token, None)),
        1 => Just((page, Some(403))),
        1 => Just((String::new(), Some(401))),
        // As long as a token may be, and yet not this one.
        1 => "[!-~]{0,31}".prop_map(|bad| (format!("authorization: Bearer {bad}\r\n"), Some(401))),
    ];
    let others = ["", "text/plain", "application/x-www-form-urlencoded", "application/json-seq"];
    let kind = prop_oneof![
        6 => Just(("content-type: application/json\r\n".to_owned(), true)),
        1 => Just(("content-type: Application/JSON; charset=utf-8\r\n".to_owned(), true)),
        1 => Just((String::new(), false)),
        1 => select(others.to_vec()).prop_map(|kind| (format!("content-type: {kind}\r\n"), false)),
    ];
    (who, kind).prop_map(|((who, refused), (kind, is_json))| Headers { text: who + &kind, refused, is_json })
}

/// Bodies that make sense where these fields are known.
fn sound_bodies(fields: &[String]) -> Vec<Value> {
    let mut all = vec![
        json!({}),
        json!({ "state": "drain", "deadline_seconds": 1 }),
        json!({ "configuration": config() }),
        json!({ "client": "192.0.2.7", "count": 1, "seconds": 0.1 }),
        json!({ "client": "192.0.2.7:1024", "frontend": "https", "count": 1, "seconds": 0.1 }),
    ];
    all.retain(|body| body.as_object().unwrap().keys().all(|field| fields.contains(field)));
    all
}

/// Bytes that may stand in a path or a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b':' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Method, path with its query, and body.
fn request(operation: Operation) -> impl Strategy<Value = (Operation, String, String)> {
    let body = if operation.fields.is_empty() {
        Just(String::new()).boxed()
    } else {
        let field = (select(operation.fields.clone()), value());
        let known = prop::collection::vec(field, 0..4)
            .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>()).to_string());
        let sound = select(sound_bodies(&operation.fields)).prop_map(|value| value.to_string());
        let any = value().prop_map(|value| value.to_string());
        prop_oneof![4 => known, 3 => sound, 1 => any, 1 => ".{0,60}"].boxed()
    };
    let names = operation.query.clone();
    let query =
        prop::collection::vec((any::<prop::sample::Index>(), word(), 0..8_u8), 0..4).prop_map(move |all| {
            let pair = |(at, text, kind): (prop::sample::Index, String, u8)| match (names.is_empty(), kind) {
                (true, 1..) => None,
                (true, 0) | (false, 0) => Some(format!("{}={}", escaped(&text), escaped(&text))),
                (false, _) => Some(format!("{}={}", names[at.index(names.len())], escaped(&text))),
            };
            all.into_iter().filter_map(pair).collect::<Vec<_>>().join("&")
        });
    (word(), word(), query, body).prop_map(move |(first, second, query, body)| {
        let path = operation.path.replace("{pool}", &escaped(&first)).replace("{address}", &escaped(&second));
        let path = if query.is_empty() { path } else { format!("{path}?{query}") };
        (operation.clone(), path, body)
    })
}

#[test]
fn every_answer_is_one_that_the_openapi_file_lists() {
    let document = document();
    let running = Running::new(model(&config()));
    let requests = (headers(), select(operations(&document)).prop_flat_map(request));
    let mut seen = std::collections::BTreeMap::<u16, u32>::new();
    let counts = std::cell::RefCell::new(&mut seen);
    let settings = ProptestConfig { cases: REQUESTS, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(settings).run(&requests, |(headers, (operation, path, body))| {
        let (status, answer) = running.ask_with(&headers.text, &operation.method, &path, &body);
        *counts.borrow_mut().entry(status).or_default() += 1;
        let listed = &document["paths"][&operation.path][operation.method.to_lowercase()]["responses"];
        // What does not fit the path's template is another path.
        let is_elsewhere =
            status == 404 && answer["error"].as_str().is_some_and(|e| e.contains("no such path"));
        prop_assert!(status < 500, "{} {path} {body}: {status} {answer}", operation.method);
        prop_assert!(is_elsewhere || listed[status.to_string()].is_object(), "{path}: {status} {answer}");
        prop_assert!(status == 200 || answer["error"].is_string(), "{path}: {status} {answer}");
        // Nothing else is told to who may not ask, and nothing is done that a web form can say.
        let is_refused = headers.refused.is_none_or(|refused| status == refused);
        prop_assert!(is_refused, "{headers:?} {path}: {status} {answer}");
        let is_form = !headers.is_json && !body.is_empty();
        prop_assert!(!is_form || status != 200, "{headers:?} {path} {body}: {status} {answer}");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Else it has tried nothing. Each comes some fifty times and more; so few would be no chance.
    for status in [200, 400, 401, 403, 404, 415] {
        assert!(seen.get(&status).is_some_and(|count| *count >= 5), "{seen:?}");
    }
    let path = "/v1/backends/web/10.0.0.4";
    assert_eq!(running.ask("POST", path, &json!({ "weight": 9 }).to_string()).0, 200);
}
