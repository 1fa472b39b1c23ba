//! Types and client of the HTTP API.
#![deny(missing_docs)]
