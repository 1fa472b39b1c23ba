//! The client's methods for incidents, and for who is told of them.

use evenkeel_core::order::Accepted;
use evenkeel_core::view;

use crate::AckOrder;
use crate::client::{Client, path};
use crate::error::Error;

impl Client {
    /// Incidents, newest first; those that are over too, if they are asked for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn incidents(&self, all: bool) -> Result<Vec<view::Incident>, Error> {
        self.get(if all { "/v1/incidents?all=true" } else { "/v1/incidents" })
    }

    /// One incident, by its number.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn incident(&self, id: &str) -> Result<view::Incident, Error> {
        self.get(&path("/v1/incidents", id, ""))
    }

    /// Says that a person knows of an incident.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn acknowledge(&self, id: &str, note: Option<String>) -> Result<Accepted, Error> {
        self.post(&path("/v1/incidents", id, "/ack"), &AckOrder { note })
    }

    /// The chain of alert channels.
    ///
    /// # Errors
    /// [`Error`].
    pub fn alerts(&self) -> Result<view::Alerts, Error> {
        self.get("/v1/alerts")
    }

    /// Exercises every alert channel.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn test_alerts(&self) -> Result<Accepted, Error> {
        self.order("/v1/alerts/test")
    }
}
