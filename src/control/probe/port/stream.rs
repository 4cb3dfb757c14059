//! A connection as tokio reads and writes it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use smoltcp::socket::tcp::{RecvError, State};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::{Key, Shared};

/// An end of a connection; when it is dropped before both sides have closed, the other one is reset.
pub(in super::super) struct PortStream {
    shared: Arc<Shared>,
    key: Key,
}

impl PortStream {
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self { shared, key }
    }

    /// Until the connection is open.
    pub(super) async fn connected(&self) -> io::Result<()> {
        poll_fn(|context| {
            self.with(|connection| match connection.socket().state() {
                State::SynSent | State::SynReceived => {
                    connection.socket().register_send_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
                _ => Poll::Ready(Ok(())),
            })
        })
        .await
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Connection) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.shared.lock().connections.get_mut(&self.key) {
            Some(connection) => use_it(connection),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for PortStream {
    fn drop(&mut self) {
        let Some(mut connection) = self.shared.lock().connections.remove(&self.key) else { return };
        if !matches!(connection.socket().state(), State::Closed | State::TimeWait) {
            connection.socket().abort();
            connection.advance(Instant::now());
        }
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|connection| {
            let socket = connection.socket();
            if !socket.can_recv() && socket.may_recv() {
                socket.register_recv_waker(context.waker());
                return Poll::Pending;
            }
            let most = buffer.remaining();
            let read = socket.recv(|data| {
                let len = data.len().min(most);
                buffer.put_slice(&data[..len]);
                (len, ())
            });
            // What has been read makes room that the other end should hear of.
            connection.advance(Instant::now());
            match read {
                Ok(()) | Err(RecvError::Finished) => Poll::Ready(Ok(())),
                Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        })
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|connection| {
            let socket = connection.socket();
            if !socket.can_send() && socket.may_send() {
                socket.register_send_waker(context.waker());
                return Poll::Pending;
            }
            let sent = socket.send_slice(data).map_err(|_| io::ErrorKind::ConnectionReset.into());
            connection.advance(Instant::now());
            Poll::Ready(sent)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Until the other end has heard of it.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|connection| {
            connection.socket().close();
            connection.advance(Instant::now());
            let socket = connection.socket();
            if matches!(socket.state(), State::FinWait2 | State::TimeWait | State::Closed) {
                return Poll::Ready(Ok(()));
            }
            socket.register_send_waker(context.waker());
            Poll::Pending
        })
    }
}
