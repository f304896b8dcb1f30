//! Server of one model on the loopback interface: `/v1/chat/completions`, `/v1/completions` and `/v1/models` of
//! OpenAI's API, with streaming.
//!
//! Requests are answered one after the other. The queue and the size of a request are bounded, and no request names a
//! file. Web pages of other sites can't send requests: the server accepts only `application/json`, for which a
//! browser needs permission first (CORS), and only a loopback name as the host.

mod api_error;
mod messages;
mod parameters;
mod replies;
mod routes;
mod stream;
mod worker;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use polymath_chat::ChatModel;
use polymath_model::SamplingConfig;

use routes::Service;

/// Maximum size of a request's body, in bytes.
pub const LARGEST_REQUEST: usize = 1 << 20;

/// Interval at which the server checks its stop flag.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// Time that open connections get to end after the stop flag is set.
const PATIENCE: Duration = Duration::from_secs(2);

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Name of the model in requests and answers.
    pub name: String,
    /// Sampling settings that a request may override.
    pub sampling: SamplingConfig,
    /// Maximum number of requests that wait to be answered.
    pub queue: usize,
}

/// Error that ends the server, as opposed to a single request.
#[derive(Debug, thiserror::Error)]
#[error("the server can't run: {0}")]
pub struct ServeError(#[from] std::io::Error);

/// Serves `model` on `listener` until `stop` is set. The model runs on the calling thread.
///
/// # Errors
/// Fails if the listener can't be used or a thread can't be started.
pub fn serve(
    listener: TcpListener,
    model: &ChatModel,
    config: &ServeConfig,
    stop: &Arc<AtomicBool>,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let (jobs, waiting) = tokio::sync::mpsc::channel(config.queue);
    let service = Service::new(config, model.has_template(), jobs);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let watched = Arc::clone(stop);
    let thread = std::thread::Builder::new().name("http".into());
    let http = thread.spawn(move || {
        let served = runtime.block_on(listen(listener, service, &watched));
        // Without connections there are no requests, so the worker ends too.
        watched.store(true, Ordering::SeqCst);
        served
    })?;
    worker::work(model, waiting, stop);
    let served = http.join();
    Ok(served.unwrap_or_else(|_| Err(std::io::Error::other("the HTTP thread panicked")))?)
}

/// Accepts connections until the stop flag is set.
async fn listen(
    listener: TcpListener,
    service: Service,
    stop: &Arc<AtomicBool>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let flag = Arc::clone(stop);
    let serving =
        axum::serve(listener, routes::router(service)).with_graceful_shutdown(async move {
            stopped(&flag).await;
        });
    let late = async {
        stopped(stop).await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        served = std::future::IntoFuture::into_future(serving) => served,
        () = late => Ok(()),
    }
}

async fn stopped(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
