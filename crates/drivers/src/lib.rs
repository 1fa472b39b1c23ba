//! The I/O of each kind behind the core driver port.
