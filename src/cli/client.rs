//! Talks to the running program over its control socket.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

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

/// What it means that a stream was cut off.
pub(super) const CUT_OFF: &str = "cut off: the running guideway has ended, or was not read from for a minute";

/// Why a stream came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// There was no more to tell, or enough.
    Complete,
    /// By a signal to us.
    Interrupted,
    /// The running program has ended, or has given us up.
    CutOff,
}

/// A refusal as the command line tells it.
fn refused(status: StatusCode, answer: &Value) -> Failure {
    let error = answer.get("error").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    let is_of_the_moment =
        [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    if status.is_client_error() && !is_of_the_moment {
        Failure::Usage(error)
    } else {
        Failure::Runtime(error)
    }
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
        Err(refused(status, &value))
    }

    async fn talk(&self, method: &Method, path: &str, body: &str) -> Result<(StatusCode, Bytes), Failure> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| self.failure(&error))?;
        Ok((status, body.to_bytes()))
    }

    /// Sends a request, and waits for the head of its answer.
    async fn send(&self, method: &Method, path: &str, body: &str) -> Result<Response<Incoming>, Failure> {
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
        // Streams to their end as well.
        let request =
            request.header("accept", "application/json, application/x-pcapng, application/x-ndjson");
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| self.failure(&error))?;
        sender.send_request(request).await.map_err(|error| self.failure(&error))
    }

    /// Asks for a stream, and gives `part` each part of it until it has enough, the stream ends, or a signal does.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &str,
        part: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<StreamEnd, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failure(&error))?;
        runtime.block_on(self.listen(path, body, part))
    }

    async fn listen(
        &self,
        path: &str,
        body: &str,
        mut part: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<StreamEnd, Failure> {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| self.failure(&error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| self.failure(&error))?;
        let answer = tokio::time::timeout(TIME_MAX, self.send(&Method::POST, path, body)).await;
        let answer =
            answer.map_err(|_| self.failure(&format!("no answer within {} s", TIME_MAX.as_secs())))??;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let body = body.collect().await.map_err(|error| self.failure(&error))?;
            return Err(refused(status, &serde_json::from_slice(&body.to_bytes()).unwrap_or_default()));
        }
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = terminate.recv() => return Ok(StreamEnd::Interrupted),
                _ = interrupt.recv() => return Ok(StreamEnd::Interrupted),
            };
            match frame {
                None => return Ok(StreamEnd::Complete),
                Some(Err(_)) => return Ok(StreamEnd::CutOff),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref()
                        && part(bytes)?.is_break()
                    {
                        return Ok(StreamEnd::Complete);
                    }
                }
            }
        }
    }

    fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Runtime(format!("control socket {}: {error}", self.control_socket.display()))
    }
}
