//! Pure specifications of kinds of services.
#![deny(missing_docs)]
