//! The endpoint forwarder.
