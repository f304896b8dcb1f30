//! Errors of requests in the JSON form of OpenAI's API.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use polymath_chat::ChatError;
use serde_json::{Value, json};

use crate::replies::json_response;

/// Error with which one request is answered.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// Name of the request parameter that caused the error.
    pub parameter: Option<String>,
    /// Error code of OpenAI's API, for client programs.
    pub code: Option<&'static str>,
}

/// Makes the error for a parameter with a wrong value.
pub(crate) fn wrong(name: &str, value: &Value, expected: &str) -> ApiError {
    // Shows the first 80 characters only, since a body may have a megabyte.
    let shown: String = value.to_string().chars().take(80).collect();
    ApiError::parameter(name, format!("`{name}` is {shown}: expected {expected}"))
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            parameter: None,
            code: None,
        }
    }

    /// Makes the error for an invalid parameter of a request.
    pub fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self {
            parameter: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    pub fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Makes the error for a request that is not answered because the server is stopping.
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
    }

    pub fn to_json(&self) -> Value {
        let kind = match self.status {
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.message, "type": kind, "param": self.parameter, "code": self.code,
        }})
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        let status = match error.is_refusal() {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code =
            matches!(error, ChatError::ContextFull { .. }).then_some("context_length_exceeded");
        Self {
            code,
            ..Self::new(status, error.to_string())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        json_response(self.status, &self.to_json())
    }
}
