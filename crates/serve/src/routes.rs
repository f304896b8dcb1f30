//! HTTP routes of the server.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_core::Stream;
use polymath_model::SamplingConfig;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, unbounded_channel};

use crate::api_error::ApiError;
use crate::parameters::Parameters;
use crate::replies::{Identity, Kind, json_response};
use crate::worker::{Event, Job};
use crate::{LARGEST_REQUEST, ServeConfig, stream};

/// State of the server that all requests share.
pub(crate) struct Service {
    name: String,
    sampling: SamplingConfig,
    has_template: bool,
    jobs: Sender<Job>,
    /// Start time of the server, in seconds since 1970.
    began: u64,
    /// Number of requests received so far.
    asked: AtomicU64,
}

impl Service {
    pub fn new(config: &ServeConfig, has_template: bool, jobs: Sender<Job>) -> Self {
        Self {
            name: config.name.clone(),
            sampling: config.sampling,
            has_template,
            jobs,
            began: seconds(),
            asked: AtomicU64::new(0),
        }
    }
}

/// Returns the current time in seconds since 1970.
fn seconds() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| passed.as_secs())
}

/// Returns the HTTP routes, with the checks that each request passes first.
pub(crate) fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(check_host))
        .with_state(Arc::new(service))
}

/// Rejects a request whose `Host` header is not a loopback name: a web page may have pointed its own host name at this
/// server (DNS rebinding).
async fn check_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.map_or(Ok("localhost"), |host| host.to_str());
    let is_local = host.is_ok_and(|host| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        ["localhost", "127.0.0.1", "::1"].contains(&name.to_ascii_lowercase().as_str())
    });
    match is_local {
        true => next.run(request).await,
        false => ApiError::new(
            StatusCode::FORBIDDEN,
            "the host is not `localhost` or `127.0.0.1`: this server only answers this machine",
        )
        .into_response(),
    }
}

async fn unknown_path() -> ApiError {
    let message =
        "no such path: expected `/v1/chat/completions`, `/v1/completions` or `/v1/models`";
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn wrong_method() -> ApiError {
    let message = "wrong method: use POST for completions, and GET for models";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn described(service: &Service) -> Value {
    json!({"id": service.name, "object": "model", "created": service.began, "owned_by": "polymath"})
}

async fn models(State(service): State<Arc<Service>>) -> Response {
    let list = json!({"object": "list", "data": [described(&service)]});
    json_response(StatusCode::OK, &list)
}

async fn model(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    if name == service.name {
        return Ok(json_response(StatusCode::OK, &described(&service)));
    }
    let message = format!(
        "the model `{name}` is not here: this server has `{}`",
        service.name
    );
    Err(ApiError {
        status: StatusCode::NOT_FOUND,
        ..ApiError::parameter("model", message).with_code("model_not_found")
    })
}

async fn chat(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !service.has_template {
        let message = format!(
            "`{}` has no chat template: it continues text; use `/v1/completions`",
            service.name
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("no_chat_template"));
    }
    answer(&service, Kind::Chat, &headers, body).await
}

async fn completion(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    answer(&service, Kind::Completion, &headers, body).await
}

async fn answer(
    service: &Service,
    kind: Kind,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_kind(headers)?;
    let body = read(body).await?;
    let number = service.asked.fetch_add(1, Ordering::Relaxed);
    let defaults = SamplingConfig {
        // Without a seed, the same request gets another answer each time.
        seed: service.sampling.seed.wrapping_add(number),
        ..service.sampling
    };
    let parameters = Parameters::read(kind, &body, &service.name, defaults)?;
    let (stream, usage) = (parameters.stream, parameters.stream_usage);
    let identity = Identity {
        kind,
        id: match kind {
            Kind::Chat => format!("chatcmpl-{:x}-{number}", service.began),
            Kind::Completion => format!("cmpl-{:x}-{number}", service.began),
        },
        created: seconds(),
        model: service.name.clone(),
    };
    let (events, mut answer) = unbounded_channel();
    let job = Job { parameters, events };
    service.jobs.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests wait already: ask again later",
        )
        .with_code("queue_full"),
        TrySendError::Closed(_) => ApiError::stopping(),
    })?;
    // Waits for the first event before the status is sent, so that a rejected request gets an error status.
    let mut event = answer.recv().await.unwrap_or_else(lost);
    if let (true, Event::Piece(_) | Event::Done(_)) = (stream, &event) {
        return Ok(stream::response(identity, usage, event, answer));
    }
    loop {
        match event {
            Event::Piece(_) => event = answer.recv().await.unwrap_or_else(lost),
            Event::Done(answer) => {
                return Ok(json_response(StatusCode::OK, &identity.whole(&answer)));
            }
            Event::Failed(error) => return Err(error),
        }
    }
}

/// Returns the error event of an answer whose worker has ended, because the server is stopping.
fn lost() -> Event {
    Event::Failed(ApiError::stopping())
}

/// Rejects a request body whose content type is not JSON. A browser does not send JSON on behalf of another site's page
/// without permission.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the content type is not `application/json`";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Reads a request body of at most [`LARGEST_REQUEST`] bytes. Reads and discards some more of a longer body before the
/// error, since a client that is still writing would not see it.
async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
        let piece = piece.map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the body can't be read: {error}"),
            )
        })?;
        length += piece.len();
        if length <= LARGEST_REQUEST {
            bytes.extend_from_slice(&piece);
        } else if length > 16 * LARGEST_REQUEST {
            break;
        }
    }
    if length > LARGEST_REQUEST {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request is larger than {LARGEST_REQUEST} bytes"),
        ));
    }
    Ok(bytes)
}
