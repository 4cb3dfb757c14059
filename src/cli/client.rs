//! Talks to the running program over its control socket.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Failure;
use crate::config::SOCKET_DEFAULT;

/// A running guideway answers within milliseconds; one that reloads a large file takes a little longer.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Where the running program listens.
#[derive(Clone, clap::Args)]
pub(super) struct Target {
    /// Unix socket of the running guideway's control API.
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, default_value = SOCKET_DEFAULT)]
    control_socket: PathBuf,
}

impl Target {
    /// One that is not told by its own flag.
    pub(super) fn at(control_socket: PathBuf) -> Self {
        Self { control_socket }
    }

    /// What the server answers to a good request.
    pub(super) fn ask(&self, method: &Method, path: &str, body: &str) -> Result<Value, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failure(&error))?;
        let talk = async { tokio::time::timeout(TIME_MAX, self.talk(method, path, body)).await };
        let (status, body) = match runtime.block_on(talk) {
            Ok(answer) => answer?,
            Err(_) => return Err(self.failure(&format!("no answer within {} s", TIME_MAX.as_secs()))),
        };
        let value: Value = serde_json::from_slice(&body).map_err(|error| self.failure(&error))?;
        if status.is_success() {
            return Ok(value);
        }
        let error = value.get("error").and_then(Value::as_str).unwrap_or("no reason given");
        let is_usage = status.is_client_error()
            && ![StatusCode::UNPROCESSABLE_ENTITY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        Err(if is_usage { Failure::Usage(error.to_owned()) } else { Failure::Runtime(error.to_owned()) })
    }

    async fn talk(&self, method: &Method, path: &str, body: &str) -> Result<(StatusCode, Bytes), Failure> {
        let stream = UnixStream::connect(&self.control_socket).await.map_err(|error| {
            self.failure(&format!(
                "{error}; is guideway running, may this user talk to it, and is its socket another \
                 (--control-socket)?"
            ))
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failure(&error))?;
        // Its errors come out of the request too.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "guideway");
        let request = request.header("content-type", "application/json");
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| self.failure(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.failure(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| self.failure(&error))?;
        Ok((status, body.to_bytes()))
    }

    fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Runtime(format!("control socket {}: {error}", self.control_socket.display()))
    }
}
