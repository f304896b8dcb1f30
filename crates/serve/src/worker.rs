//! Worker that answers the waiting requests one after the other.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use polymath_chat::{Answer, ChatModel, End, Engine, Prompt};
use tokio::sync::mpsc::{Receiver, UnboundedSender};

use crate::api_error::ApiError;
use crate::parameters::{Parameters, Question};

/// Request that waits to be answered by the worker.
pub(crate) struct Job {
    pub parameters: Parameters,
    /// Channel for the answer. It is unbounded, so that a slow client does not delay the others; an answer is no
    /// longer than the context.
    pub events: UnboundedSender<Event>,
}

/// Event that the worker sends while it answers a request: a piece of text, the complete answer, or an error.
pub(crate) enum Event {
    Piece(String),
    Done(Answer),
    Failed(ApiError),
}

/// Answers the waiting requests one by one until no more can arrive. Once `stop` is set, refuses those that remain.
pub(crate) fn work(model: &ChatModel, mut jobs: Receiver<Job>, stop: &AtomicBool) {
    let mut engine = Engine::new(model);
    while let Some(job) = jobs.blocking_recv() {
        let stopping = || stop.load(Ordering::SeqCst);
        // The client may have disconnected while its request waited.
        if job.events.is_closed() {
            continue;
        }
        let event = match stopping() {
            true => Event::Failed(ApiError::stopping()),
            false => answer(&mut engine, &job, &stopping),
        };
        // A client that has disconnected needs no answer.
        let _ = job.events.send(event);
    }
}

fn answer(engine: &mut Engine, job: &Job, stopping: &dyn Fn() -> bool) -> Event {
    let mut sink = |piece: &str| {
        let sent = job.events.send(Event::Piece(piece.to_owned()));
        match sent.is_err() || stopping() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let prompt = match &job.parameters.question {
        Question::Messages(messages) => Prompt::Messages(messages),
        Question::Text(text) => Prompt::Text(text),
    };
    match engine.answer(prompt, &job.parameters.request, &mut sink) {
        Ok(answer) if answer.end == End::Interrupted => Event::Failed(ApiError::stopping()),
        Ok(answer) => Event::Done(answer),
        Err(error) => Event::Failed(error.into()),
    }
}
