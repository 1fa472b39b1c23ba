//! A gateway over real sockets: servers that echo, and a controller that says what a test tells it.

mod controller;
mod forwarding;
mod processes;
mod routes;
mod support;
