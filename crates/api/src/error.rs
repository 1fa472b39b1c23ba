//! What can go wrong between a client and a controller, told apart by what fixes it.

/// Why a request has no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there, or the connection broke.
    #[error("cannot reach a controller at {address}; is `evenkeel up` running there?")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the connection said.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection ended while an answer was read.
    #[error("the connection to the controller at {address} broke; is it still running?")]
    Broken {
        /// Whose it was.
        address: String,
        /// What the connection said.
        #[source]
        source: std::io::Error,
    },
    /// The token is not the controller's.
    #[error(
        "the controller at {address} does not know this token; name the data directory of the \
         fleet that listens there (`--data`), its token lies in controller/token"
    )]
    Unauthorised {
        /// Who refused.
        address: String,
    },
    /// The controller understood and refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// A stable word for programs.
        code: String,
        /// What is wrong and what would do.
        message: String,
    },
    /// An answer that is none of this API.
    #[error(
        "the answer of {address} to {request} (status {status}) cannot be read; is it a controller \
         of this release?"
    )]
    Unreadable {
        /// Who answered.
        address: String,
        /// What was asked.
        request: String,
        /// HTTP status.
        status: u16,
        /// What the reader said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The stable word of a refusal, such as `no_such_service`; none for other errors.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}
