//! Bodies and queries, refused in this API's own form when they are wrong.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::BODY_MAX_BYTES;
use super::failure::Failure;

/// A JSON body. Its content type is not looked at: nothing but JSON is taken anywhere.
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error {
            BytesRejection::FailedToBufferBody(error)
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                let message = format!("the body is larger than {BODY_MAX_BYTES} bytes");
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            }
            error => Failure::bad_input(format!("the body cannot be read: {error}")),
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Failure::bad_input(format!("the body is not what is asked for: {error}"))
        })
    }
}

/// A query's parameters.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(Failure::bad_input(format!("the query is not what is asked for: {error}")))
            }
            Err(error) => Err(Failure::bad_input(error.to_string())),
        }
    }
}
