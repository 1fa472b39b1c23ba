//! Imports: services from foreign servers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use evenkeel_api::ImportOrder;
use evenkeel_core::import::{Import, Method, Secret, Source};
use evenkeel_core::order::{Accepted, Order};

use super::App;
use super::body::Body;
use super::failure::Failure;
use super::services::new_secret;

/// The kind whose servers are imported.
const KIND: &str = "postgres";

/// `POST /v1/imports`
pub(crate) async fn begin(
    State(app): State<App>,
    Body(order): Body<ImportOrder>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    let ImportOrder { name, from, plan, method, password } = order;
    let bad = |code, message: String| Failure::new(StatusCode::BAD_REQUEST, code, message);
    let source = Source::parse(&from).map_err(|error| bad("bad_source", error.to_string()))?;
    let method = method.as_deref().unwrap_or_else(|| Method::Auto.as_str());
    let method = Method::named(method).ok_or_else(|| {
        let known = Method::ALL.map(Method::as_str).join(", ");
        bad("bad_method", format!("{method:?} is no way to import; there are: {known}"))
    })?;
    // From here on it is open to nobody but the agent that logs in with it.
    let password = password.map(|password| Secret::Sealed(app.key.seal(&password.0)));
    let import = Box::new(Import { source, method, password });
    let (secret, keys) = (new_secret(&app, KIND).await?, app.key.archive_keys(app.engine));
    app.give(Order::Import { name, kind: KIND.to_owned(), plan, import, secret, keys }).await
}
