//! What stands before every handler: the Host header, then the token.
//!
//! A browser that is tricked into asking this address for another site's page sends that site's
//! name as Host and is refused, token or not.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::Failure;
use super::{App, Inner};

/// The only path without a token.
const OPEN_PATH: &str = "/healthz";

/// Lets a request pass or answers it.
pub(crate) async fn pass(State(app): State<App>, request: Request, next: Next) -> Response {
    if !host_allowed(&app, request.headers().get(HOST)) {
        let message = "the Host header names none of this controller's hosts; use its address, or \
                       start it with that name allowed";
        return Failure::new(StatusCode::FORBIDDEN, "host_not_allowed", message).into_response();
    }
    let token = request.headers().get(AUTHORIZATION).and_then(bearer);
    if request.uri().path() != OPEN_PATH && !token.is_some_and(|token| app.token.is(token)) {
        let message = "the token is missing or wrong; send `Authorization: Bearer TOKEN`, the \
                       token lies in controller/token of the data directory";
        let failure = Failure::new(StatusCode::UNAUTHORIZED, "unauthorised", message);
        let mut answer = failure.into_response();
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return answer;
    }
    next.run(request).await
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn host_allowed(app: &Inner, host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let Some(name) = without_port(host) else { return false };
    let name = name.to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
    address.parse::<IpAddr>().is_ok() || name == "localhost" || app.allowed_hosts.contains(&name)
}

fn without_port(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        // The last colon of a bare `[::1]` is inside the brackets.
        Some((name, port)) if !port.ends_with(']') => port.parse::<u16>().ok().map(|_| name),
        _ => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_whatever_the_name_is() {
        assert_eq!(without_port("127.0.0.1:80"), Some("127.0.0.1"));
        assert_eq!(without_port("[::1]:80"), Some("[::1]"));
        assert_eq!(without_port("[::1]"), Some("[::1]"));
        assert_eq!(without_port("host"), Some("host"));
        assert_eq!(without_port("host:"), None);
        assert_eq!(without_port("host:evil"), None);
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        let of = |text: &str| bearer(&HeaderValue::from_str(text).unwrap()).map(str::to_owned);
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("abc"), None);
    }
}
