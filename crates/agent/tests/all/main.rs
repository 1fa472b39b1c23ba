//! The agent over real sockets and real processes, with a scripted driver and controller.

mod adoption;
mod controller;
mod crash;
mod gateway;
mod goals;
mod host;
mod scripts;
mod toy;
mod witness;
