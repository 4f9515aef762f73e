//! The same relay the way it is usually written on tokio-tungstenite: a task that reads and a task
//! that writes for each client, with a channel between. The writer takes all that waits in its
//! channel before it flushes.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How many messages are written before a flush.
const BATCH: usize = 256;
/// The library's own choice of 128 KiB is paid for by every idle connection.
const READ_BUFFER: usize = 4096;

type Session = Arc<Mutex<Vec<(u64, UnboundedSender<Message>)>>>;
type Sessions = Arc<Mutex<HashMap<String, Session>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    rustix::net::listen(&listener, 4096)?;
    println!("listening on {}", listener.local_addr()?);
    let sessions = Sessions::default();
    let mut number = 0;
    loop {
        let (socket, _) = listener.accept().await?;
        number += 1;
        tokio::spawn(serve(socket, number, sessions.clone()));
    }
}

#[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn serve(socket: TcpStream, number: u64, sessions: Sessions) {
    let mut path = String::new();
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let _ = socket.set_nodelay(true);
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let accepting = tokio_tungstenite::accept_hdr_async_with_config(socket, callback, Some(config));
    let Ok(socket) = accepting.await else { return };
    let name = path.split('/').nth(2).unwrap_or_default().to_owned();
    let session = {
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(name).or_default().clone()
    };
    let (mut sink, mut stream) = socket.split();
    let (sender, mut receiver) = unbounded_channel::<Message>();
    session.lock().unwrap_or_else(PoisonError::into_inner).push((number, sender.clone()));
    tokio::spawn(async move {
        let mut messages = Vec::with_capacity(BATCH);
        while receiver.recv_many(&mut messages, BATCH).await > 0 {
            for message in messages.drain(..) {
                if sink.feed(message).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        if message.is_text() {
            let members = session.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, other) in members.iter().filter(|(other, _)| *other != number) {
                // One that has gone is about to be taken off the list.
                let _ = other.send(message.clone());
            }
        }
    }
    session.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != number);
}
