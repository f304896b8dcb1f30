//! Streamed answers as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_core::Stream;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::replies::Identity;
use crate::worker::Event;

/// HTTP body that streams an answer: converts each piece of the answer to a server-sent event.
struct Lines {
    events: UnboundedReceiver<Event>,
    identity: Identity,
    usage: bool,
    waiting: VecDeque<String>,
    ended: bool,
}

/// Returns an HTTP response that streams an answer. `first` is the answer's first event. If `usage` is true, the stream
/// ends with the token counts.
pub(crate) fn response(
    identity: Identity,
    usage: bool,
    first: Event,
    events: UnboundedReceiver<Event>,
) -> Response {
    let mut lines = Lines {
        events,
        identity,
        usage,
        waiting: VecDeque::new(),
        ended: false,
    };
    if let Some(opening) = lines.identity.opening() {
        lines.say(&opening);
    }
    lines.take(first);
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl Lines {
    fn say(&mut self, value: &Value) {
        self.waiting.push_back(format!("data: {value}\n\n"));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Piece(text) => self.say(&self.identity.piece(&text)),
            Event::Done(answer) => {
                self.say(&self.identity.closing(&answer));
                if self.usage {
                    self.say(&self.identity.usage(&answer));
                }
                self.waiting.push_back("data: [DONE]\n\n".into());
                self.ended = true;
            }
            Event::Failed(error) => {
                self.say(&error.to_json());
                self.ended = true;
            }
        }
    }
}

impl Stream for Lines {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(line)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.events.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(event)) => self.take(event),
            }
        }
    }
}
