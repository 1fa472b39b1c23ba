//! Errors as answers: a status, a stable word, a sentence.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evenkeel_api::ErrorBody;
use evenkeel_core::order;

use crate::cell_thread::Unanswered;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    body: ErrorBody,
}

impl Failure {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: code.to_owned(), message: message.into() } }
    }

    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_input", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<order::Error> for Failure {
    fn from(error: order::Error) -> Self {
        use order::Error as E;
        let status = match &error {
            E::BadName { .. } => StatusCode::BAD_REQUEST,
            E::NoSuchService { .. }
            | E::NoSuchHost { .. }
            | E::NoSuchRepository { .. }
            | E::NoSuchRemedy { .. }
            | E::NoSuchApproval { .. }
            | E::NoSuchPlanned { .. }
            | E::NoSuchProcedure { .. }
            | E::NoSuchAct { .. }
            | E::NoSuchIncident { .. } => StatusCode::NOT_FOUND,
            E::NoSuchKind { .. }
            | E::NoSuchPlan { .. }
            | E::NoSuchStandby { .. }
            | E::NoReason
            | E::PinTooLong { .. }
            | E::DayPast { .. }
            | E::Unconfirmed { .. }
            | E::Unsure { .. }
            | E::RepositoryUnsure { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            E::Recovering { .. }
            | E::NotRecovering
            | E::OtherHosts { .. }
            | E::Succeeded { .. }
            | E::NoArchive { .. }
            | E::NoRepository
            | E::IncidentOver { .. }
            | E::NoChannels
            | E::RepositoryTaken { .. }
            | E::LastRepository { .. }
            | E::NoBackup { .. }
            | E::JobRunning { .. }
            | E::BadAct { .. }
            | E::NoMember { .. }
            | E::Unreachable { .. }
            | E::NoStandbys { .. }
            | E::TooMuchPlanned { .. }
            | E::PlannedRuns { .. }
            | E::NoDrill { .. }
            | E::NoDrillRuns { .. }
            | E::Unsafe { .. }
            | E::NameTaken { .. }
            | E::NotNow { .. }
            | E::Busy { .. }
            | E::Nowhere { .. }
            | E::PortsUsedUp { .. }
            | E::HostNotEmpty { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        let code = match unanswered {
            Unanswered::Refused(error) => return error.into(),
            Unanswered::CannotRecord { .. } => "cannot_record",
            Unanswered::Overloaded => "overloaded",
            Unanswered::Stopping => "stopping",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, unanswered.to_string())
    }
}
